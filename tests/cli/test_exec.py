"""`meshtrio exec` as users run it: whatever the program does, it must not notice."""

import contextlib
import hashlib
import os
import pty
import random
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from meshtrio.cli.child import populated
from meshtrio.cli.control_client import Control
from meshtrio.intercept import bpf, cgroup
from meshtrio.intercept.kernel import CGROUP_HOOKS
from meshtrio.intercept.nft_plan import table_name
from tests.cli.conftest import VIP, Run

pytestmark = pytest.mark.world
Start = Callable[..., subprocess.Popen[bytes]]
NOBODY = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
OURS = cgroup.OURS
NAME = f"cli-exec-{os.getpid()}"


@pytest.fixture(autouse=True)
def _no_cgroup_is_left() -> Iterator[None]:
    yield
    with contextlib.suppress(OSError):
        assert [path.name for path in (cgroup.mount_point() / OURS).glob(f"{NAME}*")] == []


@pytest.fixture(params=["alone", pytest.param("ebpf", marks=pytest.mark.soak), "nft", "agent"])
def way(request: pytest.FixtureRequest, catalog: str) -> list[str]:
    """Give the flags of each way into a mesh. Alone it chooses the rung itself: ebpf where that can be."""
    if request.param == "agent":
        request.getfixturevalue("agent")
        return ["--name", NAME]
    rung = [] if request.param == "alone" else ["--rung", request.param]
    return ["--name", NAME, "--standalone", "--catalog", catalog, *rung]


def test_a_program_reaches_a_service_by_an_address_that_nobody_has(run: Run, way: list[str]) -> None:
    done = run("exec", *way, "--", "curl", "-sS", "-m", "30", f"http://{VIP}/x")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"hello from /x\n", b"")


@pytest.mark.rung("free")
def test_a_wish_that_cannot_be_met_stops_nothing_and_is_told(run: Run, way: list[str]) -> None:
    done = run("exec", "--acceleration", "r4", *way, "--", "curl", "-sS", "-m", "30", f"http://{VIP}/x")
    assert (done.returncode, done.stdout) == (0, b"hello from /x\n")
    (told,) = done.stderr.decode().splitlines()
    assert told.startswith("meshtrio: accelerated as r2: r4 is ")


def test_what_was_caught_is_shown_to_those_who_ask(run: Run, way: list[str]) -> None:
    done = run("exec", "-v", *way, "--", "curl", "-sS", f"http://{VIP}/")
    assert done.stdout == b"hello from /\n"
    head, row = done.stderr.decode().splitlines()
    assert head.split()[:3] == ["WORKLOAD", "DIRECTION", "DIALLED"]
    assert row.split()[:3] == [NAME, "outbound", f"{VIP}:80"]
    assert row.split()[-1] == "carried"


def test_callers_from_outside_are_caught_on_the_way_in(start: Start, way: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    process = start(
        "exec", "-v", *way, "--", "python3", "-m", "http.server", "--bind", "127.0.0.1", str(port)
    )
    until = time.monotonic() + 60
    while time.monotonic() < until:
        time.sleep(0.05)
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            break
    if "nft" in way:  # rules follow a new port within half a second
        words = ["nft", "list", "set", "inet", table_name(NAME), "ports"]
        while time.monotonic() < until and str(port).encode() not in subprocess.check_output(words):
            time.sleep(0.05)
    with socket.create_connection(("127.0.0.1", port), 30) as line:
        line.sendall(b"GET / HTTP/1.0\r\n\r\n")
        answer = b"".join(iter(lambda: line.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.0 200 OK")
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143
    assert any(row.split()[1:3] == ["inbound", f"127.0.0.1:{port}"] for row in err.decode().splitlines()), err


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["true"], 0),
        (["sh", "-c", "exit 77"], 77),
        (["sh", "-c", "kill -SEGV $$"], 139),
        (["no-such-command"], 127),
        (["/etc/passwd"], 126),
    ],
)
def test_it_ends_as_its_program_does(run: Run, command: list[str], code: int) -> None:
    done = run("exec", "--standalone", "--", *command)
    assert done.returncode == code
    assert done.stdout == b""
    assert done.stderr.count(b"\n") == (1 if code in (126, 127) else 0)


