"""What this process may do, and what it was started with."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from meshtrio.cli import process
from meshtrio.cli.complaint import Complaint
from tests.support.tree import TREE

SYS_RESOURCE = 24
"""CAP_SYS_RESOURCE, as in linux/capability.h."""


def inside(code: str, **options: object) -> str:
    """Run a line in a process of its own, in which the limits are anybody's."""
    line = f"import os, sys\nsys.path.insert(0, {str(TREE)!r})\nfrom meshtrio.cli.process import *\n{code}"
    done = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=True, **options)  # type: ignore[call-overload]
    return str(done.stdout).strip()


def test_the_soft_limit_becomes_the_hard_one_and_is_remembered() -> None:
    code = (
        "import resource as r\nr.setrlimit(r.RLIMIT_NOFILE, (64, 256))\n"
        "print(raise_descriptor_limit(), r.getrlimit(r.RLIMIT_NOFILE), raise_descriptor_limit())"
    )
    assert inside(code) == "64 (256, 256) 256"
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 0


def test_who_may_gets_more_than_the_hard_limit_and_nobody_more_than_the_kernel_has() -> None:
    code = (
        "import resource as r\nr.setrlimit(r.RLIMIT_NOFILE, (64, 256))\n"
        "print(raise_descriptor_limit(2048), r.getrlimit(r.RLIMIT_NOFILE))\n"
        "print(raise_descriptor_limit(1 << 40), r.getrlimit(r.RLIMIT_NOFILE))"
    )
    have = int(Path("/proc/self/status").read_text().partition("CapEff:")[2].split()[0], 16)
    most = 2048 if have >> SYS_RESOURCE & 1 else 256
    assert inside(code) == f"64 ({most}, {most})\n{most} ({most}, {most})"


def test_the_first_environment_is_not_what_python_made_of_it() -> None:
    code = (
        "os.environ['B'] = 'new'\nprint(first_environment().get(b'B'), first_environment().get(b'LC_CTYPE'))"
    )
    assert inside(code, env={"LANG": "C", "B": "\udcff="}) == r"b'\xff=' None"


def test_the_umask_is_read_and_not_set() -> None:
    was = os.umask(0o027)
    try:
        assert process.own_umask() == 0o027
        assert process.own_umask() == 0o027
    finally:
        os.umask(was)


def test_without_a_terminal_nobody_else_gets_our_signals() -> None:
    assert inside("print(has_terminal())", start_new_session=True) == "False"


@pytest.mark.world
def test_root_may_and_nobody_may_not() -> None:
    assert process.missing_capabilities() == []
    process.require_privilege("agent")
    code = (
        "os.setresuid(65534, 65534, 65534)\nprint(missing_capabilities())\n"
        "try: require_privilege('agent')\nexcept Exception as no: print(no)"
    )
    missing, _, said = inside(code).partition("\n")
    assert "CAP_NET_ADMIN" in missing
    assert said.endswith("run: sudo meshtrio agent")


def test_root_in_a_container_is_told_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_status", lambda name: "0")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(Complaint, match=r"root lacks CAP_NET_ADMIN, .* container"):
        process.require_privilege("agent")
    monkeypatch.setattr(process, "_status", lambda name: f"{1 << 21 | 1 << 12:x}")
    assert process.missing_capabilities() == []  # SYS_ADMIN contains BPF and PERFMON
