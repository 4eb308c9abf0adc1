"""World. Who gives workloads their identity hears of them before they are caught, and when they have gone."""

from collections.abc import Iterator

import pytest
import trio

from meshtrio.intercept.kernel import Kernel
from meshtrio.intercept.workload import Spec, WorkloadError
from tests.intercept.node import RUNGS, Place, a_place, node

pytestmark = [pytest.mark.kernel, pytest.mark.world]

each_rung = pytest.mark.parametrize("rung", RUNGS)


@pytest.fixture
def place() -> Iterator[Place]:
    with a_place() as made:
        yield made


@each_rung
async def test_identities_are_there_before_a_workload_is_caught(
    rung: str, kernel: Kernel, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with node(kernel, rung=rung, show_callers=True) as made:
        said: list[str] = []

        async def enters(number: int, spec: Spec) -> None:
            await trio.lowlevel.checkpoint()
            said.append(f"{spec.name} {number} with {len(made.doors())} doors")

        made.registry.entering = enters
        made.registry.left = lambda number: said.append(f"{number} left")
        shop = await made.registry.add(place.spec())
        await made.registry.remove(await made.registry.catch_no_more("shop"))
        assert said == [f"shop {shop.id} with 0 doors", f"{shop.id} left"]

        async def fails(*_: object) -> None:
            await trio.lowlevel.checkpoint()
            raise OSError("no")

        said.clear()
        monkeypatch.setattr(made.registry.catcher, "catch", fails)
        with pytest.raises(WorkloadError):
            await made.registry.add(place.spec())
        assert said == [f"shop {shop.id + 1} with 0 doors", f"{shop.id + 1} left"]
