"""What peers see when the process that carries their bytes is killed."""

import contextlib
import signal
import socket
import subprocess
import sys
from pathlib import Path

import trio

from tests.forward.peers import FIN, RESET, pair, pattern, pour, read

V4, V6 = socket.AF_INET, socket.AF_INET6
SMALL, HUGE = pattern(1000, 1), pattern(40_000_000, 3)


async def test_killed_process_resets_every_peer() -> None:
    """After SIGKILL no peer may take the cut for a clean end: not idle, not half-closed, not amid bytes."""
    pairs = [(pair(V4), pair(V6)) for _ in range(3)]
    (idle_a, idle_b), (half_a, half_b), (busy_a, busy_b) = ((c.app, s.app) for c, s in pairs)
    fds = [one.ours.fileno() for both in pairs for one in both]
    script = Path(__file__).with_name("killed_relay.py")
    root = Path(__file__).parents[2]
    command = [sys.executable, str(script), *map(str, fds)]
    with (
        contextlib.ExitStack() as stack,
        subprocess.Popen(  # noqa: ASYNC220  fork and exec take 1 ms
            command, pass_fds=fds, stdout=subprocess.PIPE, cwd=root, env={"PYTHONPATH": "."}
        ) as child,
        trio.fail_after(10),
    ):
        try:
            for client, server in pairs:
                for one in (client, server):
                    stack.enter_context(one.app)
                    one.ours.close()
            assert child.stdout is not None
            assert await trio.to_thread.run_sync(child.stdout.readline) == b"ready\n"
            half_a.shutdown(socket.SHUT_WR)
            assert await read(half_b) == (b"", FIN)
            gone = await pour(busy_a, HUGE)
        finally:
            child.send_signal(signal.SIGKILL)
        assert await read(half_a) == (b"", RESET)
        assert await read(idle_a) == await read(idle_b) == (b"", RESET)
        got, end = await read(busy_b)
        assert end == RESET
        assert len(got) < gone
        assert HUGE.startswith(got)
