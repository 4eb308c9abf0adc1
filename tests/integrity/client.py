"""Shell. The unmodified client: dials, plays its parts, writes what it saw.

    python -m tests.integrity.client --dial 10.96.0.10:9000 --results FILE <plan>

Plain sockets and epoll: it stands for any program and knows nothing of the mesh.
"""

import argparse
import errno
import json
import os
import socket
import time
from collections.abc import Iterable
from pathlib import Path

from tests.integrity.arguments import add_plan, address_of, plan_of
from tests.integrity.loop import Loop
from tests.integrity.plan import Plan
from tests.integrity.record import HEADER_BYTES, Record, greeting_bytes, greeting_ends, header, number_of
from tests.integrity.script import SILENT, Part, Script
from tests.integrity.side import Side
from tests.integrity.stream import Stream

Address = tuple[str, int]


class Client:
    """Plays the client's parts of one plan, so many at a time."""

    def __init__(self, plan: Plan, *, dial: Address, greeter: Address | None, deadline_s: float) -> None:
        self.records: list[Record] = []
        self._plan = plan
        self._dial = dial
        self._greeter = greeter
        self._loop = Loop(deadline_s=deadline_s, ended=self.records.append)

    def run(self, numbers: Iterable[int], *, at_once: int) -> None:
        """Play all these connections. All sockets are closed afterwards."""
        left = iter(numbers)
        number = next(left, None)
        while number is not None or self._loop.live:
            while number is not None and self._loop.live < at_once:
                self._begin(self._plan.script(number))
                number = next(left, None)
            self._loop.turn(1.0)
        self._loop.close()

    def _begin(self, script: Script) -> None:
        address = self._greeter if script.greeted and self._greeter else self._dial
        sock = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
        sock.setblocking(False)
        side = Side(sock, "client", now=time.monotonic())
        side.number = script.number
        if script.greeted:
            side.ear.expect_head(HEADER_BYTES, lambda head: self._greeted(side, script, head))
        else:
            self._play(side, script)
        failed = sock.connect_ex(address)
        if failed not in (0, errno.EINPROGRESS):
            side.fail(f"connect: {os.strerror(failed)}")
        self._loop.take(side, connecting=side.record is None)

    def _play(self, side: Side, script: Script) -> None:
        number, seed = script.number, self._plan.seed
        streams = Stream(seed, f"{number}/up"), Stream(seed, f"{number}/down")
        opening = b"" if script.kind in SILENT else header(number, seed)
        side.play(
            script.client, opening=opening, streams=streams, luck=self._plan.luck(number, "client cuts")
        )

    def _greeted(self, side: Side, script: Script, head: bytes) -> None:
        greeting = number_of(head, self._plan.seed)
        if greeting is None:
            side.fail(f"strange greeting {head.hex()}")
            return
        side.greeting = greeting
        stream = Stream(self._plan.seed, f"{greeting}/greeting")
        if greeting_ends(greeting):

            def heard_out() -> None:
                only_eof = Part(0, 0, fin_after_eof=True)
                luck = self._plan.luck(script.number, "client cuts")
                side.play(only_eof, opening=b"", streams=(stream, stream), luck=luck)
        else:

            def heard_out() -> None:
                self._play(side, script)

        side.ear.expect_prelude(stream, greeting_bytes(greeting), heard_out)


def main() -> None:
    """Run the client."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--dial", required=True, type=address_of)
    parser.add_argument("--dial-greeter", type=address_of)
    parser.add_argument("--only", type=int, action="append", default=[])
    parser.add_argument("--at-once", type=int, default=64)
    add_plan(parser)
    args = parser.parse_args()
    plan = plan_of(args)
    client = Client(plan, dial=args.dial, greeter=args.dial_greeter, deadline_s=args.deadline_s)
    client.run(args.only or range(plan.connections), at_once=args.at_once)
    Path(args.results).write_text(json.dumps([record._asdict() for record in client.records]))


if __name__ == "__main__":
    main()
