"""`meshtrio workloads`."""

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from meshtrio.cli.control_client import Control
from meshtrio.cli.main import main
from meshtrio.intercept import cgroup
from tests.cli.conftest import Run
from tests.support.namespace import Namespace

NAME = f"cli-box-{os.getpid()}"


@pytest.mark.parametrize("name", ["..", "A", "a b", "x" * 64])
def test_a_wrong_name_never_reaches_the_agent(name: str) -> None:
    done = CliRunner().invoke(main, ["workloads", "add", name, "--control", "/nowhere"])
    assert done.exit_code == 2
    assert "is no workload name" in done.stderr


@pytest.mark.parametrize("flag", ["--namespace", "--service-account"])
def test_a_wrong_account_never_reaches_the_agent(flag: str) -> None:
    done = CliRunner().invoke(main, ["workloads", "add", "a", flag, "A/b", "--control", "/nowhere"])
    assert done.exit_code == 2
    assert "'A/b' is no namespace or service account" in done.stderr


def test_a_process_that_cannot_be_never_reaches_the_agent() -> None:
    done = CliRunner().invoke(main, ["workloads", "add", "a", "--pid", str(1 << 22), "--control", "/nowhere"])
    assert done.exit_code == 2
    assert "4194304 is not in the range" in done.stderr


@pytest.mark.world
def test_who_it_is_must_be_allowed(
    run: Run, settings: dict[str, str], request: pytest.FixtureRequest
) -> None:
    settings["MESHTRIO_IDENTITY__EXEC_IDENTITIES"] = "spiffe://cluster.local/ns/shop/*"
    request.getfixturevalue("agent")
    denied = run("workloads", "add", NAME, "--namespace", "office")
    assert denied.returncode == 1
    assert denied.stderr.decode() == (
        f"meshtrio: workload {NAME}: spiffe://cluster.local/ns/office/sa/default is not allowed by"
        " identity.exec_identities of the agent's configuration (spiffe://cluster.local/ns/shop/*)\n"
    )
    assert run("exec", "--identity", "office/x", "--", "true").returncode == 1
    assert run("exec", "--identity", "shop/x", "--", "true").returncode == 0
    added = run("workloads", "add", NAME, "--namespace", "shop", "--service-account", "cart", "--json")
    assert added.returncode == 0
    listed = json.loads(run("workloads", "--json").stdout)
    assert [(one["namespace"], one["service_account"]) for one in listed] == [("shop", "cart")]
    assert " shop/cart " in run("workloads").stdout.decode()
    assert run("policy", "check", "--from", "anonymous", "--to", NAME).stdout.count(b"shop/") == 1


@pytest.mark.world
def test_one_comes_and_goes(run: Run, agent: Control) -> None:
    group = cgroup.mount_point() / "meshtrio" / NAME
    added = run(
        "workloads", "add", NAME, "--port", "8080", "--on-agent-loss", "closed", "--acceleration", "off"
    )
    assert added.stdout.decode() == f"{NAME} is caught by ebpf; cgroup {group}\n"
    listed = json.loads(run("workloads", "--json").stdout)
    assert [(one["name"], one["cgroup"], one["on_agent_loss"]) for one in listed] == [
        (NAME, str(group), "closed")
    ]
    assert [(one["acceleration"], one["accelerated"]) for one in listed] == [("off", "r1")]
    assert NAME in run("workloads", "list").stdout.decode()
    assert (
        run("workloads", "--control", agent.path, "list", "--json").stdout
        == run("workloads", "--json").stdout
    )
    again = run("workloads", "add", NAME)
    assert again.returncode == 1
    assert f"{NAME} is here already" in again.stderr.decode()
    assert run("workloads", "remove", NAME).stdout.decode() == f"{NAME} is caught no more\n"
    gone = run("workloads", "remove", NAME, "--json")
    assert (gone.returncode, gone.stdout) == (1, b"")
    assert json.loads(run("workloads", "--json").stdout) == []


@pytest.mark.world
def test_rules_are_shown_with_what_they_have_counted(run: Run, agent: Control) -> None:
    pod = f"cli-pod-{os.getpid()}"
    with Namespace() as space:
        space.route_everything()
        path = f"/proc/{os.getpid()}/task/{space.tid}/ns/net"
        assert run("workloads", "add", pod, "--netns", path).returncode == 0
        before = counted(run, pod)
        with space.tcp_socket() as caller:
            caller.settimeout(5)
            caller.connect(("10.9.8.7", 81))  # a door of ours answers, whoever is behind it
        after = counted(run, pod)
        grown = {rule for rule, packets in after.items() if packets > before[rule]}
        assert any(rule.startswith("outbound") for rule in grown), grown
        assert "RULE" in run("workloads", "rules", pod).stdout.decode()
        assert run("workloads", "remove", pod).returncode == 0
    gone = run("workloads", "rules", pod)
    assert (gone.returncode, gone.stderr) == (1, f"meshtrio: workload {pod} is not known\n".encode())
    assert run("workloads", "add", NAME).returncode == 0
    assert f"{NAME} is caught by ebpf; `meshtrio status`" in run("workloads", "rules", NAME).stdout.decode()
    assert run("workloads", "remove", NAME).returncode == 0


def counted(run: Run, name: str) -> dict[str, int]:
    told = json.loads(run("workloads", "rules", name, "--json").stdout)
    assert told["rung"] == "nft"
    return {one["rule"]: one["packets"] for one in told["rules"]}


@pytest.mark.world
def test_what_the_agent_refuses_is_told_in_its_words(run: Run, agent: Control, tmp_path: Path) -> None:
    for flags in (["--cgroup", "/no/such/group"], ["--netns", str(tmp_path)], ["--cgroup", "/"]):
        done = run("workloads", "add", NAME, *flags)
        assert done.returncode == 1, flags
        assert done.stderr.startswith(f"meshtrio: workload {NAME}: ".encode()), flags
        assert done.stderr.count(b"\n") == 1, flags
