"""What must survive a restart does, and a file is there only if something must."""

import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from meshtrio.catalog.merge import Merge
from meshtrio.catalog.registered import NotOpen
from meshtrio.catalog.registrant import Where, read_registrant
from meshtrio.catalog.vips import Vips
from meshtrio.config.discovery import Registration
from meshtrio.discover.hub import Hub
from meshtrio.discover.state import Store
from meshtrio.registering import Registering

WHERE = Where("orders", "default", "one")
BODY = b'{"address": "10.0.0.1:8080"}'


class One:
    """One agent's worth of it."""

    def __init__(self, state: str) -> None:
        self.vips = Vips()
        self.hub = Hub(Merge(self.vips), lambda snapshot: None)
        self.registering = Registering(Registration(state=state), self.hub, self.vips)

    async def has(self, *addresses: str) -> None:
        """Wait until exactly these endpoints are in the catalog."""
        with trio.fail_after(3):
            while [str(e.address) for one in self.hub.snapshot for e in one.endpoints] != [*addresses]:
                await trio.sleep(0.01)
                self.hub.publish_now()


@asynccontextmanager
async def running(state: Path | str) -> AsyncIterator[One]:
    one = One(str(state))
    await one.registering.recall()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.registering.run)
        yield one
        nursery.cancel_scope.cancel()


async def test_an_agent_to_whom_nobody_registers_has_no_file(tmp_path: Path) -> None:
    async with running(tmp_path / "state.db") as one:
        await trio.testing.wait_all_tasks_blocked()
        assert "registered" not in one.hub.streams
    assert not await trio.Path(tmp_path / "state.db").exists()


async def test_a_dead_disk_does_not_hold_the_start_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(self: Store) -> dict[str, int]:
        await trio.sleep_forever()
        raise AssertionError

    (tmp_path / "state.db").touch()
    monkeypatch.setattr(Store, "vips", never)
    monkeypatch.setattr("meshtrio.registering.RECALL_S", 0.05)
    with trio.fail_after(3):
        async with running(tmp_path / "state.db"):
            pass


async def test_a_registration_survives_and_so_does_its_virtual_ip(tmp_path: Path) -> None:
    state = tmp_path / "state.db"
    async with running(state) as one:
        with trio.fail_after(5):
            registrar = await one.registering.registrar()
            assert (await registrar.put(read_registrant(WHERE, BODY))).created
        await one.has("10.0.0.1:8080")
        before = [service.vips for service in one.hub.snapshot]
    assert stat.S_IMODE(state.stat().st_mode) == 0o600
    async with running(state) as again:
        with trio.fail_after(5):
            await again.registering.registrar()
        await again.has("10.0.0.1:8080")
        assert [service.vips for service in again.hub.snapshot] == before
        assert again.vips.fresh == {}
    assert one.registering.fault == ""


async def test_without_a_file_nothing_survives_and_all_works() -> None:
    async with running("") as one:
        with trio.fail_after(5):
            registrar = await one.registering.registrar()
            assert (await registrar.put(read_registrant(WHERE, BODY))).created
        await one.has("10.0.0.1:8080")


async def test_numbers_of_virtual_ips_are_kept_by_themselves(tmp_path: Path) -> None:
    state = tmp_path / "state.db"
    async with running(state) as one:
        one.vips.of("default/orders")
        one.vips.of("default/till")
    async with running(state) as again:
        # Another hash would begin elsewhere: only what was kept can be the same for a name that is taken.
        assert again.vips.of("default/till") == one.vips.of("default/till")
        assert again.vips.fresh == {}


async def test_who_comes_too_late_is_told(tmp_path: Path) -> None:
    async with running(tmp_path / "state.db") as one:
        pass
    with trio.fail_after(2), pytest.raises(NotOpen, match="ending"):
        await one.registering.registrar()
