"""`meshtrio status`."""

import json
import signal
import time
from typing import Any

import pytest

from meshtrio.cli.control_client import Control
from meshtrio.cli.status import balance, direct, identity, show_discovery
from tests.cli.conftest import Run


def test_without_an_agent_it_ends_with_three(run: Run) -> None:
    done = run("status")
    assert (done.returncode, done.stdout) == (3, b"")
    assert done.stderr.startswith(b"meshtrio: no agent answers: ") and done.stderr.count(b"\n") == 1
    assert run("connections", "--json").returncode == 3
    assert run("workloads").returncode == 3


@pytest.mark.world
@pytest.mark.rung("free")
def test_an_agent_that_is_ready(run: Run, agent: Control) -> None:
    done = run("status")
    text = done.stdout.decode()
    assert done.returncode == 0
    assert text.startswith("meshtrio 0.1.0 on test, pid ") and ": ready\n" in text
    for part in (
        *(
            "rung     ebpf",
            "fast     r2 (rung_max: r5): r3 is ",
            "catalog  /",
            "1 services, 1 endpoints",
            "no workloads",
        ),
        *("sources  ", "file live", "levels   live 1\n", "balance  0 retries\n"),
    ):
        assert part in text, part
    told = json.loads(run("status", "--json").stdout)
    assert {"version", "node", "pid", "ready", "rung", "workers", "workloads", "outcomes", "hooks"} <= set(
        told
    )
    assert told["workers"][0]["ready"] is True
    assert told["discovery"]["levels"] == {"live": 1, "last_known": 0, "dns": 0, "static": 0}
    assert [one["name"] for one in json.loads(run("services", "--json").stdout)] == ["web"]
    assert [one["service"] for one in json.loads(run("endpoints", "web", "--json").stdout)] == ["web"]
    assert "file" in {one["source"] for one in json.loads(run("discovery", "--json").stdout)["sources"]}


def test_sources_levels_and_dns(capsys: pytest.CaptureFixture[str]) -> None:
    now = 1_700_000_000.0
    told: dict[str, Any] = {
        "discovery": {
            "sources": [
                {"source": "kubernetes", "state": "lost", "lost": True, "stale_since": now - 245},
                {"source": "consul", "state": "retrying", "lost": False, "stale_since": 0.0},
                {"source": "file", "state": "live", "lost": False, "stale_since": 0.0},
            ],
            "levels": {"live": 3, "last_known": 9, "dns": 0, "static": 1},
        },
        "dns": {"capture": True, "doors": 2, "queries": {"answered": 12, "forwarded": 3, "failed": 0}},
    }
    show_discovery(told, now)
    assert capsys.readouterr().out == (
        "sources  kubernetes lost for 4 m 5 s, consul retrying, file live\n"
        "levels   live 3, last_known 9, static 1\n"
        "dns      captured at 2 doors, answered 12, forwarded 3\n"
    )
    told["dns"] = {"capture": False, "doors": 0, "queries": {}}
    told["discovery"]["levels"] = {"live": 0}
    show_discovery(told, now)
    assert capsys.readouterr().out.endswith("levels   none\ndns      not captured\n")


def test_an_agent_that_does_not_say_it(capsys: pytest.CaptureFixture[str]) -> None:
    show_discovery({}, time.time())
    assert capsys.readouterr().out == ""


@pytest.mark.slow
@pytest.mark.world
def test_an_agent_that_stands_still_is_told_apart_from_none(
    run: Run, agent: Control, settings: dict[str, str]
) -> None:
    import os

    pid = agent.get("/v1/status")["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        done = run("status")
    finally:
        os.kill(pid, signal.SIGCONT)
    assert done.returncode == 3
    assert b"is it stopped?" in done.stderr


def test_who_says_who_workloads_are() -> None:
    told: dict[str, Any] = {
        "identity": {
            "source": "embedded",
            "trust_domain": "td",
            "workloads": 3,
            "without_certificate": 1,
            "fault": "the root is broken",
            "faults": {"revocations": "no such file"},
            "audit": {"path": "/x", "fault": "the disk is full"},
        }
    }
    assert identity(told) == (
        "embedded of td: 3 workloads, 1 without certificate",
        "the root is broken\nrevocations: no such file\nthe audit log cannot be written: the disk is full",
    )
    told["identity"] = {"source": "embedded", "trust_domain": "td", "workloads": 3, "without_certificate": 0}
    assert identity(told) == ("embedded of td: 3 workloads", "")
    assert identity({"identity": {"source": "off"}}) == identity({}) == ("off", "")


def test_what_is_wrong_with_balancing_is_said() -> None:
    assert balance({}) == ("0 retries", "")
    told = {
        "retries": {"allowed": 3, "denied": 2},
        "remarks": {"shop/orders:http": {"no_key": 9, "weights_zero": 1}},
        "remarks_omitted": 1,
        "unheeded": {"shop/web": ["a is x", "b is y"]},
        "unheeded_omitted": 2,
    }
    assert balance({"balance": told}) == (
        "3 retries, 2 denied by the budget",
        "shop/orders:http: no_key 9, weights_zero 1\nnot heeded of shop/web: a is x\n"
        "not heeded of shop/web: b is y\nand 3 more services",
    )


def test_direct_connections_in_a_line() -> None:
    none = dict.fromkeys(("services", "active", "connections", "failed", "no_room", "grants"), 0)
    assert direct({"direct": none}) == direct({}) == "no service"
    some = {**none, "services": 1, "active": 2, "connections": 3}
    assert direct({"direct": some}) == "1 services, 2 connections live, 3 in all"
    more = {**some, "failed": 4, "grants": 5, "no_room": 6}
    told = "1 services, 2 connections live, 3 in all, 4 not established, 5 grants, no room for 6 services"
    assert direct({"direct": more}) == told
