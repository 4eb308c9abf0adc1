"""Shell. The hazards of many bytes: a large transfer, and a sender whose peer does not read.

Probes, as in probes.py.
"""

import contextlib
import hashlib
import select
import socket

from meshtrio.accelerate.lab import ENDLESS, PATIENCE_S, Lab, take

BULK_BYTES = 8 << 20
CREDIT_BYTES = 256 << 10
MOST_HELD_BYTES = 64 << 20
"""What a sender without a reader may get rid of: far more than any socket's buffers."""


def bulk(lab: Lab, host: str) -> str:
    """Send much both ways at once: all of it redirected, and with a latch amid it."""
    for credit in (ENDLESS, BULK_BYTES // 3):
        with lab.pair(host, credit) as (client, server):
            wrong = exchange(client, server)
            lane = lab.lane(client)
            if wrong:
                return wrong
            if lane.fast_bytes == 0 or lane.fast_bytes + lane.tcp_bytes != BULK_BYTES:
                return f"{lane.fast_bytes} bytes redirected and {lane.tcp_bytes} not were counted"
    return ""


def memory(lab: Lab, host: str) -> str:
    """Send until the kernel takes no more, and only then read."""
    with lab.pair(host, CREDIT_BYTES) as (client, server):
        client.setblocking(False)
        block, sent = bytes(range(256)) * 64, 0
        with contextlib.suppress(BlockingIOError):
            while sent < MOST_HELD_BYTES:
                sent += client.send(block[sent % len(block) :])
        lane = lab.lane(client)
        if sent >= MOST_HELD_BYTES or not 0 < lane.fast_bytes <= CREDIT_BYTES:
            return f"{sent} bytes were taken, {lane.fast_bytes} of them redirected, and nobody read"
        got = take(server, sent)
        whole = (block * (sent // len(block) + 1))[:sent]
        return "" if got == whole else "what a held-up sender had sent came changed"


def exchange(client: socket.socket, server: socket.socket) -> str:
    """Send BULK_BYTES each way, interleaved, in writes of odd sizes; say what came wrong."""
    ends = (client, server)
    block = bytes(range(251)) * 200
    sent, got = dict.fromkeys(ends, 0), {end: hashlib.sha256() for end in ends}
    left = dict.fromkeys(ends, BULK_BYTES)
    for end in ends:
        end.setblocking(False)
    while any(left.values()):
        writers = [end for end in ends if sent[end] < BULK_BYTES]
        readable, writable, _ = select.select([end for end in ends if left[end]], writers, [], PATIENCE_S)
        if not readable and not writable:
            return f"{sum(left.values())} bytes did not come"
        for end in writable:
            at = sent[end] % 251
            sent[end] += end.send(block[at : at + min(50_000 - 7 * at, BULK_BYTES - sent[end])])
        for end in readable:
            with contextlib.suppress(BlockingIOError):
                chunk = end.recv(65_536)
                if not chunk:
                    return "an end that nobody sent"
                got[end].update(chunk)
                left[end] -= len(chunk)
    whole = hashlib.sha256((bytes(range(251)) * (BULK_BYTES // 251 + 1))[:BULK_BYTES]).digest()
    return "" if all(one.digest() == whole for one in got.values()) else "another digest came"
