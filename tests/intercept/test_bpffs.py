"""World. bpffs found or mounted, each time in a mount namespace that ends with its process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from meshtrio.intercept.bpffs import BpffsError, ensure, held, is_held

pytestmark = pytest.mark.world

# MS_REC | MS_PRIVATE: nothing of it may be seen outside.
IN_PRIVATE = """
import ctypes, os, sys
from pathlib import Path
libc = ctypes.CDLL(None, use_errno=True)
assert libc.unshare(0x00020000) == 0
assert libc.mount(b"none", b"/", None, 0x4000 | 0x40000, None) == 0
for line in open("/proc/mounts").readlines():
    if line.split()[2] == "bpf":
        libc.umount2(line.split()[1].encode(), 2)
from meshtrio.intercept.bpffs import BpffsError, ensure
def mounted():
    return [line.split()[1] for line in open("/proc/mounts") if line.split()[2] == "bpf"]
def told(pins):
    try:
        return ensure(Path(pins))
    except BpffsError as why:
        return why
"""


def privately(lines: str) -> list[str]:
    """Run lines in a process with mounts of its own, without a bpffs; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", IN_PRIVATE + lines], capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_it_is_mounted_when_it_is_not_there() -> None:
    before = Path("/proc/mounts").read_text()
    said = privately("""
print(mounted())
print(told("/sys/fs/bpf/mesh_test/deep"))
print(mounted(), oct(os.stat("/sys/fs/bpf").st_mode & 0o777))
print(told("/sys/fs/bpf/mesh_test/deep"), len(mounted()))
print(oct(os.stat("/sys/fs/bpf/mesh_test/deep").st_mode & 0o777))
""")
    pins = "/sys/fs/bpf/mesh_test/deep"
    assert said == ["[]", pins, "['/sys/fs/bpf'] 0o700", f"{pins} 1", "0o700"]
    assert Path("/proc/mounts").read_text() == before


def test_one_that_is_there_is_used() -> None:
    assert privately("""
os.makedirs("/tmp/elsewhere", exist_ok=True)
assert libc.mount(b"none", b"/tmp/elsewhere", b"bpf", 0, None) == 0
print(told("/tmp/elsewhere/pins"), mounted(), os.path.isdir("/tmp/elsewhere/pins"))
libc.umount2(b"/tmp/elsewhere", 2)
os.rmdir("/tmp/elsewhere")
""") == ["/tmp/elsewhere/pins ['/tmp/elsewhere'] True"]


def test_who_may_not_mount_hears_what_to_do() -> None:
    """CAP_SYS_ADMIN given up, as in an ordinary container."""
    [said] = privately("""
libc.prctl(24, 21, 0, 0, 0)  # PR_CAPBSET_DROP, so that exec leaves it out
import subprocess
sys.exit(subprocess.run([sys.executable, "-c", '''
from pathlib import Path
from meshtrio.intercept.bpffs import BpffsError, ensure
try:
    ensure(Path("/sys/fs/bpf/mesh_test"))
except BpffsError as why:
    print(why)
''']).returncode)
""")
    assert said == (
        "cannot mount bpffs at /sys/fs/bpf: Operation not permitted; as root: mount -t bpf bpf /sys/fs/bpf"
    )


def test_a_folder_that_is_on_no_bpffs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        BpffsError, match=rf"{tmp_path}/pins is not on a bpffs; .*mount -t bpf bpf {tmp_path}"
    ):
        ensure(tmp_path / "pins")
    assert not (tmp_path / "pins").exists()


def test_a_bpffs_that_cannot_be_written_is_refused() -> None:
    read_only = privately("""
assert libc.mount(b"none", b"/sys/fs/bpf", b"bpf", 1, None) == 0
print(told("/sys/fs/bpf/mesh_test"))
""")
    assert read_only == [
        "cannot make /sys/fs/bpf/mesh_test: Read-only file system; use paths.pins on a bpffs that is writable"
    ]


def test_a_folder_beside_the_mount_point_is_not_on_it() -> None:
    [said] = privately("""print(told("/sys/fs/bpf-beside"), mounted())""")
    assert said.startswith("/sys/fs/bpf-beside is not on a bpffs")
    assert said.endswith("[]")


def test_one_agent_at_a_time_pins_in_a_folder() -> None:
    pins = Path(f"/sys/fs/bpf/mesh_test_{os.getpid()}")
    with held(pins, make=True):
        assert is_held(pins)
        with pytest.raises(BpffsError, match=f"another agent uses {pins}; "), held(pins, make=False):
            pytest.fail("two of them")
        assert pins.is_dir(), "whoever came second leaves it alone"
    assert not pins.exists()
    assert not is_held(pins)


def test_what_cannot_be_made_is_held_by_nobody(tmp_path: Path) -> None:
    with held(tmp_path / "pins", make=True), held(tmp_path / "pins", make=True):
        assert not (tmp_path / "pins").exists()
