"""Shell. The promises of tests/conftest.py, each broken on purpose in a pytest of its own."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import leaks

TREE = Path(__file__).parents[2]

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run tests given as text in a small tree that has our conftest and our pytest settings."""
    tests = tmp_path / "tests"
    tests.mkdir()
    text = (TREE / "tests/conftest.py").read_text()
    (tests / "conftest.py").write_text(text.replace("GRACE_S = 5.0", "GRACE_S = 0.3"))
    (tests / "support").symlink_to(TREE / "tests/support")
    (tmp_path / "pyproject.toml").write_text((TREE / "pyproject.toml").read_text())

    def run(text: str, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
        if "--leaks=fail" not in options:
            options += ("--leaks=tell",)  # others may be testing on this machine
        (tests / "test_one.py").write_text(text)
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options],
            cwd=tmp_path,
            env={**os.environ, "MESHTRIO_CI": "0", "HYPOTHESIS_PROFILE": "fast", **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    return run


SKIPS = "import pytest\n@pytest.mark.kernel\ndef test_it():\n    pytest.skip('no such hook')\n"


def test_a_skip_of_the_kernel_ring_is_told(run: Run) -> None:
    answer = run(SKIPS)
    assert answer.returncode == 0
    assert "1 skipped" in answer.stdout


def test_a_skip_of_the_kernel_ring_fails_in_ci(run: Run) -> None:
    answer = run(SKIPS, MESHTRIO_CI="1")
    assert answer.returncode == 1
    assert "skipped, and CI must run it" in answer.stdout
    assert "no such hook" in answer.stdout


def test_a_skip_of_an_inner_ring_is_a_skip_in_ci(run: Run) -> None:
    answer = run("import pytest\ndef test_it():\n    pytest.skip('not today')\n", MESHTRIO_CI="1")
    assert answer.returncode == 0


def test_a_file_that_skips_as_a_whole_fails_in_ci(run: Run) -> None:
    answer = run("import pytest\npytest.skip('nothing here', allow_module_level=True)\n", MESHTRIO_CI="1")
    assert answer.returncode != 0
    assert "a whole file skipped" in answer.stdout


def test_a_descriptor_left_open_fails_the_test(run: Run) -> None:
    answer = run("import os\ndef test_it():\n    os.open('/etc/hostname', os.O_RDONLY)\n")
    assert answer.returncode == 1
    assert "/etc/hostname" in answer.stdout


@pytest.mark.skipif(not leaks.children_of(1), reason="this kernel keeps no list of children")
def test_a_child_left_running_fails_a_test_of_the_world(run: Run) -> None:
    answer = run(
        "import pathlib, subprocess, pytest\n"
        "@pytest.mark.world\n"
        "def test_it():\n"
        "    global child\n"
        "    child = subprocess.Popen(['sleep', '7'])\n"
        "    while b'sleep' not in pathlib.Path(f'/proc/{child.pid}/cmdline').read_bytes():\n"
        "        pass\n"  # Popen returns a little before the kernel shows the new name
        "def test_end():\n"
        "    child.kill()\n"
        "    child.wait()\n"
    )
    if os.geteuid() != 0:
        pytest.skip("tests of the world need root")
    assert answer.returncode == 1
    assert "sleep 7" in answer.stdout


def test_a_process_without_a_parent_is_found_at_the_end_and_fails_the_session(run: Run) -> None:
    answer = run(
        "import os\ndef test_it():\n    os.system('setsid sleep 61 >/dev/null 2>&1 &')\n", "--leaks=fail"
    )
    found = [line.split() for line in answer.stdout.splitlines() if line.startswith("process ")]
    for words in found:
        os.kill(int(words[1]), 9)
    assert [words[2:] for words in found] == [["sleep", "61"]]
    assert answer.returncode == 1
    assert "1 passed" in answer.stdout


def test_several_processes_are_one_run(run: Run) -> None:
    text = (
        "import os, sys\n"
        "def test_one():\n    os.system('setsid sleep 62 >/dev/null 2>&1 &')\n"
        "def test_two():\n    sys.stderr.write('x')\n"
    )
    answer = run(text, "-n", "2", "--dist", "load", "--leaks=fail")
    found = [line.split() for line in answer.stdout.splitlines() if line.startswith("process ")]
    for words in found:
        os.kill(int(words[1]), 9)
    assert [words[2:] for words in found] == [["sleep", "62"]]
    assert answer.returncode == 1
    assert re.fullmatch(r"=+ 2 passed in [0-9.]+s =+", answer.stdout.splitlines()[-1])


def test_what_a_test_did_to_our_logger_is_undone(run: Run) -> None:
    text = (
        "import logging\n"
        "def test_one():\n    logging.getLogger('meshtrio').propagate = False\n"
        "def test_two(caplog):\n    logging.getLogger('meshtrio').error('x')\n    assert caplog.records\n"
    )
    assert "2 passed" in run(text).stdout


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
    assert run(GOLDEN).returncode == 0


def test_soak_tests_run_alone_and_only_when_asked(run: Run) -> None:
    text = "import pytest\n@pytest.mark.soak\ndef test_long():\n    pass\ndef test_short():\n    pass\n"
    assert "1 passed, 1 deselected" in run(text).stdout
    answer = run(text, "--soak", "-v")
    assert "test_long PASSED" in answer.stdout
    assert "1 passed, 1 deselected" in answer.stdout


@pytest.mark.parametrize(("profile", "examples"), [("fast", 20), ("ci", 200), ("deep", 100_000)])
def test_hypothesis_runs_in_the_profile_asked_for(run: Run, profile: str, examples: int) -> None:
    text = f"import hypothesis\ndef test_it():\n    assert hypothesis.settings().max_examples == {examples}\n"
    assert run(text, HYPOTHESIS_PROFILE=profile).returncode == 0
