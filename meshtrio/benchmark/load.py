"""Shell. The caller: puts one kind of load on one address, and says what it saw. Knows no mesh.

Run as a file by `python -I -S` inside the workload, so it imports nothing of ours. It warms up with the same
load, prints a line, and waits for one; then it measures, and prints its numbers as JSON. So whoever started
it can read the processors' clocks right before and right after.

At a fixed rate message k is due at start + k / rate, and its time runs from then on, sent or not: a stall is
counted for all that should have been sent in it (what is known as coordinated omission otherwise). What never
comes back counts as slow as can be.
"""

import ctypes
import gc
import json
import select
import socket
import sys
import time
from collections.abc import Callable

MESSAGE = b"m" * 1024
LARGE_BYTES = 64 * 1024
CHUNK_BYTES = 1 << 18
CONNECT_MOST = 6000
"""Each stays in TIME_WAIT for a minute, and there are 28,000 ports."""
RATE_CONNECTIONS = 8
PATIENCE_NS = 2_000_000_000
NS = 1_000_000_000
PR_SET_TIMERSLACK = 29
Address = tuple[str, int]
Numbers = dict[str, float]


def dialled(address: Address, kind: bytes) -> socket.socket:
    """Connect, and say what is wanted."""
    line = socket.create_connection(address, 10)
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    line.sendall(kind)
    return line


def connect(address: Address, seconds: float) -> Numbers:
    """Connect, send a byte, take a byte, close; one at a time."""
    whole: list[int] = []
    began = now = time.perf_counter_ns()
    stop = began + int(seconds * NS)
    while now < stop and len(whole) < CONNECT_MOST:
        with socket.create_connection(address, 10) as line:
            line.sendall(b"c")
            if line.recv(1) != b"c":
                raise ConnectionError("a connection ended before its answer")
        before, now = now, time.perf_counter_ns()
        whole.append(now - before)
    return _per_second(len(whole), now - began) | _percentiles(whole)


def roundtrip(address: Address, seconds: float, message: bytes = MESSAGE) -> Numbers:
    """Send 1 KiB and take it back, on one connection, as fast as it comes."""
    trips: list[int] = []
    with dialled(address, b"e") as line:
        began = now = time.perf_counter_ns()
        stop = began + int(seconds * NS)
        while now < stop:
            line.sendall(message)
            _take(line, len(message))
            before, now = now, time.perf_counter_ns()
            trips.append(now - before)
    return _per_second(len(trips), now - began) | _percentiles(trips)


def roundtrip_small(address: Address, seconds: float) -> Numbers:
    """Send a byte and take it back, as above."""
    return roundtrip(address, seconds, b"m")


def roundtrip_large(address: Address, seconds: float) -> Numbers:
    """Send 64 KiB and take them back, as above. The buffers on the way hold as much, so nobody is stuck."""
    return roundtrip(address, seconds, bytes(LARGE_BYTES))


