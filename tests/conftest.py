"""Shell. What every test can rely on: the ring it may run in, golden files, and that nothing is left behind.

Five promises:

- A test marked `kernel` or `world` runs only where it can, and skips with the reason elsewhere. With
  MESHTRIO_CI=1 such a skip is a failure: CI is where it must run.
- `golden(name, text)` compares with tests/golden/<name>; `--golden-update` writes the file instead.
- A test that leaves a file descriptor or a child process fails (`kernel` and `world` tests, and any test
  for descriptors); a session that leaves a cgroup, pin, table, program or process fails, with its name.
- With --rung-max acceleration is forced to one rung; tests marked `rung` for a higher one skip.
- Hypothesis runs in a profile: fast, ci or deep, by HYPOTHESIS_PROFILE or --hypothesis-profile.

All of it holds also for a run in several processes (`-n`, as `make test` does it): the parts are one run, and
what it left behind is looked for when all of them have ended.
"""

import difflib
import functools
import gc
import importlib.util
import logging
import os
import signal
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from tests.support import leaks, rung_max

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.scheduler import Scheduling
    from xdist.workermanage import WorkerController

GOLDEN = Path(__file__).parent / "golden"
GRACE_S = 5.0
"""How long the kernel and dying processes get to let go of things before we call it a leak."""

os.environ[leaks.RUN_NAME] = leaks.RUN_ID

# No deadline anywhere: it measures the machine, and this one is shared.
# Of models few steps and many lives find more in the same time than the other way round.
hypothesis.settings.register_profile(
    "fast", max_examples=20, stateful_step_count=25, derandomize=True, deadline=None
)
hypothesis.settings.register_profile("ci", max_examples=100, stateful_step_count=25, deadline=None)
hypothesis.settings.register_profile("deep", max_examples=100_000, deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))

_in_ci = os.environ.get("MESHTRIO_CI") == "1"
_before = pytest.StashKey[frozenset[str]]()
_left = pytest.StashKey[list[str]]()
_rewritten = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    ours = parser.getgroup("meshtrio")
    ours.addoption(
        "--golden-update",
        action="store_true",
        help="write golden files instead of comparing, and nothing else",
    )
    ours.addoption("--soak", action="store_true", help="run the soak tests, and only those")
    ours.addoption(
        "--rung-max",
        choices=("r1", "r1d", "r2"),
        help="force acceleration to this rung, in tests and in agents that they start",
    )
    ours.addoption(
        "--leaks",
        choices=("fail", "tell"),
        default="fail",
        help="what to do when the session leaves something behind (tell: when others test on this machine)",
    )


def pytest_configure(config: pytest.Config) -> None:
    # A shell that starts us in the background has these ignored, and all programs that we start inherit that.
    for number in (signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            default = signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL
            signal.signal(number, default)
    if config.getoption("rung_max"):
        rung_max.force(config.getoption("rung_max"))
    if _is_part(config):
        leaks.RUN_ID = os.environ[leaks.RUN_NAME] = config.workerinput["run"]  # type: ignore[attr-defined]


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: "WorkerController") -> None:
    node.workerinput["run"] = leaks.RUN_ID


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: "Producer") -> "Scheduling | None":
    from tests.support.parts import by_ring  # needs pytest-xdist, which is here if this is called

    return by_ring(config, log) if config.getvalue("dist") == "loadfile" else None


