"""Shell. A client that asks at fixed times, each time on a new connection, for one of 1,000 paths.

`asker.py IP PORT RATE SECONDS FILE`: FILE gets a JSON list of what became of each request. Its time runs from
when it was due, sent or not, so that a stall counts for all that should have been sent in it.
"""

import gc
import json
import random
import sys
import time

import trio

PATHS = 1000
PATIENCE_S = 5.0
Row = tuple[float, float, int]
"""When it was due (CLOCK_MONOTONIC), the seconds until its answer, and whose that is; -1: there was none."""


async def ask(address: tuple[str, int], path: int, due: float, rows: list[Row]) -> None:
    """Ask once."""
    said = b""
    try:
        with trio.fail_after(PATIENCE_S):
            with trio.socket.socket() as sock:
                await sock.connect(address)
                await sock.send(b"GET /%d HTTP/1.1\r\nHost: bench\r\n\r\n" % path)
                while data := await sock.recv(4096):
                    said += data
    except (OSError, trio.TooSlowError):
        said = b""
    rows.append((due, time.monotonic() - due, int(said.rpartition(b"\n")[2]) if said else -1))


async def ask_at_rate(address: tuple[str, int], rate: float, seconds: float) -> list[Row]:
    """Ask until the time is over and all is answered."""
    rows: list[Row] = []
    luck = random.Random(5)
    began = time.monotonic()
    async with trio.open_nursery() as calls:
        for number in range(int(rate * seconds)):
            due = began + number / rate
            await trio.sleep(max(0.0, due - time.monotonic()))
            calls.start_soon(ask, address, luck.randrange(PATHS), due, rows)
    return rows


def main(ip: str, port: str, rate: str, seconds: str, file: str) -> None:
    """Ask, and write down what became of it."""
    gc.freeze()
    rows = trio.run(ask_at_rate, (ip, int(port)), float(rate), float(seconds))
    with open(file, "w") as out:
        json.dump(rows, out)
    print(json.dumps({"requests": len(rows)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