@pytest.mark.parametrize(
    "text", [None, "services:\n- {name: web, prts: []}\n- {name: UP, ports: [{port: 80}]}"]
)
def test_with_a_catalog_that_cannot_be_used_the_program_does_not_run(
    run: Run, tmp_path: Path, text: str | None
) -> None:
    catalog = tmp_path / "services.yaml"
    if text is not None:
        catalog.write_text(text)
    done = run("exec", "--standalone", "--catalog", str(catalog), "--", "echo", "ran")
    assert (done.returncode, done.stdout) == (2, b"")
    lines = done.stderr.decode().splitlines()
    assert all(line.startswith(f"meshtrio: catalog {catalog}: ") for line in lines), lines
    assert len(lines) == (1 if text is None else 3)


def test_a_mesh_within_a_mesh_is_refused(run: Run, catalog: str) -> None:
    ours = ["exec", "--standalone", "--catalog", catalog]
    within = [sys.executable, "-m", "meshtrio", *ours, "--", "echo", "ran"]
    done = run(*ours, "--rung", "ebpf", "--name", NAME, "--", *within)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(b"meshtrio: this runs in a mesh already (")
    # One that is over catches nothing: what it left behind in its cgroup is free.
    script = f"(sleep 1; exec {' '.join(within)}) & exit"
    over = run(*ours, "--rung", "ebpf", "--name", NAME, "--no-wait", "--", "sh", "-c", script)
    assert (over.returncode, over.stdout) == (0, b"ran\n"), over.stderr
    assert cgroup.remove(cgroup.mount_point() / OURS / NAME)


def test_from_a_folder_that_has_gone_files_are_named_absolutely(run: Run, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    words = [sys.executable, "-m", "meshtrio", "exec", "--standalone", "--catalog", "a.yaml", "--", "true"]
    done = run("exec", "--standalone", "--", "sh", "-c", f"cd {gone}; rmdir {gone}; exec {' '.join(words)}")
    assert done.returncode == 2
    assert done.stderr.startswith(b"meshtrio: a.yaml: the current folder has gone")


def test_ten_megabytes_through_standard_streams(run: Run) -> None:
    given = random.Random(7).randbytes(10_000_000)
    done = run("exec", "--standalone", "--", "cat", given=given)
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(given).digest()


def test_a_reader_who_closes_ends_a_writer_as_without_us(start: Start) -> None:
    process = start("exec", "--standalone", "--", "yes")
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    process.stdout = None
    assert process.wait(60) == 128 + signal.SIGPIPE


def test_folder_umask_limits_and_environment_are_the_callers(
    run: Run, tmp_path: Path, settings: dict[str, str]
) -> None:
    settings |= {"LANG": "C", "A": "b\udcff"}
    settings.pop("LC_ALL", None)
    command = ["sh", "-c", "pwd; umask; ulimit -Sn; env -0"]
    wanted = subprocess.run(
        ["sh", "-c", f"ulimit -Sn 99; umask 27; exec {command[0]} -c '{command[2]}'"],
        cwd=tmp_path,
        env=settings,
        capture_output=True,
        check=True,
    ).stdout
    limited = ("sh", "-c", 'ulimit -Sn 99; umask 27; exec "$@"', "sh")
    got = run("exec", "--standalone", "--", *command, cwd=tmp_path, before=limited).stdout

    def parts(text: bytes) -> tuple[list[bytes], set[bytes]]:
        *lines, variables = text.split(b"\n", 3)
        return lines, {one for one in variables.split(b"\0") if not one.startswith((b"_=", b"SHLVL="))}

    assert parts(got) == parts(wanted)


def test_a_user_is_dropped_to_inside_the_mesh(run: Run, catalog: str) -> None:
    words = f"id -un; curl -sS http://{VIP}/u"
    done = run("exec", "--standalone", "--catalog", catalog, "--user", "nobody", "--", "sh", "-c", words)
    assert done.stdout == b"nobody\nhello from /u\n"


def test_signals_reach_the_program(start: Start) -> None:
    names = ("TERM", "HUP", "INT", "USR1", "USR2")
    traps = "".join(f"trap 'echo {name}' {name}; " for name in names)
    program = f"{traps} trap 'exit 9' USR2; echo on; while :; do sleep 0.05; done"
    process = start("exec", "--standalone", "--", "sh", "-c", program)
    assert process.stdout is not None
    assert process.stdout.readline() == b"on\n"
    for name in names[:-1]:
        process.send_signal(getattr(signal, f"SIG{name}"))
        assert process.stdout.readline() == f"{name}\n".encode()
    process.send_signal(signal.SIGUSR2)
    assert process.wait(60) == 9


def test_a_signal_before_the_program_has_begun(start: Start, tmp_path: Path) -> None:
    process = start("exec", "--standalone", "--", "touch", str(tmp_path / "begun"))
    until = time.monotonic() + 60
    # Our handlers are there before anything is made.
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError):
            caught = Path(f"/proc/{process.pid}/status").read_text().partition("SigCgt:\t")[2][:16]
            if int(caught, 16) >> (signal.SIGTERM - 1) & 1:
                break
        time.sleep(0.001)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) in (143, 0)  # 0: it was faster than we
    assert (process.returncode == 0) == (tmp_path / "begun").exists()


