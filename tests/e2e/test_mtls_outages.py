"""Mutual TLS without its agent or its CA: who is secured stays so, and nobody falls back to plain text."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.fort import Fort, fort_of
from tests.support.mesh import SOAK_BOTH
from tests.support.world import VIP

pytestmark = [pytest.mark.world, pytest.mark.slow]

HEARTBEAT_S = 3.0
"""An agent that was silent for so long is gone, and then the hooks decide (rung ebpf)."""
LIFE_S = 40.0


@pytest.fixture(scope="module", params=SOAK_BOTH)
def rung(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@contextlib.contextmanager
def fort(rung: str, folder: Path, **identity: Any) -> Iterator[Fort]:
    with fort_of(rung, folder, directory=str(folder / "identity"), **identity) as made:
        yield made


def rows(made: Fort) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = made.mesh.ask("GET", "/v1/certs").body["certificates"]
    return listed


def test_an_agent_that_is_killed_in_a_rotation_cuts_nothing(rung: str, tmp_path: Path) -> None:
    with fort(rung, tmp_path) as made:
        mesh, app = made.mesh, made.client.app
        root = mesh.ask("GET", "/v1/certs/bundle").body["keys"]
        app.tell("steady", name="new", host=VIP, port=80, every=0.05)
        app.tell("hold", name="old", host=VIP, port=80)
        away: list[tuple[float, float]] = []
        for _ in range(3):
            with contextlib.suppress(OSError):
                mesh.ask("POST", "/v1/certs/rotate", {}, timeout_s=0.01)
            gone = time.monotonic()
            mesh.kill_agent()
            mesh.start()
            mesh.wait(lambda: len(rows(made)) == 2 and all(one["serves"] for one in rows(made)), 10)
            away.append((gone, time.monotonic()))
            # A worker that never knew the service would pass the next calls through, to nobody.
            mesh.wait_ended(1, service="default/web", outcome="carried")
            seen = app.tell("steadied", name="new")["seen"]
            failed = [one for one in seen if one[1] != "web"]
            assert len(seen) > 5
            # Nobody reads along meanwhile: strict workloads are not called in the open. What failed may be
            # told of only after the next kill.
            for began, *_ in failed:
                assert any(
                    gone + HEARTBEAT_S / 2 < began < back and back - gone > HEARTBEAT_S for gone, back in away
                ), (away, failed)
        assert {who for _, who, _ in app.tell("steadied", name="new", end=True)["seen"]} <= {"web"}
        assert app.tell("held", name="old", end=True)["broke"] == ""
        assert mesh.ask("GET", "/v1/certs/bundle").body["keys"] == root


@pytest.mark.soak
def test_a_ca_that_cannot_sign_is_bridged_until_certificates_end(tmp_path: Path) -> None:
    with fort("ebpf", tmp_path, life_s=LIFE_S, skew_s=0, cache="disk") as made:
        mesh, key = made.mesh, tmp_path / "identity" / "root.key"
        kept = key.with_name("kept")
        assert made.client.app.dial(VIP, 80)["greeting"]["name"] == "web"
        mesh.kill_agent()
        key.rename(kept)
        mesh.start()
        mesh.wait(lambda: "root.key" in mesh.status()["identity"]["fault"], 10)
        assert made.client.app.dial(VIP, 80)["greeting"]["name"] == "web"  # by what was kept on disk
        mesh.wait(lambda: not any(one["serves"] for one in rows(made)), LIFE_S + 5)
        assert made.client.app.fails_to_dial(VIP, 80) == "ECONNRESET"
        (ended,) = mesh.wait_ended(1, outcome="no_identity", direction="outbound")
        assert "its certificate has expired" in ended["detail"]
        assert "root.key cannot be read" in ended["detail"]
        assert {one["state"] for one in rows(made)} <= {"expired", "recovering"}
        kept.rename(key)
        mesh.wait(lambda: all(one["serves"] for one in rows(made)), 45)
        assert made.client.app.dial(VIP, 80)["greeting"]["name"] == "web"
        assert mesh.status()["identity"]["fault"] == ""
