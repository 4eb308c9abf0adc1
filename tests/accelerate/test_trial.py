"""World. The process that tries: what it answers, and what it says if it cannot."""

import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import msgspec
import pytest
import trio

from meshtrio.accelerate import trial
from meshtrio.accelerate.hazards import Finding, Hazard
from meshtrio.accelerate.lab import Lane
from meshtrio.intercept import source
from tests.accelerate.plain import Plain
from tests.support.tree import TREE

ANYWHERE = {Hazard.ORDER, Hazard.LATCH, Hazard.EARLY, Hazard.BULK, Hazard.MEMORY, Hazard.HALF_CLOSE}
"""What the latch, the credit and the kernel's reader keep right on every kernel that we know."""


def tried(group: str, program: bytes, *before: str) -> "subprocess.CompletedProcess[bytes]":
    words = [*before, sys.executable, "-m", "meshtrio.accelerate.trial", group]
    return subprocess.run(words, input=program, capture_output=True, check=False, cwd=TREE, timeout=60)


@pytest.mark.kernel
def test_it_tells_of_every_hazard(group: Path, cache: Path) -> None:
    program = msgspec.msgpack.encode(trio.run(source.compiled, cache, "accelerate.c"))
    done = tried(str(group), program)
    assert done.returncode == 0, done.stderr.decode()
    found = msgspec.json.decode(done.stdout, type=list[Finding])
    assert [one.hazard for one in found] == list(Hazard)
    assert {one.hazard: one.wrong for one in found if one.hazard in ANYWHERE} == dict.fromkeys(ANYWHERE, "")


@pytest.mark.kernel
def test_what_the_kernel_refuses_is_said(cache: Path) -> None:
    program = msgspec.msgpack.encode(trio.run(source.compiled, cache, "accelerate.c"))
    done = tried("/nowhere", program)
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"/nowhere" in done.stderr
    assert b"Traceback" not in done.stderr


class Deaf(Plain):
    """A lab in which nobody can be reached."""

    def pair(self, host: str, credit_bytes: int, *, early: bytes = b"") -> NoReturn:
        raise TimeoutError("timed out")


def test_a_probe_that_fails_is_a_hazard_and_families_that_agree_are_one_reason() -> None:
    (found,) = trial.find(Deaf(Lane(0, 0, 0, 0)), [Hazard.ORDER])
    assert found == Finding(Hazard.ORDER, "failed: timed out (IPv4, IPv6)")
