"""World. What an Upkeep does with a real kernel: its maps follow the files."""

import os
import struct
from pathlib import Path

import msgspec
import pytest
import trio

from meshtrio import neighbours
from meshtrio import upkeep as module
from meshtrio.address import Address
from meshtrio.discover import file
from meshtrio.intercept import bpf, tables
from meshtrio.intercept.layout import PLACE_BYTES, excluded_port_key, listener, place, port_key
from tests.support.desk import VIP, Desk, eventually, following
from tests.support.residents import credentials, granting_config, two_spaces

pytestmark = pytest.mark.kernel


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often: the clock is the real one, for files are read in a thread."""
    monkeypatch.setattr(file, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(file, "SETTLE_S", 0.01)


@pytest.fixture
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One compile cache a session, so that the text is compiled once."""
    folder = tmp_path_factory.getbasetemp() / "bpf-cache"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


async def test_with_a_kernel_its_maps_follow_services_and_settings(tmp_path: Path, cache: Path) -> None:
    paths = {"pins": str(tmp_path / "no-bpffs"), "cache": str(cache)}
    desk = Desk(tmp_path, rung="ebpf", exclude={"outbound_ports": [9000]}, paths=paths)
    async with following(desk):
        kernel = desk.parts.kernel
        assert kernel is not None
        assert kernel.pins is None
        assert "is not on a bpffs" in desk.parts.pinning_fault
        assert desk.parts.registry.catcher.kernel is kernel

        def services() -> set[Address]:
            return {Address.unpack(key) for key in bpf.keys(kernel.maps["services"], 18)}

        def excluded(port: int) -> bool:
            return bpf.look_up(kernel.maps["excluded_ports"], excluded_port_key(1, port), 1) is not None

        assert services() == {VIP, Address.of("127.0.0.1", 8080)}
        assert excluded(9000)
        assert [len(held) for _, held in desk.parts.fleet._table.values()] == [5, 0]
        desk.write_services()
        desk.write_config(exclude={"outbound_ports": [9001]})
        await eventually(lambda: excluded(9001) and not services())
        assert not excluded(9000)


async def test_too_many_exclusions_are_a_fault_and_not_the_end(tmp_path: Path, cache: Path) -> None:
    desk = Desk(tmp_path, private=True, rung="ebpf", paths={"cache": str(cache)})
    async with following(desk):
        cidrs = [f"10.{number >> 8}.{number & 255}.0/24" for number in range(5000)]
        desk.write_config(exclude={"outbound_cidrs": cidrs}, timeouts={"idle_s": 7})
        await eventually(lambda: desk.parts.config_fault)
        assert "exclude.outbound_cidrs has 5000 networks" in desk.parts.config_fault
        desk.write_config(exclude={"outbound_cidrs": cidrs[:10]})
        await eventually(lambda: desk.parts.config_fault == "")
        assert desk.parts.kernel is not None
        assert len(list(bpf.keys(desk.parts.kernel.maps["excluded_networks"], 20))) == 10


async def test_before_hooks_forget_a_workload_nobody_has_a_grant_to_go_there(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = msgspec.to_builtins(granting_config())
    kept = {name: settings[name] for name in ("mtls", "traffic")}
    monkeypatch.setattr(neighbours, "LISTENED_S", 0.0)
    desk = Desk(tmp_path, private=True, rung="ebpf", paths={"cache": str(cache)}, **kept)
    async with following(desk):
        registry, direct, kernel = desk.parts.registry, desk.parts.direct, desk.parts.kernel
        assert kernel is not None
        with two_spaces(kernel.maps["ports"]) as here:
            here.reside(1, here.left)
            here.reside(2, here.left, "auto")
            here.listen(2, here.left, 8080)
            registry._workloads = {one.spec.name: one for one in here.workloads}
            for number, account in ((1, "cart"), (2, "orders")):
                direct.hear(credentials(number, account))
            direct.begin()

            def grants() -> int:
                return direct.summaries()["direct"]["grants"]

            assert grants() == 1
            for port, left in ((8080, 0), (8081, 1), (8080, 0)):
                desk.write_config(exclude={"inbound_ports": [port]})
                await eventually(lambda: grants() == left)  # noqa: B023 (called at once)
            desk.write_config(exclude={"inbound_ports": []})
            await eventually(lambda: grants() == 1)
            registry.leaving(2)
            assert grants() == 0
            registry._workloads = {}


async def test_dials_of_dead_workers_are_buried_and_old_ports_swept(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SWEEP_S", 0.02)
    monkeypatch.setattr(tables.Ports.sweep, "__defaults__", (2,))
    desk = Desk(tmp_path, private=True, rung="ebpf", paths={"cache": str(cache)})
    async with following(desk), trio.open_nursery() as sweeping:
        assert desk.parts.kernel is not None
        dials, ports = (desk.parts.kernel.maps[name] for name in ("our_dials", "ports"))
        for number, pid in ((1, os.getpid()), (2, 1 << 30)):
            bpf.update(dials, place(1, Address.of("127.0.0.1", number)), struct.pack("<Q", pid))
        desk.parts.fleet.buried()
        assert list(bpf.keys(dials, PLACE_BYTES)) == [place(1, Address.of("127.0.0.1", 1))]
        for number in range(4):
            bpf.update(ports, port_key(1, number), listener(7, int(number == 0)))
        sweeping.start_soon(desk.upkeep.sweep)
        await eventually(lambda: list(bpf.keys(ports, 16)) == [port_key(1, 0)])
        sweeping.cancel_scope.cancel()