def rate(address: Address, seconds: float, per_second: int = 1000) -> Numbers:
    """Send 1 KiB at fixed times and take it back, on several connections in turn."""
    # Else the kernel may wake us 50 us late.
    ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)
    lines = [dialled(address, b"e") for _ in range(RATE_CONNECTIONS)]
    numbers = {line.fileno(): number for number, line in enumerate(lines)}
    received = [0] * len(lines)
    trips: list[int] = []
    gap, most, sent = NS // per_second, max(1, int(seconds * per_second)), 0
    start = time.perf_counter_ns() + gap
    give_up = start + most * gap + PATIENCE_NS
    while len(trips) < most and (now := time.perf_counter_ns()) < give_up:
        while sent < most and start + sent * gap <= now:
            lines[sent % len(lines)].sendall(MESSAGE)
            sent += 1
        wake = start + sent * gap if sent < most else give_up
        pause_s = max(0, wake - time.perf_counter_ns()) / NS
        for line in select.select(lines, (), (), pause_s)[0]:
            number = numbers[line.fileno()]
            whole = received[number] // len(MESSAGE)
            got = len(line.recv(CHUNK_BYTES))
            if not got:
                raise ConnectionError("a connection ended before its answers")
            received[number] += got
            now = time.perf_counter_ns()
            for k in range(whole, received[number] // len(MESSAGE)):
                trips.append(now - (start + (number + k * len(lines)) * gap))
    errors = most - len(trips)
    for line in lines:
        line.close()
    done = _per_second(len(trips), most * gap)
    return done | _percentiles(trips + [PATIENCE_NS] * errors) | {"errors": float(errors)}


def up(address: Address, seconds: float) -> Numbers:
    """Send as much as goes, and count what has arrived."""
    chunk = bytes(CHUNK_BYTES)
    with dialled(address, b"s") as line:
        began = time.perf_counter_ns()
        stop = began + int(seconds * NS)
        while time.perf_counter_ns() < stop:
            line.sendall(chunk)
        line.shutdown(socket.SHUT_WR)
        arrived = int.from_bytes(_take(line, 8), "big")
        return _volume(arrived, time.perf_counter_ns() - began)


def down(address: Address, seconds: float) -> Numbers:
    """Take as much as comes."""
    room, arrived = bytearray(CHUNK_BYTES), 0
    with dialled(address, b"d") as line:
        began = now = time.perf_counter_ns()
        stop = began + int(seconds * NS)
        while now < stop:
            got = line.recv_into(room)
            if not got:
                raise ConnectionError("a connection ended in the middle")
            arrived += got
            now = time.perf_counter_ns()
        return _volume(arrived, now - began)


def both(address: Address, seconds: float) -> Numbers:
    """Send as much as goes, take it back meanwhile, and count what came back in both directions."""
    chunk, room, arrived = bytes(CHUNK_BYTES), bytearray(CHUNK_BYTES), 0
    with dialled(address, b"e") as line:
        line.setblocking(False)
        began = now = time.perf_counter_ns()
        stop = began + int(seconds * NS)
        while now < stop:
            readable, writable, _ = select.select((line,), (line,), (), PATIENCE_NS / NS)
            if readable:
                got = line.recv_into(room)
                if not got:
                    raise ConnectionError("a connection ended in the middle")
                arrived += got
            if writable:
                line.send(chunk)
            now = time.perf_counter_ns()
        return _volume(2 * arrived, now - began)


def hold(address: Address, connections: int = 1000) -> None:
    """Open connections, each with one byte there and back, and hold them until a line comes."""
    lines = [dialled(address, b"c") for _ in range(connections)]
    for line in lines:
        _take(line, 1)
    _wait_for_word()
    for line in lines:
        line.close()


MODES: dict[str, Callable[[Address, float], Numbers]] = {
    mode.__name__: mode
    for mode in (connect, roundtrip, roundtrip_small, roundtrip_large, rate, up, down, both)
}


def _take(line: socket.socket, count: int) -> bytes:
    taken = line.recv(count)
    while len(taken) < count:
        more = line.recv(count - len(taken))
        if not more:
            raise ConnectionError("a connection ended before its answer")
        taken += more
    return taken


def _per_second(operations: int, lasted_ns: int) -> Numbers:
    return {"operations": float(operations), "errors": 0.0, "per_second": operations * NS / lasted_ns}


def _volume(arrived: int, lasted_ns: int) -> Numbers:
    megabytes = arrived / 1e6
    return {"operations": megabytes, "errors": 0.0, "mb_per_second": megabytes * NS / lasted_ns}


def _percentiles(durations_ns: list[int]) -> Numbers:
    """Give the smallest values that at least half, and at least 99 of 100, do not exceed."""
    ordered = sorted(durations_ns)
    ranks = {rank: max(1, (len(ordered) * rank + 99) // 100) for rank in (50, 99)}
    return {f"p{rank}_us": ordered[at - 1] / 1000 for rank, at in ranks.items()}


def _wait_for_word() -> None:
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()


def main() -> None:
    """Do what MODE HOST PORT SECONDS WARM_S say; a failure is one line, and code 1."""
    mode, host, port, seconds, warm_s = sys.argv[1:6]
    address = (host, int(port))
    gc.disable()  # nothing here makes cycles, and a collection would be somebody's latency
    try:
        if mode == "hold":
            hold(address)
            return
        MODES[mode](address, float(warm_s))
        _wait_for_word()
        sys.stdout.write(json.dumps(MODES[mode](address, float(seconds))) + "\n")
    except OSError as wrong:
        sys.exit(f"{mode}: {wrong}")


if __name__ == "__main__":
    main()