def test_an_interactive_program_has_the_terminal_and_its_keys(settings: dict[str, str]) -> None:
    program = "test -t 0 && test -t 1 && echo tty; trap 'echo caught; exit 3' INT"
    shell = ["sh", "-c", f"{program}; read line; echo got $line; read line"]
    pid, terminal = pty.fork()
    if pid == 0:
        try:
            words = [sys.executable, "-m", "meshtrio", "exec", "--standalone", "--", *shell]
            os.execve(sys.executable, words, settings)
        finally:
            os._exit(99)
    seen = b""

    def until(word: bytes) -> None:
        nonlocal seen
        while word not in seen:
            assert select.select([terminal], [], [], 60)[0], seen
            seen += os.read(terminal, 4096)

    try:
        until(b"tty")
        os.write(terminal, b"hello\n")
        until(b"got hello")
        os.write(terminal, b"\x03")
        until(b"caught")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
    finally:
        os.close(terminal)


def test_what_the_program_leaves_behind_is_served_until_it_ends(
    start: Start, catalog: str, tmp_path: Path
) -> None:
    later = f"(sleep 1; curl -sS http://{VIP}/later > {tmp_path}/got; touch {tmp_path}/done) & exit 6"
    process = start(
        "exec", "--name", f"{NAME}-2", "--standalone", "--catalog", catalog, "--", "sh", "-c", later
    )
    _, err = process.communicate(timeout=60)
    assert process.returncode == 6
    assert (tmp_path / "done").exists()
    assert (tmp_path / "got").read_text() == "hello from /later\n"
    assert err.startswith(b"meshtrio: sh has ended; serving what it left behind (process ")


@pytest.mark.parametrize("flags", [["--no-wait"], []])
def test_or_not_if_nobody_wants_to_wait(start: Start, flags: list[str]) -> None:
    process = start(
        "exec", "--name", f"{NAME}-3", "--standalone", *flags, "--", "sh", "-c", "sleep 60 & echo $!; exit 6"
    )
    assert process.stdout is not None
    left = int(process.stdout.readline())
    if not flags:
        assert process.stderr is not None
        process.stderr.readline()
        process.send_signal(signal.SIGINT)
    try:
        process.stdout.close()
        process.stdout = None
        assert process.wait(60) == 6
        assert Path(f"/proc/{left}").exists()
    finally:
        os.kill(left, signal.SIGKILL)
    remove(cgroup.mount_point() / OURS / f"{NAME}-3")


