"""Shell. A process that accepts on every address of 127.0.0.0/8, and answers each request with 200.

Tells its port on the first line, and ends when its standard input does.
"""

import socket
import sys

import trio

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


async def _serve(stream: trio.SocketStream) -> None:
    async with stream:
        if await stream.receive_some(4096):
            await stream.send_all(ANSWER)


async def _main() -> None:
    sock = trio.socket.socket(socket.AF_INET)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    await sock.bind(("0.0.0.0", 0))
    sock.listen(1024)
    print(sock.getsockname()[1], flush=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, _serve, [trio.SocketListener(sock)])
        await trio.to_thread.run_sync(sys.stdin.read)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(_main)
