"""The CA as a whole: its names, other roots in its files, and its end."""

import os
import signal

import pytest
import trio

from meshtrio.ca import process
from meshtrio.ca.process import Wish, names_of
from meshtrio.ca.root import found_root, place_of
from meshtrio.identity.bundle import read_bundle
from meshtrio.issuers.root_file import RootError, replace_root
from meshtrio.issuers.signing import fresh_root
from meshtrio.observe.log import wall_now
from tests.support.ca_world import World


def test_the_names_it_goes_by() -> None:
    everywhere = names_of(Wish("::", 1, ("ca.example", "192.0.2.7")), "Host")
    assert everywhere.dns == ("ca.example", "localhost", "host")
    assert everywhere.addresses == ("192.0.2.7", "127.0.0.1", "::1")
    here = names_of(Wish("192.0.2.7", 1), "host")
    assert (here.dns, here.addresses) == ((), ("192.0.2.7",))


async def test_another_root_in_the_files_is_told_and_signs(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "LOOK_S", 0.02)
    async with world.running():
        agent = world.agent(token=world.token())
        await agent.get()
        settings = world.config.identity
        old = found_root(settings, wall_now())
        fresh = fresh_root("td", wall_now(), 300)
        replace_root(place_of(settings), old, fresh)
        with trio.fail_after(5):
            while len(read_bundle("td", (await world.ask("GET", "/v1/bundle")).content).anchors) < 2:
                await trio.sleep(0.02)
        # The node's certificate below the old root is good still, and so is the way to the new one.
        await agent.get()
        async with world.client() as client:
            place_of(settings).certificates.write_text("broken")
            await trio.sleep(0.1)
            assert (await client.get("/healthz")).status_code == 200


async def test_a_broken_root_is_no_start(world: World) -> None:
    async with world.running():
        pass
    world.root.write_text("broken")
    with pytest.raises(RootError):
        process.Office(world.config, Wish("127.0.0.1", 0))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it(world: World, number: int) -> None:
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            await nursery.start(process.run, world.config, Wish("127.0.0.1", 0))
            os.kill(os.getpid(), number)
