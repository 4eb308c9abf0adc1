"""Shell. What /proc says of processes of ours, and of the machine."""

import os
import subprocess
import sys
import time

from meshtrio.benchmark import procfs

SPINNING = """
import time
while time.process_time() < 0.2: pass
print(flush=True)
input()
"""


def test_a_child_that_works_is_in_the_tree_and_its_time_is_counted() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SPINNING], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        found = procfs.processes()
        assert child.pid in procfs.tree(found, [os.getpid()])
        assert child.pid not in procfs.tree(found, [os.getpid()], without=[child.pid])
        assert sum(procfs.user_and_system(found, [child.pid])) >= 0.15
        assert procfs.rss_mb(child.pid) > 1
        assert procfs.command_line(child.pid)[1] == "-c"
        ours, theirs = procfs.foreign_s(found, os.getpid()), procfs.foreign_s(found, child.pid)
        assert ours < theirs  # seen from the child, we are others
        child.communicate(b"\n")
    assert (procfs.rss_mb(child.pid), procfs.command_line(child.pid)) == (0.0, [])


def test_the_machine_does_not_get_younger() -> None:
    before = procfs.machine_time()
    time.sleep(0.05)
    after = procfs.machine_time()
    assert after.busy_s >= before.busy_s > 0
    assert after.steal_s >= before.steal_s
