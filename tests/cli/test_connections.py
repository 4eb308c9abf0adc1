"""`meshtrio connections`: what is chosen of an answer, and how it is shown."""

import json
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner

from meshtrio.cli.connections import HEAD, chosen, row, show
from meshtrio.cli.control_client import Control
from meshtrio.cli.main import main
from tests.cli.conftest import VIP, Run


def connection(workload: str, outcome: str | None = "carried", detail: str = "") -> dict[str, Any]:
    return {
        "workload": workload,
        "direction": "outbound",
        "source": "10.0.0.1:5000",
        "destination": "10.96.0.10:80",
        "service": "default/web",
        "endpoint": "",
        "protocol": "http1",
        "sent_bytes": 74,
        "received_bytes": 1500,
        "lasted_s": 0.25,
        "outcome": outcome,
        "detail": detail,
    }


def answer(live: int, ended: int) -> dict[str, Any]:
    return {
        "live": [connection(f"w{at % 2}", None) for at in range(live)],
        "ended": [connection(f"w{at % 2}") for at in range(ended)],
        "omitted": 3,
        "silent_workers": 0,
    }


@pytest.mark.parametrize(
    ("which", "workload", "limit", "counts"),
    [
        (None, None, 50, (4, 6, 3)),
        ("live", None, 50, (4, 0, 3)),
        ("ended", "w0", 50, (0, 3, 3)),
        (None, None, 1, (1, 1, 11)),
    ],
)
def test_what_is_chosen(which: str, workload: str, limit: int, counts: tuple[int, int, int]) -> None:
    told = answer(4, 6)
    made = chosen(told, which, workload, limit=limit)
    assert (len(made["live"]), len(made["ended"]), made["omitted"]) == counts
    assert told == answer(4, 6)


def test_a_row_has_a_cell_for_each_head() -> None:
    assert len(row(connection("w"))) == len(HEAD)
    assert row(connection("w", None))[-1] == "live"


def test_who_the_other_side_is_is_shown_if_anybody_has_proved_it(capsys: pytest.CaptureFixture[str]) -> None:
    proved = connection("w") | {"peer": "spiffe://td/ns/a/sa/b", "tls": "TLSv1.3", "policy": ""}
    plain = connection("x") | {"peer": "", "tls": "", "policy": "policy.default denies anonymous"}
    show(answer(0, 0) | {"ended": [proved, plain], "omitted": 0})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[-2:] == ["PEER", "TLS"]
    assert lines[1].split()[-2:] == ["td/ns/a/sa/b", "TLSv1.3"]
    assert lines[3] == "10.0.0.1:5000 to 10.96.0.10:80: policy.default denies anonymous"


def test_what_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    show(answer(1, 1) | {"ended": [connection("w", "connect_failed", "refused by all")], "silent_workers": 2})
    written = capsys.readouterr()
    lines = written.out.splitlines()
    assert lines[0].split() == " ".join(HEAD).split()
    assert lines[1].split()[-1] == "live" and lines[2].split()[-1] == "connect_failed"
    assert lines[3] == "10.0.0.1:5000 to 10.96.0.10:80: refused by all"
    assert lines[4] == "and 3 more"
    assert written.err == "meshtrio: 2 workers did not answer; their live connections are missing\n"
    show(answer(0, 0) | {"omitted": 0})
    assert capsys.readouterr().out == "no connections\n"


@pytest.mark.world
def test_an_agents_connections(
    run: Run, agent: Control, start: Callable[..., subprocess.Popen[bytes]]
) -> None:
    assert run("exec", "--name", "shop", "--", "curl", "-sS", f"http://{VIP}/a").stdout == b"hello from /a\n"
    time.sleep(1.5)
    told = json.loads(run("connections", "--workload", "shop", "--json").stdout)
    assert [(one["destination"], one["outcome"]) for one in told["ended"]] == [(f"{VIP}:80", "carried")]
    assert run("connections", "--workload", "other").stdout == b"no connections\n"
    watching = start("connections", "--watch", "--json")
    assert watching.stdout is not None
    lines = [json.loads(watching.stdout.readline()) for _ in range(2)]
    assert [len(line["ended"]) for line in lines] == [1, 1]
    watching.send_signal(signal.SIGINT)
    assert watching.wait(10) == 0


def test_the_path_is_shown_if_any_went_directly(capsys: pytest.CaptureFixture[str]) -> None:
    direct = connection("w") | {"path": "direct"}
    show(answer(0, 0) | {"ended": [direct, connection("x") | {"path": "relay"}], "omitted": 0})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in lines] == ["PATH", "direct", "relay"]


def test_nothing_is_no_place_to_close() -> None:
    done = CliRunner().invoke(main, ["connections", "--close", "", "--control", "/nowhere"])
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("meshtrio: --close is empty ")


@pytest.mark.world
def test_direct_ones_are_closed(run: Run, agent: Control) -> None:
    assert run("connections", "--close", "default/web").stdout == b"0 closed\n"
    assert json.loads(run("connections", "--close", "127.0.0.1:1", "--json").stdout) == {"closed": 0}
    refused = run("connections", "--close", "web")
    assert refused.returncode == 1
    assert b"want a service (namespace/name) or ip:port" in refused.stderr
