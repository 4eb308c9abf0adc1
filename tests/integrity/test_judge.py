"""Core. The judge: which ends are as they must be, a table for each way to leave."""

import pytest

from tests.integrity.judge import judge
from tests.integrity.plan import Plan
from tests.integrity.record import Record
from tests.integrity.script import Kind, Part, Script

PLAN = Plan(seed=3, connections=1000, total_bytes=100_000_000)
FIRST = {PLAN.script(number).kind: PLAN.script(number) for number in reversed(range(1000))}


def record(role: str, script: Script, ended: str, *, short: int = 0) -> Record:
    speaker: Part = script.server if role == "client" else script.client
    me: Part = script.client if role == "client" else script.server
    heard = max(speaker.sends, me.after) - short
    return Record(role=role, number=script.number, sent=me.sends, heard=heard, ended=ended, done=True)


@pytest.mark.parametrize(
    ("kind", "client", "server", "short", "whats"),
    [
        (Kind.DUPLEX, "eof", "eof", 0, set()),
        (Kind.DUPLEX, "reset", "eof", 0, {"end"}),
        (Kind.DUPLEX, "eof", "reset", 0, {"end"}),
        (Kind.DUPLEX, "eof", "eof", 1, {"short"}),
        (Kind.DUPLEX, "eof", "hang", 0, {"hang"}),
        (Kind.DUPLEX, "eof", "errno 110", 0, {"end"}),
        (Kind.CLIENT_RESETS, "left", "reset", 1, set()),
        (Kind.CLIENT_RESETS, "left", "eof", 0, {"end"}),
        (Kind.CLIENT_UNREAD, "left", "eof", 0, {"end"}),
        (Kind.CLIENT_FIN_RESET, "left", "eof", 0, set()),
        (Kind.CLIENT_FIN_RESET, "left", "reset", 0, {"end"}),
        (Kind.FIRE_AND_FORGET, "left", "eof", 0, set()),
        (Kind.FIRE_AND_FORGET, "left", "eof", 1, {"short"}),
        (Kind.READ_AND_CLOSE, "left", "reset", 0, {"end"}),
        (Kind.ANSWER_AND_CLOSE, "eof", "left", 0, set()),
        (Kind.ANSWER_AND_CLOSE, "reset", "left", 0, {"end"}),
    ],
)
def test_ends(kind: Kind, client: str, server: str, short: int, whats: set[str]) -> None:
    script = FIRST[kind]
    seen = [record("client", script, client)], [record("server", script, server, short=short)]
    findings = judge(PLAN, *seen, numbers=[script.number])
    assert {finding.what for finding in findings} == whats
    assert all(finding.number == script.number for finding in findings)


def test_wrong_bytes_are_findings_whatever_the_end() -> None:
    script = FIRST[Kind.CLIENT_RESETS]
    server = record("server", script, "reset")._replace(wrong="byte 3 is wrong")
    findings = judge(PLAN, [record("client", script, "left")], [server], numbers=[script.number])
    assert [finding.what for finding in findings] == ["bytes"]


@pytest.mark.parametrize(
    ("servers", "whats"),
    [(["eof"], []), ([], ["unseen"]), (["eof", "eof"], ["stranger"]), (["eof", "reset"], ["stranger"])],
)
def test_empty_connections_are_counted(servers: list[str], whats: list[str]) -> None:
    script = FIRST[Kind.EMPTY]
    nameless = [Record(role="server", number=-1, sent=0, heard=0, ended=ended) for ended in servers]
    findings = judge(PLAN, [record("client", script, "left")], nameless, numbers=[script.number])
    assert [finding.what for finding in findings] == whats


def test_lost_doubled_and_strange_connections() -> None:
    script = FIRST[Kind.DUPLEX]
    client, server = record("client", script, "eof"), record("server", script, "eof")
    for clients, servers, what in (
        ([client], [], "unseen"),
        ([], [server], "unseen"),
        ([client], [server, server], "twice"),
        ([client], [server, server._replace(number=script.number + 1)], "stranger"),
        ([client._replace(ended="connect: Connection refused")], [], "connect"),
    ):
        assert what in {finding.what for finding in judge(PLAN, clients, servers, numbers=[script.number])}
