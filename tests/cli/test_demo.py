"""`meshtrio demo`, as its users run it."""

import collections
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.support.mesh import SOAK_BOTH

pytestmark = pytest.mark.world


def pinned() -> set[Path]:
    return set(Path("/sys/fs/bpf").glob("meshtrio-demo-*"))


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    before = pinned()
    yield
    assert pinned() - before == set()


@pytest.mark.parametrize("rung", SOAK_BOTH)
@pytest.mark.slow
def test_once_as_json(run: Run, rung: str) -> None:
    done = run("demo", "--once", "--json", "--rung", rung, wait_s=150)
    told = json.loads(done.stdout)
    assert (done.returncode, told["ok"], told["rung"]) == (0, True, rung), done.stderr.decode()
    assert {step["ok"] for step in told["steps"]} == {True}
    assert [step["name"] for step in told["steps"] if step["skipped"]] == []
    assert len(told["connections"]) == 25
    by_service = collections.Counter(one["service"] for one in told["connections"])
    assert by_service == {"default/web": 13, "default/shop": 6, "default/orders": 6}
    dialled = {one["destination"] for one in told["connections"] if one["service"] == "default/web"}
    assert dialled == {"10.96.0.10:80", "[fd00:96::10]:80"}
    assert [one["health"] for one in told["endpoints"]].count("unhealthy") == 1
    assert {one["rung"] for one in told["connections"]} == {rung}
    secured = {(one["direction"], one["peer"].rpartition("/")[2]): one for one in told["secured"]}
    assert set(secured) == {("outbound", "pantry"), ("inbound", "cook"), ("inbound", "guest")}
    assert {one["tls"] for one in secured.values()} == {"TLSv1.3"}
    ends = {who: (one["outcome"], one["flag"]) for (_, who), one in secured.items()}
    assert ends == {"pantry": ("carried", "-"), "cook": ("carried", "-"), "guest": ("denied", "UAEX")}
    assert {one["rung"] for one in secured.values()} == {rung}
    assert told["capture"]["frames"] > 100
    names = {step["name"] for step in told["steps"]}
    assert {"cook calls pantry", "guest may not", "rotation under load", "capture of the wire"} <= names
    assert [one["name"] for one in told["processes"]] == ["agent", "worker 0"]
    assert all(one["rss_bytes"] > 1_000_000 for one in told["processes"])


@pytest.mark.parametrize("rung", SOAK_BOTH)
@pytest.mark.slow
def test_kept_until_it_is_interrupted(start: Callable[..., subprocess.Popen[bytes]], rung: str) -> None:
    process = start("demo", "--keep", "--rung", rung)
    assert process.stderr is not None and process.stdout is not None
    words = b""
    while b"it goes on until ^C; try: meshtrio exec --config " not in words:
        line = process.stderr.readline()
        assert line, words
        words += line
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    text = out.decode()
    assert process.returncode == 0, f"{text}\n{err.decode()}"
    shown = ("$ meshtrio services", "240.240.", "$ meshtrio endpoints shop", "HTTP 404")
    heads = (f"on rung {rung}", "CAUGHT", "ENDPOINT CHOSEN", "OUTCOME", "CIPHER", "UAEX", "RSS", "worker 0")
    for head in (*heads, *shown):
        assert head in text
    assert text.splitlines()[-1] == "all of it happened"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_on_its_way_it_leaves_nothing(
    start: Callable[..., subprocess.Popen[bytes]], number: signal.Signals
) -> None:
    process = start("demo")
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err.endswith(b"meshtrio: interrupted; the demo has been taken down\n")


def test_it_needs_root(run: Run, settings: dict[str, str]) -> None:
    del settings["MESHTRIO_CONFIG"]
    done = run("demo", before=("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"))
    assert done.returncode == 1
    assert done.stderr.endswith(b"run: sudo meshtrio demo\n")
    assert os.geteuid() == 0
