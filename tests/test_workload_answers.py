"""World. What is told of a workload that asks for more, or less, than others."""

from pathlib import Path
from typing import Any

import pytest

from meshtrio.accelerating import Accelerating
from meshtrio.config.schema import Config, Paths
from meshtrio.intercept.kernel import Kernel
from meshtrio.workload_answers import described
from tests.bpf import fixtures
from tests.intercept.node import a_place, node

cache, kernel = fixtures.cache, fixtures.kernel


@pytest.mark.kernel
@pytest.mark.world
@pytest.mark.parametrize("wish", ["auto", "off", "r5"])
async def test_its_wish_and_what_became_of_it(wish: str, kernel: Kernel, tmp_path: Path) -> None:
    accelerating = Accelerating(Config(paths=Paths(cache=str(tmp_path))))
    with a_place() as place:
        async with node(kernel, rung="ebpf") as there:
            added = await there.registry.add(place.spec(acceleration=wish))
            told: Any = described(added, accelerating)
    assert told["acceleration"] == wish
    assert (told["accelerated"], told["why_no_faster"]) == accelerating.workload(added)
