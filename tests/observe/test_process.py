"""World. What /proc says, of real processes."""

import mmap
import os
import resource
import signal
import subprocess
import sys
import time

import pytest

from meshtrio.observe.process import Usage, give_memory_back, is_alive, usage


@pytest.fixture
def sleeper() -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])


def test_a_process_is_alive_until_it_has_ended(sleeper: "subprocess.Popen[bytes]") -> None:
    assert is_alive(sleeper.pid)
    os.kill(sleeper.pid, signal.SIGSTOP)
    assert is_alive(sleeper.pid)
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert not is_alive(sleeper.pid)  # ended, and nobody has waited for it
    sleeper.wait()
    assert not is_alive(sleeper.pid)


@pytest.mark.parametrize("pid", [0, -1, 1 << 30])
def test_no_process_is_not_alive_and_uses_nothing(pid: int) -> None:
    assert not is_alive(pid)
    assert usage(pid) == Usage()


def test_a_name_that_looks_like_fields_confuses_nobody() -> None:
    code = (
        "import ctypes, sys; ctypes.CDLL(None).prctl(15, b'a) Z (b', 0, 0, 0);"
        "print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        process.stdout.readline()
        assert is_alive(process.pid)
        assert usage(process.pid).rss_bytes > 1 << 20


def test_usage_of_this_process_is_what_the_kernel_says_elsewhere() -> None:
    until = time.process_time() + 0.05
    while time.process_time() < until:
        pass
    used = usage()
    times = resource.getrusage(resource.RUSAGE_SELF)
    assert used.cpu_s == pytest.approx(times.ru_utime + times.ru_stime, abs=0.05)
    assert 1 << 20 < used.rss_bytes <= times.ru_maxrss * 1024 * 1.1
    with open("/dev/null") as _:
        assert usage().descriptors == used.descriptors + 1
    assert usage(os.getpid()).descriptors == used.descriptors


def test_more_memory_is_seen() -> None:
    before = usage().rss_bytes
    with mmap.mmap(-1, 32 << 20) as block:  # new pages: a bytearray may find room in old ones
        block.write(bytes([1]) * len(block))
        assert usage().rss_bytes - before > 24 << 20


def test_memory_that_is_free_is_given_back() -> None:
    blocks = [bytes(2000) for _ in range(10_000)]  # each from malloc, for pymalloc has up to 512 bytes
    last = bytes(2000)  # keeps the heap from shrinking by itself
    del blocks
    before = usage().rss_bytes
    give_memory_back()
    assert before - usage().rss_bytes > 10_000_000
    assert not any(last)
