"""Shell. What the catalog bench runs inside the mesh: dials one address again and again, and asks for names.

Prints "a 123.456" when another server answers, with the monotonic clock that all processes share. A line
"names N" on its standard input ends the dialling, and N names are asked for.
"""

import json
import random
import select
import socket
import struct
import sys
import time

RESOLVER = ("127.0.0.53", 53)


def dial(address: tuple[str, int]) -> int:
    """Dial until a line comes in; it says how many names to ask for."""
    last = b""
    while True:
        ready, _, _ = select.select([sys.stdin], [], [], 0.001)
        if ready:
            return int(sys.stdin.readline().split()[1])
        with socket.socket() as sock:
            sock.settimeout(5)
            sock.connect(address)
            said = sock.recv(1)
        if said != last:
            last = said
            print(said.decode() or "nothing", time.monotonic(), flush=True)


def names(count: int, asked: int = 3000) -> list[float]:
    """Ask for random names of services, one at a time, and give the microseconds that each took."""
    took = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.connect(RESOLVER)
        for number in range(asked):
            name = f"svc-{random.randrange(count)}.default.svc.cluster.local"
            question = b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0"
            began = time.monotonic()
            sock.send(struct.pack(">6H", number, 0x0100, 1, 0, 0, 0) + question + struct.pack(">2H", 1, 1))
            answer = sock.recv(512)
            took.append((time.monotonic() - began) * 1e6)
            if struct.unpack_from(">4H", answer)[3] != 1:
                raise SystemExit(f"{name} has no address")
            time.sleep(0.001)
    return sorted(took)


if __name__ == "__main__":
    microseconds = names(dial((sys.argv[1], int(sys.argv[2]))))
    at = len(microseconds)
    ranks = {"dns_p50_us": microseconds[at // 2], "dns_p99_us": microseconds[at * 99 // 100]}
    print(json.dumps(ranks), flush=True)
