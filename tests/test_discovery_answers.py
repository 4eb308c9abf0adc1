"""What is answered of sources and their streams, and the metrics of it, by a real hub."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.address import Address
from meshtrio.catalog.merge import SOURCES, Level
from meshtrio.catalog.service import Health
from meshtrio.discovery_answers import ROWS, SERIES, discovery, gauges, levels, sources, stale_since, summary
from tests.support.catalog_desk import NOW, Desk, endpoint, service, shop

Series = dict[tuple[str, ...], float]


def series(desk: Desk) -> Series:
    found = {(one.name, *one.labels.values()): one.value for one in gauges(desk.hub, NOW)}
    assert len(found) == len(gauges(desk.hub, NOW)), "two of the same name and labels"
    return found


def test_each_configured_source_in_the_order_of_belief() -> None:
    assert [(one["source"], one["state"], one["lost"]) for one in sources(shop().hub)] == [
        ("kubernetes", "live", False),
        ("consul", "lost", True),
        ("file", "live", False),
    ]


@pytest.mark.parametrize(
    ("streams", "state"),
    [
        ([], "starting"),
        (["starting"], "starting"),
        (["live", "starting"], "starting"),
        (["live", "retrying"], "retrying"),
        (["retrying", "refused"], "refused"),
        (["live"], "live"),
    ],
)
def test_the_worst_stream_says_how_a_source_is(streams: list[str], state: str) -> None:
    desk = Desk()
    sink = desk.hub.sink("consul")
    for at, how in enumerate(streams):
        stream = sink.stream(str(at))
        if how == "live":
            stream.lives("1", NOW)
        elif how != "starting":
            stream.failed("no", NOW, refused=how == "refused")
    (one,) = sources(desk.hub)
    assert (one["state"], one["streams"], one["live"]) == (state, len(streams), streams.count("live"))


def test_since_when_it_is_stale() -> None:
    desk = Desk()
    assert stale_since(desk.hub, "consul") == 0.0
    desk.lose("consul", NOW - 60)
    other = desk.hub.sink("consul").stream("other")
    other.since = NOW - 90
    assert stale_since(desk.hub, "consul") == NOW - 90
    other.lives("1", NOW - 30)
    assert stale_since(desk.hub, "consul") == NOW - 60
    desk.hub.sink("consul").stream("watch").lives("1", NOW - 1)
    # All well again, and not yet for long enough.
    assert stale_since(desk.hub, "consul") == NOW - 30
    desk.hub.merge.lose("consul", lost=False)
    assert stale_since(desk.hub, "consul") == 0.0


def test_streams_that_are_not_well_come_first_and_rows_are_bounded() -> None:
    desk = shop()
    sink = desk.hub.sink("consul")
    for at in range(ROWS):
        sink.stream(f"s{at:04}").lives("1", NOW)
    told = discovery(desk.hub)
    rows = told["streams"]
    assert isinstance(rows, list)
    assert (len(rows), told["omitted"]) == (ROWS, 3)
    assert (rows[0]["name"], rows[1]["source"], rows[1]["name"], rows[2]["name"]) == (
        "watch",
        "kubernetes",
        "pods",
        "s0000",
    )


def test_status_has_less_of_it() -> None:
    assert summary(shop().hub) == {"sources": sources(shop().hub), "levels": levels(shop().hub)}


SAID = st.dictionaries(
    st.sampled_from(SOURCES),
    st.dictionaries(st.sampled_from(["a", "b", "c"]), st.integers(0, 2), max_size=3),
)


@given(SAID, st.sets(st.sampled_from(SOURCES)), st.sets(st.sampled_from(["a", "b", "c"])))
def test_levels_are_what_merge_says_of_each(
    said: dict[str, dict[str, int]], lost: set[str], dead: set[str]
) -> None:
    desk = Desk()
    for at, (source, services) in enumerate(said.items()):
        hosts = {
            name: [endpoint(f"10.{at}.0.{low}") for low in range(count)] for name, count in services.items()
        }
        desk.say(source, *(service(name, *found) for name, found in hosts.items()))
        for name in dead & hosts.keys():
            for one in hosts[name]:
                desk.hub.probed(f"default/{name}", one.address, Health.UNHEALTHY)
    for source in lost:
        desk.hub._unpublished.add(desk.hub.merge.lose(source, lost=True))
    desk.hub.publish_now()
    counted = [desk.hub.merge.level(service.key) for service in desk.hub.snapshot]
    assert levels(desk.hub) == {level.value: counted.count(level) for level in Level}


def test_the_metrics_of_a_shop() -> None:
    found = series(shop())
    assert {key: value for key, value in found.items() if "stream" not in key[0]} == {
        ("meshtrio_services_by_level", "live"): 3,
        ("meshtrio_services_by_level", "last_known"): 1,
        ("meshtrio_services_by_level", "dns"): 0,
        ("meshtrio_services_by_level", "static"): 1,
        ("meshtrio_endpoints", "healthy"): 4,
        ("meshtrio_endpoints", "warning"): 0,
        ("meshtrio_endpoints", "unknown"): 0,
        ("meshtrio_endpoints", "unhealthy"): 2,
        ("meshtrio_discovery_source_lost", "kubernetes"): 0,
        ("meshtrio_discovery_source_lost", "consul"): 1,
        ("meshtrio_discovery_source_lost", "file"): 0,
        ("meshtrio_catalog_staleness_seconds", "kubernetes"): 0,
        ("meshtrio_catalog_staleness_seconds", "consul"): 245,
        ("meshtrio_catalog_staleness_seconds", "file"): 0,
    }
    stream = "meshtrio_discovery_stream"
    assert {key[0]: value for key, value in found.items() if key[1:] == ("kubernetes", "pods")} == {
        f"{stream}_up": 1,
        f"{stream}_events_total": 310,
        f"{stream}_errors_total": 0,
        f"{stream}_skipped_total": 1,
        f"{stream}_last_event_seconds": 12,
    }
    assert {key[0]: value for key, value in found.items() if key[1:] == ("consul", "watch")} == {
        f"{stream}_up": 0,
        f"{stream}_events_total": 0,
        f"{stream}_errors_total": 1,
        f"{stream}_skipped_total": 0,
    }


def test_what_only_grows_is_said_to() -> None:
    assert {one.name for one in gauges(shop().hub, NOW) if one.grows} == {
        f"meshtrio_discovery_stream_{what}_total" for what in ("events", "errors", "skipped")
    }


def test_a_source_of_many_streams_has_few_series() -> None:
    desk = Desk()
    sink = desk.hub.sink("consul")
    for at in range(SERIES + 50):
        stream = sink.stream(f"s{at:04}")
        stream.lives("1", NOW)
        stream.heard(1, NOW - at)
    found = series(desk)
    ups = [key for key in found if key[0] == "meshtrio_discovery_stream_up"]
    assert len(ups) == SERIES + 1
    assert found["meshtrio_discovery_stream_events_total", "consul", "other"] == 50
    assert found["meshtrio_discovery_stream_last_event_seconds", "consul", "other"] == SERIES
    assert found["meshtrio_discovery_stream_up", "consul", "other"] == 1
    stream.failed("no", NOW)
    assert series(desk)["meshtrio_discovery_stream_up", "consul", "other"] == 0


def test_a_scrape_costs_little_for_many() -> None:
    desk = Desk()
    many = (
        service(f"s{at}", *(endpoint(f"10.{at >> 8}.{at & 255}.{low}") for low in range(10)))
        for at in range(5000)
    )
    desk.say("kubernetes", *many)
    best_s = 1.0
    for _ in range(5):
        began = time.process_time()
        gauges(desk.hub, NOW)
        best_s = min(best_s, time.process_time() - began)
    assert best_s < 0.05  # 0.006 s on a quiet machine


def test_a_lost_source_that_gave_way_is_counted_by_who_speaks_now() -> None:
    desk = Desk()
    desk.say("kubernetes", service("a", endpoint("10.0.0.1")), service("b", endpoint("10.0.0.2")))
    desk.say("file", service("a", endpoint("10.0.1.1")))
    desk.hub._unpublished.add(desk.hub.merge.lose("kubernetes", lost=True))
    desk.probes("default/a", Address.of("10.0.0.1", 8080), Health.UNHEALTHY)
    assert levels(desk.hub) == {"live": 0, "last_known": 1, "dns": 0, "static": 1}
