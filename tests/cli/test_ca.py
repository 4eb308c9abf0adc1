"""World. `meshtrio ca` as its users run it."""

import json
import signal
import socket
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from meshtrio.cli.complaint import Code
from tests.cli.conftest import Run

Start = Callable[..., subprocess.Popen[bytes]]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


@pytest.fixture
def ca(settings: dict[str, str], tmp_path: Path) -> Path:
    settings["MESHTRIO_IDENTITY__DIRECTORY"] = str(tmp_path / "ca")
    settings["MESHTRIO_IDENTITY__TRUST_DOMAIN"] = "td"
    return tmp_path / "ca"


def test_it_answers_until_it_is_told_to_end(start: Start, run: Run, ca: Path) -> None:
    port = free_port()
    process = start("ca", "run", "--bind", "127.0.0.1", "--port", str(port), "--name", "ca.example")
    until = time.monotonic() + 20
    while True:
        try:
            tls = ssl.create_default_context(cafile=str(ca / "root.pem"))
            with urllib.request.urlopen(f"https://127.0.0.1:{port}/healthz", context=tls) as answer:
                assert answer.read() == b"ok\n"
            break
        except OSError:
            assert time.monotonic() < until and process.poll() is None
            time.sleep(0.05)
    # While it runs, another process makes tokens and lists nodes.
    assert run("ca", "token", "--node", "web-1").stdout.startswith(b"meshtrio-join-")
    assert run("ca", "nodes", "--json").stdout == b"[]\n"
    assert run("ca", "root").stdout == (ca / "root.pem").read_bytes()
    second = run("ca", "run", "--bind", "127.0.0.1", "--port", str(port))
    assert (second.returncode, second.stderr.count(b"\n")) == (Code.FAILED, 1)
    assert b"Address already in use" in second.stderr
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0


def test_tokens_without_a_ca_that_runs(run: Run, ca: Path) -> None:
    made = run("ca", "token", "--node", "web-1", "--ttl", "10m", "--allow", "spiffe://td/ns/shop/*", "--json")
    told = json.loads(made.stdout)
    token = told.pop("token")
    assert told == {"node": "web-1", "ttl_s": 600.0, "allow": ["spiffe://td/ns/shop/*"]}
    assert len(token) == 57
    assert (ca / "ca.db").stat().st_mode & 0o777 == 0o600
    assert json.loads(run("ca", "token", "--node", "a", "--json").stdout)["allow"] == ["spiffe://td/*"]
    assert run("ca", "forget", "web-1").returncode == 0
    again = run("ca", "forget", "web-1")
    assert (again.returncode, again.stderr) == (
        Code.FAILED,
        b"meshtrio: no node web-1 has joined, and there is no token for it\n",
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["token"], "Missing option '--node'"),
        (["token", "--node", "a/b"], "is no name for a node"),
        (["token", "--node", "a", "--ttl", "soon"], "'soon' is no time span"),
        (["token", "--node", "a", "--ttl", "0s"], "is no time span"),
        (["token", "--node", "a", "--ttl", "999d"], "is no time span"),
        (["token", "--node", "a", "--allow", "spiffe://other/*"], "not of trust domain td"),
        (["token", "--node", "a", "--allow", "shop"], "does not begin with spiffe://"),
        (["token", "--node", "a", "--set", "identity.directory="], "identity.directory, which is empty"),
        (["run", "--bind", "everywhere"], "--bind everywhere is no IP address"),
        (["run", "--agent", "meshtrio"], "not NAMESPACE/NAME"),
        (["run", "--name", "Ca One"], "--name 'Ca One' is no DNS name in lower case, and no IP address"),
        (["run", "--name", ""], "--name '' is no DNS name"),
        (["run", "--rate", "0"], "0"),
        (["forget"], "Missing argument 'NODE'"),
    ],
    ids=" ".join,
)
def test_wrong_usage_changes_nothing(run: Run, ca: Path, words: list[str], says: str) -> None:
    done = run("ca", *words)
    assert done.returncode == Code.USAGE
    assert says in done.stderr.decode() and done.stderr.count(b"\n") == 1
    assert not ca.exists()


@pytest.mark.parametrize("words", [["nodes"], ["forget", "web-1"]])
def test_who_asks_where_there_is_no_ca_makes_none(run: Run, ca: Path, words: list[str]) -> None:
    done = run("ca", *words)
    assert (done.returncode, done.stdout) == (Code.FAILED, b"")
    assert b"there is no CA here" in done.stderr and done.stderr.count(b"\n") == 1
    assert not ca.exists()


def test_files_that_cannot_be_used(run: Run, ca: Path) -> None:
    done = run("ca", "root")
    assert done.returncode == Code.FAILED
    assert b"root.pem cannot be read: No such file" in done.stderr
    ca.mkdir()
    (ca / "root.pem").write_text("broken")
    done = run("ca", "run", "--bind", "127.0.0.1", "--port", "0")
    assert (done.returncode, done.stderr.count(b"\n")) == (Code.FAILED, 1)
    (ca / "ca.db").write_text("no database at all, but long enough to look like one" * 100)
    done = run("ca", "nodes")
    assert done.returncode == Code.FAILED
    assert b"ca.db cannot be used" in done.stderr
