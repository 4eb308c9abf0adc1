"""Shell. A worker as a process of its own: how it begins, which signals it heeds, how it ends."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
import trio

from meshtrio.channel import SocketChannel
from meshtrio.config.schema import Config
from meshtrio.messages import Drain, Ready, Settings, ToAgent, ToWorker
from meshtrio.observe.process import is_alive

Line = SocketChannel[ToAgent, ToWorker]


@contextlib.contextmanager
def worker() -> Iterator[tuple["subprocess.Popen[bytes]", Line]]:
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "meshtrio.worker_process", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stderr=subprocess.PIPE,
        )
    line: Line = SocketChannel(ours, ToAgent)
    try:
        yield process, line
    finally:
        line.close()
        process.kill()
        process.communicate()


async def begun(line: Line) -> None:
    await line.send(Settings(Config()))
    message, _ = await line.receive()
    assert isinstance(message, Ready)


async def ended(process: "subprocess.Popen[bytes]") -> int:
    with trio.fail_after(10):
        while process.poll() is None:
            await trio.sleep(0.02)
    return process.returncode


async def test_a_worker_says_its_own_process_id_and_ends_by_a_drain() -> None:
    with worker() as (process, line):
        await line.send(Settings(Config()))
        message, _ = await line.receive()
        assert message == Ready(process.pid)
        await line.send(Drain(0))
        assert await ended(process) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_to_the_whole_group_is_for_the_agent_to_answer(number: signal.Signals) -> None:
    with worker() as (process, line):
        await begun(line)
        process.send_signal(number)
        await trio.sleep(0.2)
        await begun(line)
        assert is_alive(process.pid)
        await line.send(Drain(0))
        assert await ended(process) == 0


async def test_an_orphan_that_waits_for_a_successor_ends_by_sigterm() -> None:
    with worker() as (process, line):
        await line.send(Settings(Config(), successor="/nonexistent/control.sock"))
        await line.receive()
        line.close()
        await trio.sleep(0.3)
        assert is_alive(process.pid)
        process.send_signal(signal.SIGTERM)
        assert await ended(process) == 0


async def test_an_orphan_for_whom_nobody_will_come_ends_by_itself() -> None:
    with worker() as (process, line):
        await begun(line)
        line.close()
        assert await ended(process) == 0


def test_a_process_without_a_line_says_so_and_fails() -> None:
    said = subprocess.run(
        [sys.executable, "-m", "meshtrio.worker_process", str(os.sysconf("SC_OPEN_MAX") - 1)],
        capture_output=True,
        check=False,
        timeout=20,
    )
    assert said.returncode == 1
    assert b"Bad file descriptor" in said.stderr