def test_killed_it_takes_its_hooks_along_and_the_program_runs_on(
    start: Start, catalog: str, tmp_path: Path
) -> None:
    visit = f"curl -sS -m 2 http://{VIP}/"
    inside = f"echo $$; {visit}; read go; {visit} > {tmp_path}/got 2>&1; echo done"
    flags = ("--name", f"{NAME}-4", "--standalone", "--catalog", catalog)
    process = start("exec", *flags, "--", "sh", "-c", inside, stdin=subprocess.PIPE)
    assert process.stdout is not None and process.stdin is not None
    process.stdout.readline()
    assert process.stdout.readline() == b"hello from /\n"
    group = cgroup.mount_point() / OURS / f"{NAME}-4"
    assert hooks(group) == set(CGROUP_HOOKS)
    process.kill()
    process.wait()
    assert hooks(group) == set()
    process.stdin.write(b"go\n")
    process.stdin.flush()
    assert process.stdout.readline() == b"done\n"
    assert "hello from" not in (tmp_path / "got").read_text()
    remove(group)


def hooks(group: Path) -> set[str]:
    directory = os.open(group, os.O_RDONLY)
    try:
        return {name for name, hook in CGROUP_HOOKS.items() if bpf.attached(directory, hook.attach_type)[0]}
    finally:
        os.close(directory)


def remove(group: Path) -> None:
    until = time.monotonic() + 5
    while populated(group) and time.monotonic() < until:
        time.sleep(0.05)
    assert cgroup.remove(group)


def test_wrong_use_is_told_before_anything_is_touched(run: Run, agent: Control, catalog: str) -> None:
    for words, said in (
        (["--name", "A_b"], b"is no workload name"),
        (["--user", ""], b"there is no user '' for --user"),
        (["--user", "no-such-user"], b"there is no user 'no-such-user' for --user"),
        (["--identity", "cart"], b"--identity: 'cart' is no identity (want NAMESPACE/SERVICE_ACCOUNT"),
        (["--identity", "Shop/cart"], b"--identity: 'Shop' is no DNS label"),
        (["--rung", "warp"], b"rung is"),
        (["--catalog", catalog], b"an agent runs here"),
    ):
        done = run("exec", *words, "--", "touch", "/nowhere/x")
        assert done.returncode == 2, words
        assert said in done.stderr and done.stderr.startswith(b"meshtrio: "), words


@pytest.mark.parametrize("flags", [[], ["--identity", "shop/cart"]])
def test_alone_an_identity_is_had_for_the_asking(run: Run, flags: list[str], catalog: str) -> None:
    words = ("--name", NAME, "--standalone", "--catalog", catalog, *flags)
    done = run("exec", *words, "--", "curl", "-sS", "-m", "30", f"http://{VIP}/x")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"hello from /x\n", b"")


def test_one_name_cannot_run_twice(start: Start, run: Run) -> None:
    process = start("exec", "--name", f"{NAME}-5", "--standalone", "--", "cat", stdin=subprocess.PIPE)
    path = cgroup.mount_point() / OURS / f"{NAME}-5" / "cgroup.procs"
    until = time.monotonic() + 60
    while time.monotonic() < until and not (path.exists() and path.read_text()):
        time.sleep(0.02)
    done = run("exec", "--name", f"{NAME}-5", "--standalone", "--", "true")
    assert done.returncode == 1
    assert done.stderr == f"meshtrio: {NAME}-5 runs already; choose another --name\n".encode()
    process.communicate(b"", timeout=60)
    assert process.returncode == 0


def test_without_root_it_says_how(run: Run, settings: dict[str, str]) -> None:
    del settings["MESHTRIO_CONFIG"]
    done = run("exec", "--", "true", before=NOBODY)
    assert done.returncode == 1
    assert done.stderr.endswith(b"run: sudo meshtrio exec\n") and done.stderr.count(b"\n") == 1
