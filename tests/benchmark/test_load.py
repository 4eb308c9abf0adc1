"""Shell. The caller, as a process of its own, against real servers: some of them are slow, or go away."""

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from meshtrio.benchmark import load, responder

SECONDS = 0.3


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    words = [sys.executable, "-I", "-S", responder.__file__, "127.0.0.1", "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())
        process.terminate()


def loaded(mode: str, port: int, *, warm_s: float = 0.05) -> dict[str, float]:
    words = [sys.executable, "-I", "-S", load.__file__, mode, "127.0.0.1", str(port), str(SECONDS)]
    done = subprocess.run([*words, str(warm_s)], input=b"\n", capture_output=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr.decode()
    ready, numbers = done.stdout.decode().splitlines()
    assert ready == "ready"
    return json.loads(numbers)  # type: ignore[no-any-return]


@pytest.mark.parametrize("mode", ["connect", "roundtrip", "roundtrip_small", "roundtrip_large", "rate"])
def test_messages_are_timed(port: int, mode: str) -> None:
    numbers = loaded(mode, port)
    assert numbers["errors"] == 0
    assert 0 < numbers["p50_us"] <= numbers["p99_us"] < 1e6 * (SECONDS + 5)
    assert numbers["operations"] == pytest.approx(numbers["per_second"] * SECONDS, rel=0.5)


def test_a_rate_is_what_was_asked_for(port: int) -> None:
    numbers = loaded("rate", port)
    assert (numbers["operations"], numbers["per_second"]) == (1000 * SECONDS, 1000)


@pytest.mark.parametrize("mode", ["up", "down", "both"])
def test_bytes_are_counted(port: int, mode: str) -> None:
    numbers = loaded(mode, port)
    assert numbers["mb_per_second"] > 1
    assert numbers["operations"] >= numbers["mb_per_second"] * SECONDS * 0.9


def test_connections_are_held_until_it_is_told(port: int) -> None:
    words = [sys.executable, "-I", "-S", load.__file__, "hold", "127.0.0.1", str(port), "1", "0"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        with open(f"/proc/{process.pid}/net/tcp") as table:
            rows = [line.split() for line in table.readlines()[1:]]
        far = f":{port:04X}"
        assert sum(row[2].endswith(far) and row[3] == "01" for row in rows) == 1000
        process.communicate(b"\n", timeout=20)
    assert process.returncode == 0


@contextmanager
def stalling(after: int, stall_s: float) -> Iterator[int]:
    """Serve echo, and do nothing at all for a while when so many messages have come."""
    seen = 0
    lock = threading.Lock()

    def serve(line: socket.socket) -> None:
        nonlocal seen
        with line:
            line.recv(1)
            while said := line.recv(1024, socket.MSG_WAITALL):
                with lock:
                    seen += 1
                    if seen == after:
                        time.sleep(stall_s)
                line.sendall(said)

    def accept(listener: socket.socket) -> None:
        while True:
            try:
                line = listener.accept()[0]
            except OSError:
                return
            threads.append(threading.Thread(target=serve, args=(line,)))
            threads[-1].start()

    threads: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = threading.Thread(target=accept, args=(listener,))
        accepting.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        accepting.join()
    for thread in threads:
        thread.join()


def test_a_stall_is_counted_for_all_that_were_due_in_it() -> None:
    with stalling(after=100, stall_s=0.2) as port:
        numbers = loaded("rate", port, warm_s=0.001)
    # 200 of 300 were due while it stalled. Timed from when it was sent, only one of each connection is slow.
    assert numbers["errors"] == 0
    assert numbers["p50_us"] > 20_000
    assert numbers["p99_us"] > 150_000


def test_a_server_that_goes_away_is_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    words = [sys.executable, "-I", "-S", load.__file__, "roundtrip", "127.0.0.1", str(port), "1", "0.1"]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=30)
    assert done.returncode == 1
    assert done.stderr.decode().startswith("roundtrip: [Errno 111]")
    assert done.stderr.count(b"\n") == 1


def test_what_never_comes_back_is_an_error_and_slow(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "PATIENCE_NS", 100_000_000)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        numbers = load.rate(mute.getsockname(), 0.05)
    assert (numbers["errors"], numbers["operations"], numbers["p50_us"]) == (50, 0, 100_000)
    assert load.rate(("127.0.0.1", port), 0.05)["errors"] == 0
