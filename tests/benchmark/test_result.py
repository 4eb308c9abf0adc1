"""Core. Samples of a run: summarised, compared round by round, doubted."""

import pytest

from meshtrio.benchmark.result import BASE, Machine, Run, Sample

MACHINE = Machine("6.1", "a processor", 2, "proxy on core 0", "2026-01-01 00:00 UTC", 0.5, "3.11.2")


def run(**values: list[float]) -> Run:
    """Make a run of one scenario with these p50 of each peer, one a round."""
    samples = [
        Sample("rate", peer, number, {"p50_us": value, "steal_share": 0.0, "foreign_share": 0.0})
        for peer, found in values.items()
        for number, value in enumerate(found, 1)
    ]
    return Run(MACHINE, 1.0, 3, tuple(samples))


def test_ratios_and_differences_are_of_the_same_round() -> None:
    # The second round was slow for both.
    found = run(unmeshed=[10, 100, 11], ebpf=[20, 200, 22])
    ratio, added = found.ratio("rate", "ebpf", "p50_us"), found.added("rate", "ebpf", "p50_us")
    assert ratio is not None and added is not None
    assert (ratio.low, ratio.median, ratio.high) == (2, 2, 2)
    assert (added.low, added.median, added.high) == (10, 11, 100)
    spread = found.spread("rate", "ebpf", "p50_us")
    assert spread is not None and spread.median == 22
    assert (found.peers, found.scenarios) == ([BASE, "ebpf"], ["rate"])


def test_the_base_is_not_compared_with_itself_and_what_is_missing_is_none() -> None:
    found = run(unmeshed=[10], ebpf=[20])
    assert found.ratio("rate", BASE, "p50_us") is None
    assert found.added("rate", BASE, "p50_us") is None
    assert found.spread("rate", "nft", "p50_us") is None
    assert found.doubts("rate", "nft", "p50_us") == []


@pytest.mark.parametrize(
    ("steal", "foreign", "why"),
    [
        (0.0, 0.0, []),
        (0.05, 0.0, ["5.0% of the machine stolen by its host"]),
        (0.0, 0.5, ["others used 50% of a core"]),
    ],
)
def test_one_noisy_turn_is_enough_to_doubt(steal: float, foreign: float, why: list[str]) -> None:
    calm = run(unmeshed=[10, 10, 10])
    last = calm.samples[-1].numbers | {"steal_share": steal, "foreign_share": foreign}
    samples = (*calm.samples[:-1], Sample("rate", BASE, 3, last))
    assert Run(MACHINE, 1.0, 3, samples).doubts("rate", BASE, "p50_us") == why