def _is_part(config: pytest.Config) -> bool:
    """Say whether this process runs a part of the tests, for another that sums up."""
    return hasattr(config, "workerinput")


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Collect without looking for garbage, and leave what was collected to itself: it stays until the end."""
    gc.disable()
    if _is_part(session.config):
        from tests.support.parts import import_share  # as above

        import_share(session.config)
    try:
        return (yield)
    finally:
        gc.enable()
        gc.collect()
        gc.freeze()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    soak = bool(config.getoption("--soak"))
    other = {item for item in items if bool(item.get_closest_marker("soak")) != soak}
    if config.getoption("--golden-update"):
        other |= {item for item in items if "golden" not in getattr(item, "fixturenames", ())}
    items[:] = [item for item in items if item not in other]
    if other:
        config.hook.pytest_deselected(items=list(other))
    if _is_part(config):
        # The outer rings first: they take longest, and are one part.
        outer = {item.path for item in items if any(map(item.get_closest_marker, ("kernel", "world")))}
        items.sort(key=lambda item: item.path not in outer)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for ring, why_not in (("kernel", why_no_kernel), ("world", why_no_world)):
        reason = why_not() if item.get_closest_marker(ring) else ""
        if reason:
            pytest.skip(f"{ring}: {reason}")
    for mark in item.iter_markers("rung"):
        reason = rung_max.why_not(mark.args[0], item.config.getoption("rung_max"))
        if reason:
            pytest.skip(reason)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    ring = item.get_closest_marker("kernel") or item.get_closest_marker("world")
    if _in_ci and ring and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, and CI must run it: {_reason(report.longrepr)}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if _in_ci and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"a whole file skipped, and CI must run it: {_reason(report.longrepr)}"
    return report


def _reason(longrepr: object) -> object:
    return longrepr[2] if isinstance(longrepr, tuple) else longrepr


@functools.cache
def why_no_kernel() -> str:
    """Say why programs cannot be loaded here, or nothing if they can."""
    if os.geteuid() != 0:
        return "needs root"
    if leaks.cgroup_mount() is None:
        return "no cgroup v2 is mounted"
    if importlib.util.find_spec("bcc") is None:
        return "no bcc (Debian's python3-bpfcc, and a .venv with the system's packages)"
    if not Path("/proc/sys/kernel/unprivileged_bpf_disabled").exists():
        return "the kernel has no bpf(2)"
    return ""


@functools.cache
def why_no_world() -> str:
    """Say why namespaces cannot be made here, or nothing if they can."""
    if os.geteuid() != 0:
        return "needs root"
    pid = os.fork()
    if pid == 0:
        # os.unshare comes with Python 3.12; the process ends at once, so nothing of it is seen elsewhere.
        import ctypes

        os._exit(ctypes.CDLL(None).unshare(0x40000000))  # CLONE_NEWNET
    return "" if os.waitpid(pid, 0)[1] == 0 else "may not make a network namespace"


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare a text with tests/golden/<name>, or write it there under --golden-update."""

    def compare(name: str, text: str) -> None:
        path = GOLDEN / name
        kept = path.read_text() if path.exists() else ""
        if text == kept and path.exists():
            return
        diff = "".join(
            difflib.unified_diff(
                kept.splitlines(keepends=True), text.splitlines(keepends=True), f"golden/{name}", "now"
            )
        )
        if not request.config.getoption("--golden-update"):
            pytest.fail(f"tests/golden/{name} differs; if that is right: make golden\n{diff}", pytrace=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        request.config.stash.setdefault(_rewritten, []).append(diff)

    return compare


@pytest.fixture(autouse=True)
def nothing_left_open(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves a file descriptor open, or (in rings 3 and 4) a child process."""
    outer = request.node.get_closest_marker("kernel") or request.node.get_closest_marker("world")
    children_before = leaks.children_of(os.getpid()) if outer else frozenset()
    before = leaks.descriptors()
    yield
    left = _new_descriptors(before)
    if left:
        gc.collect()  # not before it is needed: it costs more than most tests
        left = _new_descriptors(before)
    children = leaks.children_of(os.getpid()) - children_before if outer else ()
    names = [f"descriptor {name}" for name in left]
    names += [f"process {pid} {leaks.command_of(pid)}" for pid in children]
    if names:
        pytest.fail("the test left open: " + ", ".join(names), pytrace=False)


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """Take back what tests and fixtures set up of our logger: an agent in this process would keep it from
    caplog, also one that a whole file shares."""
    logger = logging.getLogger("meshtrio")

    def begin_anew() -> None:
        logger.handlers[:], logger.propagate = [], True
        logger.setLevel(logging.NOTSET)  # not logger.level: whether a level is enabled is remembered

    begin_anew()
    yield
    begin_anew()


def _new_descriptors(before: dict[int, str]) -> list[str]:
    return [f"{fd} -> {target}" for fd, target in leaks.descriptors().items() if before.get(fd) != target]


def pytest_sessionstart(session: pytest.Session) -> None:
    if not _is_part(session.config):
        session.config.stash[_before] = leaks.left_now()


# Last, when the parts have ended, and yet before the summary, which wraps this hook.
@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    before = session.config.stash.get(_before, None)
    if before is None or session.config.getoption("collectonly"):
        return
    deadline = time.monotonic() + GRACE_S
    left = leaks.left_now() - before
    while left and time.monotonic() < deadline:
        time.sleep(0.2)
        left = (leaks.left_now() - before) & left
    session.config.stash[_left] = sorted(left)
    if left and session.config.getoption("--leaks") == "fail" and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    rewritten, left = config.stash.get(_rewritten, []), config.stash.get(_left, [])
    if rewritten:
        terminalreporter.section("golden files rewritten")
        terminalreporter.write("".join(rewritten))
    if left:
        terminalreporter.section("left behind", red=True)
        for name in left:
            terminalreporter.write_line(name)
