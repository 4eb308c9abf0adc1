"""World. Real files edited, and no kernel (test_upkeep_kernel.py). Workers are seats whose words are read."""

from pathlib import Path

import msgspec
import pytest
import trio

from meshtrio import upkeep as module
from meshtrio.balance.hearsay import Counts, Stand
from meshtrio.discover import file
from meshtrio.intercept.kernel import KernelRefused
from meshtrio.intercept.workload import Spec
from meshtrio.messages import (
    Count,
    Credentials,
    KnowBreakers,
    Maps,
    Observed,
    Resolve,
    Resolved,
    SeenElsewhere,
    Settings,
    Tally,
    Trusted,
)
from meshtrio.outcome import Outcome
from tests.support.desk import VIP, Desk, a_few_looks, eventually, following


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often: the clock is the real one, for files are read in a thread."""
    monkeypatch.setattr(file, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(file, "SETTLE_S", 0.01)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


# Services


async def test_services_are_read_once_and_followed(desk: Desk) -> None:
    before = desk.parts.sources.settled
    async with following(desk):
        assert (before, desk.parts.sources.settled) == (False, True)
        assert desk.services() == ["web"]
        assert "127.0.0.1:8080" in desk.parts.registry.catcher.surroundings.services
        desk.write_services("shop", "web")
        await eventually(lambda: desk.services() == ["shop", "web"])
        desk.write_services()
        await eventually(lambda: desk.services() == [])
        assert len(desk.parts.registry.catcher.surroundings.services) == 0
        assert desk.parts.publisher.snapshot.version == 3


async def test_workers_hear_what_they_asked_about(desk: Desk) -> None:
    async with following(desk):
        seat = desk.parts.fleet.seats[-1]
        await desk.upkeep._heard(seat, Resolve(VIP))
        assert [answer.found.service.name for answer in desk.said(Resolved)] == ["web"]
        desk.write_services()
        await eventually(lambda: desk.said(Resolved) == [Resolved(VIP, None)])


@pytest.mark.parametrize("spoil", ["broken", "faulty", "gone"])
async def test_a_spoilt_catalog_keeps_the_last_good_one(desk: Desk, spoil: str) -> None:
    async with following(desk):
        if spoil == "gone":
            desk.catalog.unlink()
        else:
            desk.write(desk.catalog, "services: [" if spoil == "broken" else "services: [{name: UPPER}]")
        await eventually(lambda: desk.parts.sources.file_fault)
        assert desk.services() == ["web"]
        desk.write_services("shop")
        await eventually(lambda: desk.services() == ["shop"])
        assert desk.parts.sources.file_fault == ""


async def test_without_a_catalog_there_are_no_services(tmp_path: Path) -> None:
    desk = Desk(tmp_path, catalog={"file": ""})
    async with following(desk):
        assert desk.parts.sources.settled
        assert desk.services() == []
        desk.write_config(catalog={"file": str(desk.catalog)})
        await eventually(lambda: desk.services() == ["web"])


async def test_another_catalog_file_is_followed_from_then_on(desk: Desk) -> None:
    other = desk.folder / "other.yaml"
    desk.write_services("shop", path=other)
    async with following(desk):
        desk.write_config(catalog={"file": str(other)})
        await eventually(lambda: desk.services() == ["shop"])
        desk.write_services("till", path=other)
        await eventually(lambda: desk.services() == ["till"])
        desk.write_services("web", "web2")
        await a_few_looks()
        assert desk.services() == ["till"]  # nobody looks there any more
        desk.write_config(catalog={"file": "/nonexistent/x.yaml"})
        await eventually(lambda: desk.parts.sources.file_fault)
        assert desk.services() == ["till"]
        desk.write_config(catalog={"file": ""})
        await eventually(lambda: desk.services() == [])
        assert desk.parts.sources.file_fault == ""


# Settings


async def test_a_setting_that_can_hold_at_once_does_and_workers_hear_it(desk: Desk) -> None:
    async with following(desk):
        first = desk.said(Settings)
        assert first == [Settings(desk.setting.config, desk.settings["paths"]["control"])]
        desk.write_config(timeouts={"idle_s": 7}, exclude={"outbound_ports": [9000]}, passthrough="deny")
        await eventually(lambda: desk.parts.config.timeouts.idle_s == 7)
        assert desk.parts.config.passthrough == "deny"
        assert desk.parts.config_fault == ""
        (told,) = desk.said(Settings)
        assert told.config == desk.parts.config
        assert desk.parts.registry.catcher.surroundings.outbound_ports == (9000,)


async def test_what_needs_a_restart_is_held_back_and_named_and_the_rest_holds(desk: Desk) -> None:
    ports = {"admin": 16003, "inbound": 16001}
    async with following(desk):
        before = desk.parts.config
        desk.write_config(ports=ports, workers=5, timeouts={"drain_s": 1})
        await eventually(lambda: desk.parts.config.timeouts.drain_s == 1)
        assert desk.parts.config.ports == before.ports
        assert desk.parts.config.workers == before.workers
        fault = desk.parts.config_fault
        assert fault == "workers, ports.inbound, ports.admin changed: restart the agent for that"
        desk.write_config(timeouts={"drain_s": 2})
        await eventually(lambda: desk.parts.config.timeouts.drain_s == 2)
        assert desk.parts.config_fault == fault  # it still waits
        desk.write_config(ports={}, workers=before.workers)
        await eventually(lambda: desk.parts.config_fault == "")
        assert desk.parts.config == msgspec.structs.replace(before, timeouts=desk.parts.config.timeouts)


async def test_only_what_needs_a_restart_is_told_to_nobody(desk: Desk) -> None:
    async with following(desk):
        for seat in desk.parts.fleet.seats:
            seat.waiting.clear()
        desk.write_config(rung="auto")
        await eventually(lambda: desk.parts.config_fault)
        assert desk.said(Settings) == []
        assert desk.parts.config == desk.setting.config


@pytest.mark.parametrize("spoil", ["broken", "unknown", "gone"])
async def test_a_spoilt_configuration_keeps_the_running_one(desk: Desk, spoil: str) -> None:
    async with following(desk):
        if spoil == "gone":
            desk.config.unlink()
        else:
            desk.write(desk.config, "rung: [" if spoil == "broken" else "drian_s: 3\nrung: maybe\n")
        await eventually(lambda: desk.parts.config_fault)
        assert desk.parts.config == desk.setting.config
        if spoil == "unknown":  # everything is said at once
            assert "drian_s" in desk.parts.config_fault
            assert "maybe" in desk.parts.config_fault
        desk.write_config(timeouts={"idle_s": 9})
        await eventually(lambda: desk.parts.config.timeouts.idle_s == 9)
        assert desk.parts.config_fault == ""


async def test_the_log_follows(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    async with following(desk):
        desk.write_config(log={"level": "error", "format": "text"})
        await eventually(lambda: desk.parts.config.log.level == "error")
        capsys.readouterr()
        desk.write_services("shop")
        await eventually(lambda: desk.services() == ["shop"])
        desk.write(desk.catalog, "services: 3")
        await eventually(lambda: desk.parts.sources.file_fault)
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1
        assert " error   the catalog file cannot be used" in lines[0]


async def test_no_secret_of_a_probe_is_in_the_log(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    async with following(desk):
        desk.write_config(health_checks=[{"service": "web", "headers": {"authorization": "s3cret"}}])
        await eventually(lambda: desk.parts.config.health_checks)
        desk.write_config(health_checks=[])
        await eventually(lambda: not desk.parts.config.health_checks)
    said = capsys.readouterr().err
    assert "headers={'authorization': '...'}" in said
    assert "s3cret" not in said


async def test_names_follow_their_settings(desk: Desk) -> None:
    async with following(desk):
        discovery = {**desk.settings["discovery"], "consul": {"datacenter": "north"}}
        desk.write_config(dns={"ttl_s": 7}, discovery=discovery)
        await eventually(lambda: desk.parts.naming.resolver.settings.ttl_s == 7)
        assert desk.parts.naming.resolver.datacenter == "north"


async def test_a_file_that_nobody_can_read_is_not_followed(tmp_path: Path) -> None:
    async with following(Desk(tmp_path, follows=False)) as desk:
        with trio.fail_after(1):
            await desk.upkeep.follow_config()  # at once
        desk.write_config(timeouts={"idle_s": 9})
        await a_few_looks()
        assert desk.parts.config.timeouts.idle_s == 3600


# What workers are told and tell


@pytest.mark.parametrize(("workers", "seats"), [("auto", 3), (2, 2), (0, 1)])
def test_so_many_workers(tmp_path: Path, workers: object, seats: int) -> None:
    fleet = Desk(tmp_path, workers=workers).parts.fleet
    assert (len(fleet.seats), fleet.inside) == (seats, workers == 0)


async def test_what_workers_count_is_added_up(desk: Desk) -> None:
    for seat in desk.parts.fleet.seats:
        tally = Tally([Count("outbound", "shop", "", Outcome.IDLE, 2, 0, 0)], [])
        await desk.upkeep._heard(seat, tally)
    assert desk.parts.sums.by_outcome() == {"idle": 4}


async def test_what_one_worker_saw_the_others_hear(desk: Desk) -> None:
    first, last = desk.parts.fleet.seats
    last.ready.set()
    now = desk.parts.breakers.clock()
    port, stand = "default/web:", Stand(now, True, now + 30, 1)
    await desk.upkeep._heard(first, Observed({port: {"a": Counts(0, 1, 0, 1)}}, {port: {"b": stand}}))
    assert desk.said(SeenElsewhere) == [SeenElsewhere({port: {"a": Counts(0, 1, 0, 1)}})]
    assert desk.said(KnowBreakers) == [KnowBreakers(port, {"b": stand}, {})]
    desk.parts.fleet.close()


async def test_a_private_agent_names_no_successor(tmp_path: Path) -> None:
    async with following(Desk(tmp_path, private=True)) as desk:
        (told,) = desk.said(Settings)
        assert told.successor == ""
        rules = desk.parts.registry.catcher.rules
        assert (rules.inbound_port, rules.outbound_port, rules.any_port) == (0, 0, True)


# Identities


async def test_workers_hear_of_a_certificate_until_its_workload_goes(desk: Desk) -> None:
    spec = Spec(name="shop", namespace="town", service_account="till")
    async with following(desk), trio.open_nursery() as nursery:
        await nursery.start(desk.upkeep.keep_identities)
        (told,) = desk.said(Trusted)
        assert list(told.bundles) == ["cluster.local"]
        await desk.parts.registry.entering(7, spec)
        (credentials,) = desk.said(Credentials)
        assert credentials.workload == 7 and len(credentials.chain) == 2
        assert credentials.spiffe_id == "spiffe://cluster.local/ns/town/sa/till"
        assert ("identity", 7) in desk.parts.fleet._table
        desk.parts.registry.left(7)
        (credentials,) = desk.said(Credentials)
        assert (credentials.chain, credentials.key) == ((), b"")
        assert ("identity", 7) not in desk.parts.fleet._table
        nursery.cancel_scope.cancel()


async def test_lives_are_as_the_file_says_from_the_next_certificate_on(desk: Desk) -> None:
    async with following(desk), trio.open_nursery() as nursery:
        await nursery.start(desk.upkeep.keep_identities)
        await desk.parts.registry.entering(7, Spec(name="shop"))
        (before,) = desk.said(Credentials)
        identity = {"directory": str(desk.folder / "identity"), "life_s": 600, "trust_domain": "other"}
        desk.write_config(identity=identity)
        await eventually(lambda: desk.parts.config.identity.life_s == 600)
        assert desk.parts.config.identity.trust_domain == "cluster.local", "that waits for a restart"
        assert "identity.trust_domain changed" in desk.parts.config_fault
        await desk.parts.identities.rotate()
        (after,) = desk.said(Credentials)
        assert after.not_after < before.not_after - 80_000
        nursery.cancel_scope.cancel()


# Without a kernel


async def test_nft_alone_loads_nothing(desk: Desk) -> None:
    async with following(desk):
        assert desk.parts.kernel is None
        assert desk.parts.why_no_ebpf == "configured (rung: nft)"
        assert desk.said(Maps) == []


@pytest.mark.parametrize("rung", ["auto", "ebpf"])
async def test_where_ebpf_is_refused_nft_takes_over_unless_only_ebpf_would_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rung: str
) -> None:
    async def refuse(pins: Path | None, cache: Path | None) -> None:
        await trio.lowlevel.checkpoint()
        raise KernelRefused("this kernel is from 1991")

    monkeypatch.setattr(module, "open_kernel", refuse)
    desk = Desk(tmp_path, rung=rung)
    if rung == "ebpf":
        with pytest.raises(KernelRefused, match="1991"):
            await desk.upkeep.open_kernel()
        return
    async with following(desk):
        assert desk.parts.kernel is None
        assert desk.parts.why_no_ebpf == "this kernel is from 1991"
        assert desk.services() == ["web"]
