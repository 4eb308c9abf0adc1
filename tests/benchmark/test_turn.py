"""Shell. A turn gives the load's numbers and the proxy's time; a load that fails is told."""

import os
from pathlib import Path

import pytest

from meshtrio.benchmark import turn
from meshtrio.benchmark.cores import choose_cores
from meshtrio.benchmark.peers import standing
from meshtrio.benchmark.process import ProcessFailed
from meshtrio.benchmark.scenario import SCENARIOS

pytestmark = pytest.mark.world

CORES = choose_cores(os.sched_getaffinity(0))
LOADS = {one.name: one for one in SCENARIOS}


def test_every_load_gives_its_numbers_through_the_mesh(tmp_path: Path) -> None:
    with standing("ebpf", tmp_path, CORES) as one:
        rest = turn.memory(one, "_rss")
        for name, scenario in LOADS.items():
            numbers = turn.take(one, scenario, 0.2) | (rest if scenario.is_memory else {})
            wanted = {metric.key for metric in scenario.metrics if not metric.key.startswith("proxy_rss")}
            assert wanted <= set(numbers), name
            if not scenario.is_memory:
                assert numbers["proxy_us"] >= numbers["proxy_kernel_us"] >= 0
                assert 0 < numbers["proxy_core_share"] < 2
        assert turn.take(one, LOADS["memory"], 0.2)["worker_rss_1k"] > rest["worker_rss"] > 5


def test_unmeshed_there_is_no_proxy_and_a_load_that_fails_is_told(tmp_path: Path) -> None:
    with standing("unmeshed", tmp_path, CORES) as one:
        numbers = turn.take(one, LOADS["roundtrip"], 0.2)
        assert (numbers["proxy_us"], turn.memory(one, "_rss")) == (0, {})
        nobody = one._replace(dial=("127.0.0.1", 9))
        with pytest.raises(ProcessFailed, match=r"roundtrip: \[Errno 111\]"):
            turn.take(nobody, LOADS["roundtrip"], 0.2)
