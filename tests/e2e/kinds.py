"""Shell. The kinds of servers that an application in the mesh (app.py) can be, and what is heard of them."""

import json
import socket
import struct
from typing import Any

BLOCK = bytes(range(251)) * 4096
"""What `flood` sends over and over."""
PIECE_BYTES = 1 << 18
_ENDLESS = BLOCK + BLOCK[:PIECE_BYTES]
_heard: dict[str, int] = {}


def line_of(made: socket.socket) -> Any:
    heard = b""
    while not heard.endswith(b"\n"):
        more = made.recv(4096)
        if not more:
            break
        heard += more
    return json.loads(heard or b"null")


def greet(made: socket.socket, name: str, peer: Any) -> None:
    """The server speaks first: who am I, whom do I see, what was dialled; then it repeats what it hears."""
    made.sendall(
        (json.dumps({"name": name, "peer": peer[:2], "local": made.getsockname()[:2]}) + "\n").encode()
    )
    repeat(made, name, peer)


def repeat(made: socket.socket, name: str, peer: Any) -> None:
    while heard := made.recv(65536):
        made.sendall(heard)


def reply(made: socket.socket, name: str, peer: Any) -> None:
    """Say who it is to each that asks something, and only then."""
    while made.recv(65536):
        made.sendall((json.dumps({"name": name}) + "\n").encode())


def slam(made: socket.socket, name: str, peer: Any) -> None:
    """Reset at once."""
    made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def page(made: socket.socket, name: str, peer: Any) -> None:
    """Answer one HTTP request."""
    heard = b""
    while b"\r\n\r\n" not in heard:
        heard += made.recv(65536)
    length = str(len(name)).encode()
    made.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: " + length)
    made.sendall(b"\r\n\r\n" + name.encode())


def answer_late(made: socket.socket, name: str, peer: Any) -> None:
    """Answer only when the caller has ended its direction."""
    count = 0
    while heard := made.recv(65536):
        count += len(heard)
    made.sendall(json.dumps({"name": name, "heard": count}).encode() + b"\n")


def reset(made: socket.socket, name: str, peer: Any) -> None:
    made.recv(1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def flood(made: socket.socket, name: str, peer: Any) -> None:
    """Send as much as the caller asks for in a line, end, and hear the caller out."""
    size = line_of(made)
    for at in range(0, size, len(BLOCK)):
        made.sendall(BLOCK[: size - at])
    made.shutdown(socket.SHUT_WR)
    while made.recv(65536):
        pass


def gulped(name: str, sock: socket.socket, size: int) -> int:
    """Read so much more of a flood, or to its end; say how much came in all. OSError: other bytes came."""
    at = _heard.get(name, 0)
    until = at + size
    while at < until and (heard := sock.recv(min(PIECE_BYTES, until - at))):
        begin = at % len(BLOCK)
        if heard != _ENDLESS[begin : begin + len(heard)]:
            raise OSError(f"other bytes than were sent, at {at}")
        at += len(heard)
    _heard[name] = at
    return at
