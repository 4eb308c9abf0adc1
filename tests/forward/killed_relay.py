"""A process that carries the flows whose sockets it inherits, until it is killed. Run by test_relay.py."""

import socket
import sys

import trio

from meshtrio.forward.relay import Relay


async def main(fds: list[int]) -> None:
    relay = Relay()
    socks = [socket.socket(fileno=fd) for fd in fds]
    for sock in socks:
        sock.setblocking(False)
    async with trio.open_nursery() as nursery:
        await nursery.start(relay.run)
        for client, upstream in zip(socks[::2], socks[1::2], strict=True):
            relay.join(client, upstream, idle_s=0)
        print("ready", flush=True)


trio.run(main, [int(word) for word in sys.argv[1:]])
