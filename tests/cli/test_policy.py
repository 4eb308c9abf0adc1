"""`meshtrio policy`: the rules as a table, and which of them decides."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from meshtrio.cli.main import main
from meshtrio.config.load import load
from meshtrio.config.schema import Config
from tests.cli.conftest import Run
from tests.support.catalog_desk import Desk, Served, served

WEB = "spiffe://cluster.local/ns/shop/sa/web"
TEXT = """
mtls:
  mode: permissive
  rules:
  - {mode: strict, namespace: shop}
  - {mode: disable, workload: legacy}
  - {mode: strict, port: 9443, any_alpn: true}
policy:
  default: deny
  rules:
  - name: web-to-cart
    action: allow
    callers: {namespaces: [shop], ids: ["spiffe://cluster.local/ns/shop/*"]}
    namespaces: [shop]
    workloads: [cart]
  - name: shop-by-web
    action: allow
    callers: {ids: ["spiffe://cluster.local/ns/shop/sa/web"]}
    namespaces: [shop]
  - {name: no-debugging, action: deny, ports: [9229, 9443]}
  - {name: federation, action: allow, callers: {trust_domains: [partner.example]}, workloads: [door]}
  - {name: pages, action: allow, workloads: [legacy, pages], ports: [80]}
"""


class Ruled(Desk):
    """An agent that has these rules, and one workload."""

    def configuration(self) -> Config:
        return load(TEXT, {}, {})

    def status(self) -> dict[str, Any]:
        return {"workloads": [{"name": "cart", "namespace": "shop"}, {"name": "old"}]}


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Served]:
    with served(Ruled(), tmp_path / "control.sock") as made:
        yield made


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "rules.yaml"
    path.write_text(TEXT)
    return str(path)


def invoke(*words: str) -> Result:
    return CliRunner().invoke(main, ["policy", *words])


def test_the_rules_as_a_table(file: str, golden: Callable[[str, str], None]) -> None:
    golden("policy_list.txt", invoke("list", "--config", file).output)


def test_without_rules(tmp_path: Path) -> None:
    path = tmp_path / "empty.yaml"
    path.write_text("identity: {source: 'off'}\npolicy: {dry_run: true}\n")
    assert invoke("list", "--config", str(path)).output == (
        "no rules\nwhere no rule fits: allow (dry run: nobody is refused)\n\n"
        "mode elsewhere: permissive (identity.source is off: nothing is encrypted)\n"
    )


def test_the_rules_as_json(file: str) -> None:
    told = json.loads(invoke("list", "--config", file, "--json").output)
    assert {"default", "dry_run", "rules", "mode", "modes", "remarks"} == told.keys()
    assert [rule["name"] for rule in told["rules"]][:2] == ["web-to-cart", "shop-by-web"]
    assert told["modes"][0] == {
        "mode": "strict",
        "namespace": "shop",
        "workload": "",
        "port": 0,
        "any_alpn": False,
    }


CALLS = [
    (WEB, "shop/cart"),
    (WEB, "shop/cart", "8080"),
    (WEB, "shop/cart", "9229"),
    (WEB, "shop/legacy", "80"),
    (WEB, "old/legacy", "80"),
    (WEB, "old/legacy", "81"),
    ("anonymous", "shop/cart", "80"),
    ("anonymous", "web/pages"),
    ("spiffe://partner.example/x", "web/door", "80"),
]


def test_what_would_happen(file: str, golden: Callable[[str, str], None]) -> None:
    text = ""
    for caller, called, *port in CALLS:
        words = ["--from", caller, "--to", called, *(["--port", *port] if port else [])]
        done = invoke("check", *words, "--config", file)
        text += f"$ meshtrio policy check {' '.join(words)}\n{done.output}({done.exit_code})\n\n"
    golden("policy_check.txt", text)


def test_a_running_agent_is_asked_as_users_do(run: Run, there: Served) -> None:
    words = ["policy", "check", "--from", WEB, "--port", "80", "--control", str(there.path)]
    done = run(*words, "--to", "cart", "--json")
    assert (done.returncode, done.stderr) == (0, b"")
    told = json.loads(done.stdout)
    assert told == {
        "allowed": True,
        "outcome": "",
        "caller": WEB,
        "judged": WEB,
        "namespace": "shop",
        "workload": "cart",
        "port": 80,
        "mode": "strict",
        "mode_rule": "mtls.rules[0]",
        "treatment": "mutual_tls",
        "rule": "web-to-cart",
        "would_deny": False,
        "words": f"rule web-to-cart allows {WEB} to call shop/cart on port 80",
        "ports": [],
    }
    denied = run(*words, "--to", "old")
    assert denied.returncode == 1
    assert b"default/old" in denied.stdout
    assert b"web-to-cart" in run("policy", "list", "--control", str(there.path)).stdout


def test_without_an_agent(run: Run, tmp_path: Path) -> None:
    for words in (["list"], ["check", "--from", "anonymous", "--to", "a"]):
        assert run("policy", *words, "--control", str(tmp_path / "none.sock")).returncode == 3


def test_an_agent_of_another_version_is_told_apart(run: Run, tmp_path: Path) -> None:
    class Newer(Desk):
        def configuration(self) -> dict[str, Any]:
            return {"teleport": True}

    with served(Newer(), tmp_path / "newer.sock") as there:
        done = run("policy", "list", "--control", str(there.path))
    assert done.returncode == 3
    assert b"has settings that are unknown here" in done.stderr
    assert b"teleport" in done.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--from", "spiffe://cluster.local", "--to", "a"], "has no path"),
        (["--from", "web", "--to", "a"], "does not begin with spiffe://"),
        (["--from", "anonymous", "--to", "a/b/c"], "want WORKLOAD or NAMESPACE/WORKLOAD"),
        (["--from", "anonymous", "--to", "/b"], "want WORKLOAD or NAMESPACE/WORKLOAD"),
        (["--from", "anonymous", "--to", ""], "want WORKLOAD or NAMESPACE/WORKLOAD"),
        (["--from", "anonymous", "--to", "a", "--port", "0"], "0 is not in the range"),
        (["--from", "anonymous"], "--to"),
    ],
)
def test_wrong_usage_asks_nobody(words: list[str], says: str) -> None:
    done = invoke("check", *words, "--control", "/nowhere")
    assert done.exit_code == 2
    assert says in done.stderr
