"""World. The command against a real agent with a CA of its own."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from meshtrio.cli.certs import table_of
from meshtrio.cli.control_client import Control
from tests.cli.conftest import Run
from tests.support.world import unique

NOW = 1_800_000_000.0


def row(name: str, **more: object) -> dict[str, object]:
    return {
        "workload": name,
        "workload_id": 1,
        "spiffe_id": f"spiffe://td/ns/shop/sa/{name}",
        "state": "fresh",
        "serves": True,
        "serial": "5d2c01",
        "not_before": NOW - 300,
        "not_after": NOW + 86_400,
        "renews_at": NOW + 55_000,
        "source": "embedded",
        "rotations": 1,
        "connections": 12,
        "failures": 0,
        "error": "",
        **more,
    }


@pytest.mark.parametrize("width", [40, None])
def test_the_table(golden: Callable[[str, str], None], width: int | None) -> None:
    rows = [
        row("web"),
        row("cart", state="failing", failures=3, error="the CA does not answer"),
        row("till", state="none", serves=False, serial="", not_after=0.0, source="", error="no root"),
    ]
    lines = table_of(rows, NOW, width)
    golden(f"certs_{width or 'wide'}.txt", "".join(f"{line.text}\n" for line in lines))
    assert [line.colour for line in lines] == ["", "", "yellow", "red", "red", "red"]


def test_nobody_has_an_identity() -> None:
    assert [line.text for line in table_of([], NOW, None)] == ["no workload has an identity"]


@pytest.fixture
def workload(agent: Control) -> Iterator[str]:
    name = unique("shop")
    agent.add_workload(name, {})
    yield name
    agent.remove_workload(name)


@pytest.mark.world
def test_certificates_of_a_real_agent(run: Run, agent: Control, workload: str, tmp_path: Path) -> None:
    at = ("--control", agent.path)
    (first,) = json.loads(run("certs", *at, "--json").stdout)
    assert (first["workload"], first["state"], first["serves"]) == (workload, "fresh", True)
    assert first["spiffe_id"] == "spiffe://cluster.local/ns/default/sa/default"
    assert first["not_after"] - first["not_before"] == pytest.approx(86_700, abs=2)
    table = run("certs", *at).stdout.decode()
    assert workload in table and "embedded" in table

    done = run("certs", "rotate", workload, *at)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"1 of 1 certificates replaced\n", b"")
    (second,) = json.loads(run("certs", *at, "--json").stdout)
    assert second["serial"] != first["serial"] and second["rotations"] == 2

    done = run("certs", "rotate", "nobody", *at)
    assert done.returncode == 1 and b"no workload nobody has an identity here" in done.stderr
    done = run("certs", "rotate", "--root", workload, *at)
    assert done.returncode == 1 and b"name none" in done.stderr

    before = run("certs", "root", *at).stdout
    done = run("certs", "rotate", "--root", "--json", *at)
    assert done.returncode == 0 and json.loads(done.stdout)["root"]
    after = run("certs", "root", *at).stdout
    assert after.startswith(before) and after.count(b"BEGIN CERTIFICATE") == 2
    keys = json.loads(run("certs", "root", "--json", *at).stdout)["keys"]
    assert [key["use"] for key in keys] == ["x509-svid", "x509-svid"]
    pem = tmp_path / "roots.pem"
    pem.write_bytes(after)
    argv = ["openssl", "x509", "-in", str(pem), "-noout", "-purpose"]
    assert "SSL server CA : Yes" in subprocess.run(argv, capture_output=True, text=True, check=True).stdout

    identity = agent.get("/v1/status")["identity"]
    assert identity["roots"] == {"cluster.local": 2} and identity["fault"] == ""
    metrics = agent.get("/metrics")
    assert f'meshtrio_certificate_rotations_total{{result="issued",workload="{workload}"}} 3.0' in metrics
    assert f'meshtrio_certificate_expiry_seconds{{workload="{workload}"}} 8' in metrics


@pytest.mark.world
def test_no_key_is_told(run: Run, agent: Control, workload: str, settings: dict[str, str]) -> None:
    """The agent's log, answers and arguments have no private key; nor has anybody else's file."""
    told = [json.dumps(agent.get(path)) for path in ("/v1/status", "/v1/certs", "/v1/config", "/metrics")]
    folder = Path(settings["MESHTRIO_IDENTITY__DIRECTORY"])
    secret = (folder / "root.key").read_text().splitlines()[1]
    assert not any("PRIVATE" in text or secret in text for text in told)
    pid = agent.get("/v1/status")["pid"]
    assert b"PRIVATE" not in Path(f"/proc/{pid}/cmdline").read_bytes()
    assert b"PRIVATE" not in Path(f"/proc/{pid}/environ").read_bytes()


def test_nobody_answers(run: Run, tmp_path: Path) -> None:
    done = run("certs", "--control", str(tmp_path / "none.sock"))
    assert done.returncode == 3 and b"no agent answers" in done.stderr
