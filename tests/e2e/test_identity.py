"""Identities of a real agent with real workers: a broken root, a crash in a rotation, rotation under load."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.test_mtls import Scene
from tests.e2e.test_mtls import pods as pods
from tests.support.mesh import SOAK_BOTH, Mesh
from tests.support.world import VIP, island

pytestmark = pytest.mark.world


@pytest.fixture(scope="module", params=SOAK_BOTH)
def rung(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def mesh(rung: str) -> Iterator[Mesh]:
    with island() as space, Mesh(space, rung=rung, begin=False) as made:
        yield made


def count(mesh: Mesh, **like: object) -> int:
    return sum(all(one.get(name) == is_ for name, is_ in like.items()) for one in mesh.ended())


def certs(mesh: Mesh) -> dict[str, dict[str, object]]:
    return {one["workload"]: one for one in mesh.ask("GET", "/v1/certs").body["certificates"]}


def roots(mesh: Mesh) -> list[str]:
    return [key["x5c"][0] for key in mesh.ask("GET", "/v1/certs/bundle").body["keys"]]


def test_a_broken_root_is_no_reason_not_to_run(mesh: Mesh) -> None:
    folder = Path(mesh.settings["identity"]["directory"])
    mesh.start()
    mesh.stop()
    whole = (folder / "root.key").read_bytes()
    (folder / "root.key").write_bytes(b"")
    mesh.start()
    with mesh.workload("shop") as shop:
        assert "root.key" in mesh.status()["identity"]["fault"]
        assert certs(mesh)[shop.name]["serves"] is False
        assert "restore root.key" in str(certs(mesh)[shop.name]["error"])
        assert mesh.ask("POST", "/v1/certs/rotate", {"root": True}).status == 409
        assert (folder / "root.key").read_bytes() == b""
        (folder / "root.key").write_bytes(whole)
        mesh.wait(lambda: certs(mesh)[shop.name]["serves"], 40)
        assert mesh.status()["identity"]["fault"] == ""


def test_a_crash_in_a_rotation_loses_no_identity(mesh: Mesh) -> None:
    mesh.start()
    with contextlib.ExitStack() as stack:
        names = [stack.enter_context(mesh.workload("shop")).name for _ in range(3)]
        before = roots(mesh)
        for _ in range(3):
            with contextlib.suppress(OSError):
                mesh.ask("POST", "/v1/certs/rotate", {"root": True}, timeout_s=0.02)
            mesh.kill_agent()
            mesh.start()
            mesh.wait(lambda: set(certs(mesh)) == set(names))
            mesh.wait(lambda: all(one["serves"] for one in certs(mesh).values()))
            assert set(before) <= set(roots(mesh)), "what was signed before is believed after"
            before = roots(mesh)


def test_no_private_key_is_told_by_anyone(mesh: Mesh) -> None:
    mesh.start()
    with mesh.workload("shop"):
        pem = (Path(mesh.settings["identity"]["directory"]) / "root.key").read_text()
        secret = max(pem.splitlines(), key=len)
        told = [json.dumps(mesh.ask("GET", path).body) for path in ("/v1/status", "/v1/certs", "/v1/config")]
        told += [mesh.log(), *(Path(f"/proc/{pid}/cmdline").read_text() for pid in mesh.seen_pids)]
        assert not any("PRIVATE" in text or secret in text for text in told)


def test_rotation_under_load_fails_nobody(pods: Scene) -> None:
    mesh, client = pods.mesh, pods.client.app
    good, secured = count(mesh, direction="inbound", outcome="carried"), count(mesh, tls="TLSv1.3")
    serials = {name: one["serial"] for name, one in certs(mesh).items()}
    for turn in range(6):
        answer = mesh.ask("POST", "/v1/certs/rotate", {"root": turn % 3 == 2})
        assert answer.status == 200 and not any(one["error"] for one in answer.body["certificates"])
        for _ in range(10):
            assert client.dial(VIP, 80)["greeting"]["name"] == "web"
    assert all(certs(mesh)[name]["serial"] != serial for name, serial in serials.items())
    assert len(roots(mesh)) == 3
    mesh.wait_ended(good + 60, direction="inbound", outcome="carried")
    assert count(mesh, tls="TLSv1.3") - secured == 2 * 60, "nobody fell back to plain text"
