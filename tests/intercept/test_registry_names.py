"""World. A workload's name, when the last one that bore it is on its way out."""

import pytest
import trio
import trio.testing

from meshtrio.address import Address
from meshtrio.intercept import registry
from meshtrio.intercept.kernel import Kernel
from meshtrio.intercept.workload import WorkloadError
from tests.intercept.node import RUNGS, VIP, a_place, node

pytestmark = [pytest.mark.kernel, pytest.mark.world]


@pytest.mark.parametrize("rung", RUNGS)
async def test_a_name_is_free_again_when_nothing_bears_it_any_more(
    rung: str, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cgroup and rules bear the name: the old ones' removal must not take the new ones away."""
    with a_place() as place:
        async with node(kernel, rung=rung) as made, trio.open_nursery() as nursery:
            await made.registry.add(place.spec())
            old = await made.registry.catch_no_more("shop")
            nursery.start_soon(made.registry.add, place.spec())
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert made.registry.get("shop") is None
            assert await made.registry.remove(old)
            with trio.fail_after(5):
                while made.registry.get("shop") is None:
                    await trio.sleep(0.01)
            again = made.registry.get("shop")
            assert again is not None
            assert place.caught(again, VIP) == Address.of(VIP, 80)
            monkeypatch.setattr(registry, "NAME_S", 0.05)
            await made.registry.catch_no_more("shop")
            with pytest.raises(WorkloadError, match="still drain"):
                await made.registry.add(place.spec())
            assert await made.registry.remove(again)
