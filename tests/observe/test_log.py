"""World. What stands on standard error, line by line."""

import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from meshtrio.config.schema import Log
from meshtrio.messages import Connection
from meshtrio.observe import log
from meshtrio.outcome import Outcome

Said = Callable[[], list[str]]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Said]:
    """Give the lines that were written. The clock of log records stands still, at midnight."""
    monkeypatch.setattr(time, "localtime", lambda _: time.gmtime(86400 * 365))
    monkeypatch.setattr(logging, "time", StoppedTime)
    monkeypatch.setattr(log, "_said", {})
    yield lambda: capsys.readouterr().err.splitlines()


class StoppedTime:
    localtime = time.localtime
    strftime = time.strftime

    @staticmethod
    def time() -> float:
        return 86400.0 * 365

    @staticmethod
    def time_ns() -> int:
        return 86400 * 365 * 10**9


def ended(outcome: Outcome) -> Connection:
    detail = "" if outcome is Outcome.CARRIED else f"because of {outcome.value}"
    return Connection(
        id=7,
        direction="outbound",
        workload="shop",
        source="10.0.0.2:40000",
        destination="10.96.0.10:80",
        service="default/web",
        endpoint="10.1.0.1:8080",
        protocol="tls",
        sni="web.example",
        sent_bytes=10,
        received_bytes=20,
        began=1.5,
        lasted_s=0.25,
        outcome=outcome,
        detail=detail,
    )


@pytest.mark.parametrize("form", ["json", "text"])
def test_every_outcome_has_its_line(said: Said, golden: Callable[[str, str], None], form: str) -> None:
    log.set_up(Log(level="debug", format=form))  # type: ignore[arg-type]
    for outcome in Outcome:
        log.ended(ended(outcome))
    lines = said()
    assert len(lines) == len(Outcome)
    golden(f"log_{form}.txt", "\n".join(lines) + "\n")
    if form == "json":
        for line, outcome in zip(lines, Outcome, strict=True):
            fields = json.loads(line)
            assert (fields["outcome"], fields["flag"]) == (outcome.value, outcome.flag)
            assert fields["level"] == ("debug" if outcome is Outcome.CARRIED else "info")
            assert fields["sent_bytes"] == 10


def test_what_is_not_known_is_left_out(said: Said) -> None:
    log.set_up(Log(format="json"))
    log.ended(
        Connection(
            id=1,
            direction="inbound",
            workload="",
            source="",
            destination="",
            began=0.0,
            outcome=Outcome.LIMIT,
        )
    )
    fields = json.loads(said()[0])
    assert "service" not in fields
    assert "detail" not in fields
    assert fields["direction"] == "inbound"


def test_what_went_well_is_only_said_at_debug(said: Said) -> None:
    log.set_up(Log(level="info"))
    log.ended(ended(Outcome.CARRIED))
    assert said() == []
    log.ended(ended(Outcome.IDLE))
    assert len(said()) == 1


@pytest.mark.parametrize(
    ("level", "want"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_levels(said: Said, level: str, want: list[str]) -> None:
    log.set_up(Log(level=level))  # type: ignore[arg-type]
    for say in (log.debug, log.info, log.warning, log.error):
        say("something", why="x", count=3)
    lines = [json.loads(line) for line in said()]
    assert [line["level"] for line in lines] == want
    assert {(line["event"], line["why"], line["count"], line["at"]) for line in lines} == {
        ("something", "x", 3, 31536000.0)
    }


def test_setting_up_again_replaces(said: Said) -> None:
    log.set_up(Log(format="text"))
    log.set_up(Log(format="text"))
    log.info("once")
    assert said() == ["00:00:00 info    once"]


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_stranger_cannot_begin_a_new_line(said: Said, form: str) -> None:
    log.set_up(Log(format=form))  # type: ignore[arg-type]
    log.info("connection", sni="x\n00:00:00 error   all is lost\x1b[2J", path="/fröhlich und mit Platz")
    lines = said()
    assert len(lines) == 1
    assert "\x1b" not in lines[0]
    assert "/fröhlich und mit Platz" in lines[0]


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_bug_has_its_trace(said: Said, form: str) -> None:
    log.set_up(Log(format=form))  # type: ignore[arg-type]
    try:
        raise ValueError("unforeseen")
    except ValueError as fault:
        log.bug("a bug of ours", fault)
    lines = said()
    if form == "json":
        fields = json.loads(lines[0])
        assert fields["event"] == "a bug of ours"
        assert "ValueError: unforeseen" in fields["trace"]
        assert len(lines) == 1
    else:
        assert lines[0] == "00:00:00 error   a bug of ours"
        assert lines[-1] == "ValueError: unforeseen"


def test_odd_values_are_written_as_text(said: Said) -> None:
    log.set_up(Log(format="json"))
    log.info("100 %s", path=Outcome.IDLE, thing=ValueError("v"), none=None)
    fields = json.loads(said()[0])
    assert (fields["event"], fields["path"], fields["thing"], fields["none"]) == ("100 %s", "idle", "v", None)


def test_rarely_is_rare_by_event(said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    log.set_up(Log())
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    for _ in range(100):
        log.rarely("full")
    log.rarely("other")
    assert [json.loads(line)["event"] for line in said()] == ["full", "other"]
    now += 9.9
    log.rarely("full")
    assert said() == []
    now += 0.1
    log.rarely("full", why="still")
    assert json.loads(said()[0])["why"] == "still"


def test_wall_time_is_wall_time() -> None:
    assert abs(log.wall_now() - time.time()) < 5


def test_a_process_has_the_name_it_was_given() -> None:
    def name() -> str:
        with open("/proc/self/comm") as comm:
            return comm.read().strip()

    before = name()
    try:
        log.name_process("meshtrio-of-a-long-name")
        assert name() == "meshtrio-of-a-l"
    finally:
        log.name_process(before)


def test_a_private_process_leaves_no_core_dump() -> None:
    code = "import ctypes; from meshtrio.observe import log; get = ctypes.CDLL(None).prctl; print(get(3));"
    code += "log.keep_memory_private(); print(get(3))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout.split() == [b"1", b"0"]
