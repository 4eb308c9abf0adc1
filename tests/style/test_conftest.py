"""Shell. The promises of tests/conftest.py, each broken on purpose in a pytest of its own."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support import leaks

TREE = Path(__file__).parents[2]

Run = Callable[..., subprocess.CompletedProcess[str]]


def runner(folder: Path) -> Run:
    """Give what runs tests given as text in a small tree there that has our conftest and our settings."""
    tests = folder / "tests"
    tests.mkdir()
    text = (TREE / "tests/conftest.py").read_text()
    (tests / "conftest.py").write_text(text.replace("GRACE_S = 5.0", "GRACE_S = 0.3"))
    (tests / "support").symlink_to(TREE / "tests/support")
    (folder / "pyproject.toml").write_text((TREE / "pyproject.toml").read_text())

    def run(text: str, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
        if "--leaks=fail" not in options:
            options += ("--leaks=tell",)  # others may be testing on this machine
        (tests / "test_one.py").write_text(text)
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options],
            cwd=folder,
            env={**os.environ, "MESHTRIO_CI": "0", "HYPOTHESIS_PROFILE": "fast", **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    return run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return runner(tmp_path)


MANY = """
import logging, os, pathlib, subprocess
import hypothesis, pytest

@pytest.mark.kernel
def test_kernel():
    pytest.skip('no such hook')

def test_inner():
    pytest.skip('not today')

def test_descriptor():
    os.open('/etc/hostname', os.O_RDONLY)

@pytest.mark.world
def test_child():
    global child
    child = subprocess.Popen(['sleep', '7'])
    while b'sleep' not in pathlib.Path(f'/proc/{child.pid}/cmdline').read_bytes():
        pass  # Popen returns a little before the kernel shows the new name

@pytest.mark.world
def test_child_ends():
    child.kill()
    child.wait()

def test_logger():
    logging.getLogger('meshtrio').propagate = False

def test_logger_is_as_it_was(caplog):
    logging.getLogger('meshtrio').error('x')
    assert caplog.records

def test_profile():
    print('examples', hypothesis.settings().max_examples)
    assert not hypothesis.settings().max_examples

@pytest.mark.soak
def test_soak():
    print('examples', hypothesis.settings().max_examples)
    assert not hypothesis.settings().max_examples
"""
"""Tests that all meet one promise each, for a pytest of its own takes a second to start."""


class Told(NamedTuple):
    """What one run of them printed: what became of each test, and all of it."""

    became: dict[str, str]
    text: str


def run_many(run: Run, *options: str, **environment: str) -> Told:
    said = run(MANY, "-v", *options, **environment).stdout
    return Told(dict(re.findall(r"^tests/test_one.py::test_(\w+) ([A-Z]+)", said, re.MULTILINE)), said)


@pytest.fixture(scope="module")
def at_home(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """As a developer runs them."""
    return run_many(runner(tmp_path_factory.mktemp("home")))


@pytest.fixture(scope="module")
def in_ci(tmp_path_factory: pytest.TempPathFactory) -> Told:
    return run_many(runner(tmp_path_factory.mktemp("ci")), MESHTRIO_CI="1", HYPOTHESIS_PROFILE="ci")


def test_a_skip_of_the_kernel_ring_is_told(at_home: Told) -> None:
    assert at_home.became["kernel"] == "SKIPPED"


def test_a_skip_of_the_kernel_ring_fails_in_ci(in_ci: Told) -> None:
    assert in_ci.became["kernel"] == "FAILED"
    assert "skipped, and CI must run it" in in_ci.text
    assert "no such hook" in in_ci.text


def test_a_skip_of_an_inner_ring_is_a_skip_in_ci(in_ci: Told) -> None:
    assert in_ci.became["inner"] == "SKIPPED"


def test_a_file_that_skips_as_a_whole_fails_in_ci(run: Run) -> None:
    answer = run("import pytest\npytest.skip('nothing here', allow_module_level=True)\n", MESHTRIO_CI="1")
    assert answer.returncode != 0
    assert "a whole file skipped" in answer.stdout


def test_a_descriptor_left_open_fails_the_test(at_home: Told) -> None:
    assert at_home.became["descriptor"] == "ERROR"
    assert re.search(r"the test left open: descriptor \d+ -> /etc/hostname", at_home.text)


@pytest.mark.skipif(not leaks.children_of(1), reason="this kernel keeps no list of children")
def test_a_child_left_running_fails_a_test_of_the_world(at_home: Told) -> None:
    if os.geteuid() != 0:
        pytest.skip("tests of the world need root")
    assert (at_home.became["child"], at_home.became["child_ends"]) == ("ERROR", "PASSED")
    assert re.search(r"the test left open: process \d+ sleep 7", at_home.text)


def test_what_a_test_did_to_our_logger_is_undone(at_home: Told) -> None:
    assert (at_home.became["logger"], at_home.became["logger_is_as_it_was"]) == ("PASSED", "PASSED")


def test_soak_tests_run_alone_and_only_when_asked(run: Run, at_home: Told) -> None:
    assert "soak" not in at_home.became
    assert "1 deselected" in at_home.text
    told = run_many(run, "--soak", HYPOTHESIS_PROFILE="deep")
    assert list(told.became) == ["soak"]
    assert "examples 100000\n" in told.text


def test_hypothesis_runs_in_the_profile_asked_for(at_home: Told, in_ci: Told) -> None:
    """The deep one is asked for above."""
    assert "examples 20\n" in at_home.text
    assert "examples 100\n" in in_ci.text


ORPHAN = """
import pathlib, subprocess, sys

