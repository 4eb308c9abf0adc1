"""Shell. The unmodified server: accepts, plays its parts, writes what it saw.

    python -m tests.integrity.server --listen 127.0.0.1:9000 --greet 127.0.0.1:9001 --results FILE <plan>

Prints `ready` when it listens. On SIGTERM it waits until no connection has been live for a moment, writes the
results, and exits. Plain sockets and epoll: it stands for any program and knows nothing of the mesh.
"""

import argparse
import json
import signal
import socket
import time
from pathlib import Path

from tests.integrity.arguments import add_plan, address_of, plan_of
from tests.integrity.loop import Loop
from tests.integrity.plan import Plan
from tests.integrity.record import HEADER_BYTES, Record, greeting_bytes, greeting_ends, header, number_of
from tests.integrity.script import Part
from tests.integrity.side import Side
from tests.integrity.stream import Stream

QUIET_S = 0.7  # a connection may still be on its way through a relay when the client has gone


class Server:
    """Plays the server's parts of one plan."""

    def __init__(self, plan: Plan, *, deadline_s: float, first_greeting: int = 0) -> None:
        self.records: list[Record] = []
        self._plan = plan
        self._greetings = first_greeting
        self._last_life = time.monotonic()
        self._loop = Loop(deadline_s=deadline_s, ended=self.records.append)
        self._listeners: list[socket.socket] = []
        self._stopping = False

    def listen(self, address: tuple[str, int], *, greets: bool) -> None:
        """Accept on this address from now on."""
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        listener = socket.create_server(address, family=family, backlog=4096)
        listener.setblocking(False)
        self._listeners.append(listener)
        self._loop.watch(listener, lambda: self._accept(listener, greets=greets))

    def stop(self) -> None:
        """Return from serve() once all is quiet."""
        self._stopping = True

    def serve(self) -> None:
        """Play until stop() and quiet. All sockets are closed afterwards."""
        while not self._stopping or self._loop.live or time.monotonic() < self._last_life + QUIET_S:
            if self._loop.live:
                self._last_life = time.monotonic()
            self._loop.turn(0.2)
        for listener in self._listeners:
            listener.close()
        self._loop.close()

    def _accept(self, listener: socket.socket, *, greets: bool) -> None:
        for _ in range(64):
            try:
                sock, _ = listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            self._last_life = time.monotonic()
            sock.setblocking(False)
            side = Side(sock, "server", now=self._last_life)
            side.ear.expect_head(HEADER_BYTES, lambda head, side=side: self._introduce(side, head))  # type: ignore[misc]
            if greets:
                self._greet(side)
            self._loop.take(side, connecting=False)

    def _greet(self, side: Side) -> None:
        side.greeting = self._greetings
        self._greetings += 1
        size_bytes = greeting_bytes(side.greeting)
        stream = Stream(self._plan.seed, f"{side.greeting}/greeting")
        opening = header(side.greeting, self._plan.seed) + b"".join(stream.pieces(0, size_bytes))
        if greeting_ends(side.greeting):
            luck = self._plan.luck(side.greeting, "greeting cuts")
            side.play(Part(0, 0), opening=opening, streams=(stream, stream), luck=luck)
        else:
            side.say(opening)

    def _introduce(self, side: Side, head: bytes) -> None:
        number = number_of(head, self._plan.seed)
        if number is None or number >= self._plan.connections:
            side.fail(f"strange header {head.hex()}")
            return
        side.number = number
        streams = Stream(self._plan.seed, f"{number}/down"), Stream(self._plan.seed, f"{number}/up")
        luck = self._plan.luck(number, "server cuts")
        side.play(self._plan.script(number).server, opening=b"", streams=streams, luck=luck)


def main() -> None:
    """Run the server."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--listen", required=True, type=address_of)
    parser.add_argument("--greet", type=address_of)
    parser.add_argument("--first-greeting", type=int, default=0)
    add_plan(parser)
    args = parser.parse_args()
    server = Server(plan_of(args), deadline_s=args.deadline_s, first_greeting=args.first_greeting)
    signal.signal(signal.SIGTERM, lambda *_: server.stop())
    server.listen(args.listen, greets=False)
    if args.greet:
        server.listen(args.greet, greets=True)
    print("ready", flush=True)
    server.serve()
    Path(args.results).write_text(json.dumps([record._asdict() for record in server.records]))


if __name__ == "__main__":
    main()
