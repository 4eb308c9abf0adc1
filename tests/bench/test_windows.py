"""Core. Calm windows are chosen by the host's clock alone, pooled, and shown only when there are enough."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench import windows as bench
from tests.bench.sample import Machine, Run, Sample
from tests.bench.windows import Window, pooled

MACHINE = Machine("6", "x", 2, "", "", {})
CALM, STORM = bench.STOLEN_MOST_US, bench.STOLEN_MOST_US + 1
found_windows = st.lists(
    st.builds(Window, st.floats(0, 200), st.lists(st.floats(0, 1e6), max_size=5).map(tuple)), max_size=20
)


def many(stolen_us: float, trip_us: float, count: int = bench.WINDOWS_LEAST) -> tuple[Window, ...]:
    return (Window(stolen_us, (trip_us,) * (bench.SAMPLES_LEAST // bench.WINDOWS_LEAST)),) * count


def run_of(*samples: tuple[str, float, tuple[Window, ...]]) -> Run:
    made = [
        Sample("rate-1000", peer, number, {"foreign_share": foreign, "roundtrip_p50_us": 1.0}, windows)
        for number, (peer, foreign, windows) in enumerate(samples, 1)
    ]
    return Run(MACHINE, 1, 3, tuple(made), ())


def test_only_windows_in_which_the_host_took_next_to_nothing_count() -> None:
    pool = pooled([Window(CALM, (3.0, 1.0)), Window(STORM, (9.0,)), Window(0, (2.0,))])
    assert (pool.windows, pool.calm, pool.trips_us) == (3, 2, [1.0, 2.0, 3.0])


@given(found_windows)
def test_the_choice_does_not_look_at_what_was_measured(found: list[Window]) -> None:
    blind = [Window(window.stolen_us, (0.0,) * len(window.trips_us)) for window in found]
    assert (pooled(found).calm, len(pooled(found).trips_us)) == (
        pooled(blind).calm,
        len(pooled(blind).trips_us),
    )


@pytest.mark.parametrize(
    ("found", "enough"),
    [
        (many(0, 5), True),
        (many(0, 5, bench.WINDOWS_LEAST - 1), False),
        ((*many(0, 5, bench.WINDOWS_LEAST - 1), Window(0, (5.0,))), False),
        (many(STORM, 5), False),
    ],
)
def test_of_few_windows_or_few_samples_no_percentile_is_told(found: tuple[Window, ...], enough: bool) -> None:
    numbers = pooled(found).numbers
    assert pooled(found).is_enough is enough
    assert ("calm_p99_us" in numbers) is enough
    assert numbers["windows"] == len(found)


def test_without_windows_nothing_is_told() -> None:
    assert pooled([]).numbers == {}


def test_the_share_that_was_kept_is_told() -> None:
    numbers = pooled(many(0, 5) + many(STORM, 7)).numbers
    assert (numbers["windows"], numbers["calm_windows"], numbers["calm_percent"]) == (40, 20, 50.0)
    assert numbers["calm_p99_us"] == 5.0


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=300), st.sampled_from([0.5, 0.99]))
def test_a_percentile_is_the_smallest_value_that_its_share_does_not_exceed(
    values: list[int], share: float
) -> None:
    ordered = sorted(values)
    found = bench.percentile(ordered, share)
    assert sum(value <= found for value in values) >= share * len(values)
    assert sum(value < found for value in values) < share * len(values)


def test_a_percentile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no values"):
        bench.percentile([], 0.5)


def test_windows_of_all_rounds_are_put_together_by_peer() -> None:
    half = bench.WINDOWS_LEAST // 2
    run = run_of(
        ("unmeshed", 0, many(0, 10, half)), ("p", 0, many(0, 30, half)), ("unmeshed", 0, many(0, 10, half)),
        ("p", 0, many(0, 30, half)), ("p", 0, many(STORM, 99)),
    )  # fmt: skip
    added = run.difference("rate-1000", "calm_p99_us", peer="p", base="unmeshed")
    assert added is not None
    assert added.median == 20
    assert run.doubts("rate-1000", "p", "roundtrip_p50_us") == []


def test_a_turn_that_others_disturbed_has_no_calm_window() -> None:
    run = run_of(("p", 0.5, many(0, 10)))
    assert run.pool("rate-1000", "p").calm == 0
    assert run.by_round("rate-1000", "p", "calm_p99_us") == {}
    assert run.doubts("rate-1000", "p", "roundtrip_p50_us")[-1] == (
        "only 0 of 20 windows calm: the host was too noisy to tell"
    )
