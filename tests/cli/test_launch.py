"""The launcher, as a process: what it becomes, what it keeps, and how it ends when it cannot."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshtrio.cli import launch
from meshtrio.cli.complaint import Code
from meshtrio.intercept import cgroup
from tests.support.signals import ignored_by_inheritance

pytestmark = pytest.mark.world


@pytest.fixture
def group() -> Iterator[Path]:
    path = cgroup.create(f"cli-launch-{os.getpid()}")
    yield path
    assert cgroup.remove(path)


def become(
    group: Path, *command: str, user: str = "", limit: int = -1, **options: object
) -> tuple[int, str, str]:
    done = subprocess.run(
        launch.argv(str(group), user, limit, command), capture_output=True, text=True, check=False, **options
    )  # type: ignore[call-overload]
    return done.returncode, done.stdout, done.stderr


def test_it_is_in_the_cgroup_before_the_command_runs(group: Path) -> None:
    _, out, _ = become(group, "cat", "/proc/self/cgroup")
    assert f"0::/meshtrio/{group.name}" in out.splitlines()


def test_the_command_is_the_same_process_with_its_words_and_folder(group: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        launch.argv(str(group), "", -1, ["sh", "-c", 'echo $$ "$1"; pwd', "sh", "a b\udcff"]),
        stdout=subprocess.PIPE,
        cwd=tmp_path,
    )
    out, _ = process.communicate()
    assert out == b"%d a b\xff\n%s\n" % (process.pid, os.fsencode(tmp_path))


@pytest.mark.parametrize(
    "environment", [{"LANG": "C", "PATH": "/usr/bin"}, {"LC_ALL": "C", "PATH": "/bin", "\udcff": "\udcfe"}]
)
def test_the_environment_is_untouched(group: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(
        launch.argv(str(group), "", -1, ["env", "-0"]), capture_output=True, check=True, env=environment
    )
    entries = {os.fsdecode(entry) for entry in done.stdout.split(b"\0") if entry}
    assert entries == {f"{name}={value}" for name, value in environment.items()}


def test_signals_are_as_they_were(group: Path) -> None:
    _, out, _ = become(group, "grep", "-E", "^Sig(Blk|Ign):", "/proc/self/status")
    blocked, ignored = (int(line.split()[1], 16) for line in out.splitlines())
    assert (blocked, ignored) == (0, ignored_by_inheritance())


def test_what_was_ignored_stays_ignored(group: Path) -> None:
    was = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        _, out, _ = become(group, "grep", "^SigIgn:", "/proc/self/status")
    finally:
        signal.signal(signal.SIGHUP, was)
    assert int(out.split()[1], 16) == 1 | ignored_by_inheritance()


def test_the_soft_limit_is_the_one_given(group: Path) -> None:
    assert become(group, "sh", "-c", "ulimit -Sn", limit=77)[1] == "77\n"
    assert become(group, "sh", "-c", "ulimit -Sn")[1] == f"{resource.getrlimit(resource.RLIMIT_NOFILE)[0]}\n"


@pytest.mark.parametrize("user", ["nobody", "65534"])
def test_privileges_are_dropped_for_good_but_after_entering(group: Path, user: str) -> None:
    command = (
        "id -u; id -G; grep -E '^Cap(Prm|Eff):' /proc/self/status; cat /proc/self/cgroup; cat /etc/shadow"
    )
    code, out, err = become(group, "sh", "-c", command, user=user, extra_groups=[0, 4])
    lines = out.splitlines()
    assert lines[:2] == ["65534", "65534"]
    assert [line.split()[1] for line in lines[2:4]] == ["0" * 16] * 2
    assert f"0::/meshtrio/{group.name}" in lines
    assert code and "Permission denied" in err


def test_an_unknown_user_or_cgroup_ends_with_one(group: Path, tmp_path: Path) -> None:
    for code, _, err in (become(group, "true", user="no-such-user"), become(tmp_path / "no", "true")):
        assert code == Code.FAILED
        assert err.startswith("meshtrio: cannot ") and err.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("no-such-command", Code.NOT_FOUND),
        ("/no/such/command", Code.NOT_FOUND),
        ("/etc/passwd/x", Code.NOT_EXECUTABLE),
        ("", Code.NOT_FOUND),
        ("/etc/passwd", Code.NOT_EXECUTABLE),
        ("/etc", Code.NOT_EXECUTABLE),
    ],
)
def test_what_cannot_be_run_ends_as_with_env(group: Path, command: str, code: Code) -> None:
    ended, _, err = become(group, command)
    assert ended == code
    assert err.startswith(f"meshtrio: cannot run {command!r}: ") and err.count("\n") == 1
    assert subprocess.run(["env", command], capture_output=True, check=False).returncode == code


def test_a_script_without_a_first_line_is_given_to_the_shell_as_execvp_does(
    group: Path, tmp_path: Path
) -> None:
    script = tmp_path / "bare"
    script.write_text("echo ran $0 $1\n")
    script.chmod(0o755)
    assert become(group, str(script), "x")[1] == f"ran {script} x\n"
    assert become(group, "bare", "y", env={"PATH": str(tmp_path)})[1] == f"ran {tmp_path}/bare y\n"
    assert become(group, "./bare", "z", cwd=tmp_path)[1] == "ran ./bare z\n"


def test_one_that_may_not_be_run_is_passed_over_in_path(group: Path, tmp_path: Path) -> None:
    (tmp_path / "echo").write_text("")
    assert become(group, "echo", "hi", env={"PATH": f"{tmp_path}:/nowhere:/bin"})[1] == "hi\n"
    assert become(group, "echo", env={"PATH": str(tmp_path)})[0] == Code.NOT_EXECUTABLE


def test_it_imports_nothing_of_ours_and_starts_fast(group: Path) -> None:
    code = (
        f"import sys; sys.argv = ['launch', '/no', '', '-1', 'true']; exec(open({launch.__file__!r}).read())"
    )
    look = f"import atexit, sys; atexit.register(lambda: print(sorted(sys.modules))); {code}"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", look], capture_output=True, text=True, check=False
    )
    assert "'signal'" in done.stdout
    assert not [name for name in ("meshtrio", "trio", "click", "subprocess") if f"'{name}'" in done.stdout]
    began = time.perf_counter()
    for _ in range(5):
        become(group, "true")
    assert (time.perf_counter() - began) / 5 < 0.5  # 0.02 s alone; this machine may be busy