def test_one():
    command = 'setsid sleep 61 >/dev/null 2>&1 & echo $!'
    orphan = subprocess.check_output(command, shell=True, text=True).strip()
    while not pathlib.Path(f'/proc/{orphan}/cmdline').read_bytes().startswith(b'sleep'):
        pass  # a process that is about to run something else shows no environment

def test_two():
    sys.stderr.write('x')
"""


def test_a_process_without_a_parent_is_found_at_the_end_and_fails_the_session(run: Run) -> None:
    answer = run(ORPHAN, "--leaks=fail")
    found = [line.split() for line in answer.stdout.splitlines() if line.startswith("process ")]
    for words in found:
        os.kill(int(words[1]), 9)
    assert [words[2:] for words in found] == [["sleep", "61"]]
    assert answer.returncode == 1
    assert "2 passed" in answer.stdout


def test_several_processes_are_one_run(run: Run) -> None:
    answer = run(ORPHAN, "-n", "2", "--dist", "load", "--leaks=fail")
    found = [line.split() for line in answer.stdout.splitlines() if line.startswith("process ")]
    for words in found:
        os.kill(int(words[1]), 9)
    assert [words[2:] for words in found] == [["sleep", "61"]]
    assert answer.returncode == 1
    assert re.fullmatch(r"=+ 2 passed in [0-9.]+s =+", answer.stdout.splitlines()[-1])


@pytest.mark.kernel
def test_a_cgroup_left_behind_fails_the_session(run: Run) -> None:
    mount = leaks.cgroup_mount()
    assert mount is not None
    left = mount / f"meshtrio-left-{os.getpid()}"
    try:
        answer = run(f"import os\ndef test_it():\n    os.mkdir('{left}')\n", "--leaks=fail")
    finally:
        left.rmdir()
    assert answer.returncode == 1
    assert f"cgroup {left}" in answer.stdout


@pytest.mark.kernel
def test_what_is_left_behind_may_be_told_only(run: Run) -> None:
    mount = leaks.cgroup_mount()
    assert mount is not None
    left = mount / f"meshtrio-left-{os.getpid()}"
    try:
        answer = run(f"import os\ndef test_it():\n    os.mkdir('{left}')\n")
    finally:
        left.rmdir()
    assert answer.returncode == 0
    assert f"cgroup {left}" in answer.stdout


GOLDEN = "def test_it(golden):\n    golden('words.txt', 'one\\ntwo\\n')\ndef test_other():\n    pass\n"


def test_golden_shows_the_difference_and_rewrites_only_when_asked(run: Run, tmp_path: Path) -> None:
    kept = tmp_path / "tests/golden/words.txt"
    kept.parent.mkdir()
    kept.write_text("one\n")
    answer = run(GOLDEN)
    assert answer.returncode == 1
    assert "+two" in answer.stdout
    assert kept.read_text() == "one\n"
    answer = run(GOLDEN, "--golden-update")
    assert answer.returncode == 0
    assert "1 passed, 1 deselected" in answer.stdout
    assert "+two" in answer.stdout
    assert kept.read_text() == "one\ntwo\n"
