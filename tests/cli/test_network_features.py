"""What is found of this machine's networking; nothing of it is changed."""

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from meshtrio.cli import network_features
from meshtrio.config.load import load
from meshtrio.config.schema import Config
from meshtrio.intercept import nft, routing
from meshtrio.intercept.nft_plan import Feature
from meshtrio.intercept.nft_request import NftRefused, Refusal
from meshtrio.intercept.routing_plan import RoutingRefused


@pytest.mark.world
async def test_nf_tables_is_here() -> None:
    found = await network_features.nf_tables()
    assert found[0].name == "nf_tables"
    assert {one.state for one in found} == {"ok"}


async def test_what_nf_tables_lacks_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def probe() -> list[Feature]:
        return [Feature("nf_tables", "EPERM"), Feature("fib", "ENOENT"), Feature("sets")]

    monkeypatch.setattr(nft, "probe", probe)
    found = await network_features.nf_tables()
    assert [(one.name, one.state, one.todo) for one in found] == [
        ("nf_tables", "missing", "run as root"),
        ("nf_tables: fib", "missing", "needs a kernel that has this module"),
        ("nf_tables: sets", "ok", ""),
    ]


async def test_nf_tables_that_cannot_even_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async def probe() -> list[Feature]:
        raise NftRefused(Refusal(feature="Python package pyroute2", advice="install it"))

    monkeypatch.setattr(nft, "probe", probe)
    (found,) = await network_features.nf_tables()
    assert (found.state, found.says) == ("missing", "Python package pyroute2: install it")


@pytest.mark.world
async def test_callers_addresses_are_tried_elsewhere_and_the_thread_comes_home() -> None:
    before = here()
    found = await network_features.callers_addresses()
    assert found.state == "ok"
    assert "2 rules and 2 routes" in found.says
    assert here() == before


def here() -> tuple[set[str], str]:
    """Say in which namespaces our threads are, and what is routed in ours."""
    namespaces = {os.readlink(f"/proc/self/task/{task}/ns/net") for task in os.listdir("/proc/self/task")}
    return namespaces, Path("/proc/net/fib_trie").read_text()


@pytest.mark.world
async def test_callers_addresses_that_the_kernel_refuses_are_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: object) -> None:
        raise RoutingRefused(Refusal(feature="rules", errno_name="EOPNOTSUPP"))

    monkeypatch.setattr(routing, "apply", refuse)
    found = await network_features.callers_addresses()
    assert (found.state, found.says) == ("note", "rules (EOPNOTSUPP): called programs see a fixed address")


def test_the_namespace_and_the_families() -> None:
    assert {one.name for one in network_features.network()} == {"netns cookie", "IPv6"}


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_the_port_for_queries_is_taken_by_udp_and_by_tcp(kind: socket.SocketKind) -> None:
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            taken.listen()
        flags: dict[str, Any] = {"ports.dns": taken.getsockname()[1]}
        found = {one.name: one for one in network_features.ports(load(None, {}, flags), agent_runs=False)}
        assert found["port dns"].state == "missing"
        uncaught = load(None, {}, {**flags, "dns.capture": False})
        assert "port dns" not in {one.name for one in network_features.ports(uncaught, agent_runs=False)}


def test_a_port_that_is_taken_is_told_unless_an_agent_has_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config: Config = load(None, {}, {"ports.outbound": port})
        outbound, *_ = network_features.ports(config, agent_runs=False)
        assert (outbound.name, outbound.state) == ("port outbound", "missing")
        assert "Address already in use" in outbound.says and f"sport = {port}" in outbound.todo
        assert next(iter(network_features.ports(config, agent_runs=True))).says == f"{port} is the agent's"
    assert next(iter(network_features.ports(config, agent_runs=False))).state == "ok"
