"""The demo's end: what does not fit together is found out."""

from pathlib import Path
from typing import Any

import pytest
import trio

from meshtrio.cli import reckoning
from meshtrio.cli.reckoning import Reckoning, Step
from meshtrio.cli.stage import Server, Stage

METRICS = 'istio_tcp_connections_closed_total{a="b"} 2\nistio_tcp_connections_closed_total{a="c"} 1\n'


class FakeStage(Stage):
    """A stage without processes, whose agent says what a test wants."""

    def __init__(self, ended: list[dict[str, Any]], hooks: dict[str, int]) -> None:
        super().__init__(Path("/nowhere"))
        self.ended, self.hooks = ended, hooks
        process: trio.Process = None  # type: ignore[assignment]
        self.servers = [Server(name, f"127.0.0.1:{at}", process) for at, name in enumerate("ab", 1)]

    async def ask(self, path: str) -> Any:
        return {"/v1/connections": {"ended": self.ended[::-1]}, "/v1/status": {"hooks": self.hooks}}[path]


def one(destination: str, endpoint: int, **changes: Any) -> dict[str, Any]:
    return {
        "direction": "outbound",
        "rung": "ebpf",
        "destination": destination,
        "endpoint": f"127.0.0.1:{endpoint}",
        "outcome": "carried",
        "received_bytes": 7,
        **changes,
    }


GOOD = [one("10.0.0.1:80", 1), one("[fd6d::1]:80", 2), one("240.240.0.1:80", 1)]


async def failed(monkeypatch: pytest.MonkeyPatch, ended: list[dict[str, Any]], hooked: int = 3) -> list[str]:
    monkeypatch.setattr(reckoning, "_metrics", lambda port: METRICS)
    made = Reckoning(FakeStage(ended, {"redirected": hooked}))
    made.allocated("shop.mesh", ["240.240.0.1", "fd6d::1"])
    made.expect("10.0.0.1:80", 1, ["a"])
    made.expect("shop.mesh:80", 1, ["b"])
    made.expect("240.240.0.1:80", 1, ["a"])
    steps = await made.steps()
    assert made.connections == ended
    assert all(isinstance(step, Step) and step.says for step in steps)
    return [step.name for step in steps if not step.ok]


@pytest.mark.usefixtures("autojump_clock")
async def test_what_fits_together_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await failed(monkeypatch, GOOD) == []


@pytest.mark.parametrize(
    ("ended", "hooked", "names"),
    [
        (GOOD[:2], 3, ["original destinations", "endpoints chosen"]),
        ([*GOOD[:2], one("10.0.0.1:80", 1)], 3, ["original destinations"]),
        ([*GOOD[:2], one("240.240.0.1:80", 2)], 3, ["endpoints chosen"]),
        ([*GOOD[:2], one("240.240.0.1:80", 1, outcome="upstream_reset")], 3, ["outcomes"]),
        ([*GOOD[:2], one("240.240.0.1:80", 1, received_bytes=0)], 3, ["outcomes"]),
        (GOOD, 2, ["hooks"]),
        ([dict(each, rung="nft") for each in GOOD], 0, []),
        ([], 3, ["original destinations", "endpoints chosen", "outcomes", "hooks"]),
    ],
)
async def test_what_does_not_is_found_out(
    ended: list[dict[str, Any]],
    hooked: int,
    names: list[str],
    monkeypatch: pytest.MonkeyPatch,
    autojump_clock: trio.testing.MockClock,
) -> None:
    assert await failed(monkeypatch, ended, hooked) == names


@pytest.mark.usefixtures("autojump_clock")
async def test_metrics_that_count_less_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reckoning, "_metrics", lambda port: "")
    made = Reckoning(FakeStage([one("10.0.0.1:80", 1)], {"redirected": 1}))
    made.expect("10.0.0.1:80", 1, ["a"])
    assert [step.name for step in await made.steps() if not step.ok] == ["metrics"]


def test_an_admin_port_that_is_closed_counts_nothing() -> None:
    assert reckoning._metrics(1) == ""
