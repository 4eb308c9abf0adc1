"""Who is probed, when, and what answers mean."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.address import Address
from meshtrio.catalog.probing import (
    COUNTS,
    NEXT,
    TEXT_CHARS,
    UNCHECKED,
    Finding,
    Manner,
    Standing,
    Target,
    Turn,
    after,
    by_service,
    first_due,
    manner_of,
    next_due,
    targets,
    told,
    worst,
)
from meshtrio.catalog.service import Endpoint, Health, Service, ServicePort
from meshtrio.config.discovery import HealthCheck

FOUND = (Health.UNKNOWN, Health.HEALTHY, Health.UNHEALTHY)


def test_the_tables_are_total() -> None:
    assert set(NEXT) == set(itertools.product(FOUND, Turn))
    assert set(NEXT.values()) == set(FOUND)
    assert set(COUNTS) == set(itertools.product(Finding, (False, True)))


def run_of(answers: list[bool], manner: Manner) -> list[Health]:
    standing, seen = Standing(), []
    for good in answers:
        standing = after(standing, manner, good=good)
        seen.append(standing.health)
    return seen


U, H, X = Health.UNKNOWN, Health.HEALTHY, Health.UNHEALTHY


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ("++", [U, H]),
        ("---", [U, U, X]),
        ("+-+-+-+-", [U] * 8),
        ("++--+--+", [U, H, H, H, H, H, H, H]),
        ("++---", [U, H, H, H, X]),
        ("---+-++", [U, U, X, X, X, X, H]),
        ("---++--", [U, U, X, X, H, H, H]),
    ],
)
def test_two_good_ones_raise_and_three_bad_ones_fell(answers: str, expected: list[Health]) -> None:
    assert run_of([one == "+" for one in answers], Manner(rise=2, fall=3)) == expected


@given(answers=st.lists(st.booleans(), max_size=30), rise=st.integers(1, 5), fall=st.integers(1, 5))
def test_health_is_what_the_last_long_enough_row_says(answers: list[bool], rise: int, fall: int) -> None:
    """The plain model: look back for the latest place where a row was long enough."""

    def model(so_far: list[bool]) -> Health:
        for end in range(len(so_far), 0, -1):
            if end >= rise and all(so_far[end - rise : end]):
                return H
            if end >= fall and not any(so_far[end - fall : end]):
                return X
        return U

    seen = run_of(answers, Manner(rise=rise, fall=fall))
    assert seen == [model(answers[: at + 1]) for at in range(len(answers))]


@given(found=st.lists(st.sampled_from(FOUND)))
def test_the_worst_of_several_probes_holds(found: list[Health]) -> None:
    if X in found:
        assert worst(found) is X
    else:
        assert worst(found) is (H if found and U not in found else U)


LUCK = st.floats(0, 1)


@given(luck=LUCK, interval_s=st.floats(0.1, 86_400), now=st.floats(0, 1e6))
def test_probes_come_when_they_should(luck: float, interval_s: float, now: float) -> None:
    manner = Manner(interval_s=interval_s)
    most = interval_s * 1.1 * 1.000001 + 1e-6
    assert now <= first_due(now, manner, luck, spread=False) <= now + min(1.0, interval_s) + 1e-6
    assert now <= first_due(now, manner, luck, spread=True) <= now + interval_s + 1e-6
    assert now + interval_s * 0.9 - 1e-6 <= next_due(now, manner, luck, changed=False) <= now + most
    assert now + interval_s * 0.45 - 1e-6 <= next_due(now, manner, luck, changed=True) <= now + most / 2


def test_luck_reaches_both_ends() -> None:
    manner = Manner(interval_s=10)
    assert [next_due(100, manner, luck, changed=False) for luck in (0, 0.5, 1)] == [109, 110, 111]
    assert [first_due(100, manner, luck, spread=True) for luck in (0, 1)] == [100, 110]
    assert [first_due(100, manner, luck, spread=False) for luck in (0, 1)] == [100, 101]


def at(host: int, port: int = 80) -> Address:
    return Address.of(f"10.0.0.{host}", port)


def web(*hosts: int, source: str = "kubernetes", namespace: str = "default") -> Service:
    def ends(port: int) -> tuple[Endpoint, ...]:
        return tuple(Endpoint(str(host), at(host, port), source=source) for host in hosts)

    return Service(
        "web",
        namespace,
        ports=(ServicePort("http", 80, ends(8080)), ServicePort("admin", 81, ends(9090))),
        source=source,
    )


HTTP = HealthCheck("web", type="http", port="http")
NO_LOSS: frozenset[str] = frozenset()
LOST = frozenset({"kubernetes"})


def test_nobody_is_probed_for_nothing() -> None:
    assert targets([web(1)], (), NO_LOSS) == ()
    assert targets([web(1, source="file")], (), LOST) == ()


def test_a_check_is_for_the_ports_it_names() -> None:
    assert targets([web(1, 2)], (HTTP,), NO_LOSS) == tuple(
        Target(at(host, 8080), manner_of(HTTP, "web")) for host in (1, 2)
    )
    every = HealthCheck("web")
    assert {one.address.port for one in targets([web(1)], (every,), NO_LOSS)} == {8080, 9090}


def test_several_checks_of_one_port_are_several_targets_and_equal_ones_are_one() -> None:
    tcp = HealthCheck("web", port="http")
    assert {one.manner.type for one in targets([web(1)], (HTTP, tcp, HTTP), NO_LOSS)} == {"http", "tcp"}
    assert len(targets([web(1), web(1)], (HTTP, tcp, HTTP), NO_LOSS)) == 2


def test_of_a_lost_source_everything_is_probed_and_its_check_goes_first() -> None:
    assert targets([web(1)], (HTTP,), LOST) == (
        Target(at(1, 8080), manner_of(HTTP, "web")),
        Target(at(1, 9090), UNCHECKED),
    )


def test_what_lost_sources_said_is_probed_beside_what_the_catalog_says() -> None:
    both = targets([web(1, source="dns"), web(2)], (), LOST)
    assert {one.address for one in both} == {at(2, 8080), at(2, 9090)}


def test_a_manner_holds_only_what_matters_to_its_type() -> None:
    limits = {"interval_s": 1.0, "timeout_s": 0.5, "rise": 4, "fall": 5}
    say = {"headers": {"b": "2", "a": "1"}, "path": "/x", "grpc_service": "s", "status": (204, 200)}
    http = manner_of(HealthCheck("shop/web", type="http", **say, **limits), "web")  # type: ignore[arg-type]
    assert http == Manner("http", "/x", "web", (("a", "1"), ("b", "2")), (200, 204), **limits)  # type: ignore[arg-type]
    grpc = manner_of(HealthCheck("web", type="grpc", host="h", **say, **limits), "web")  # type: ignore[arg-type]
    assert grpc == Manner("grpc", "", "h", (("a", "1"), ("b", "2")), (), "s", **limits)  # type: ignore[arg-type]
    one, two = (manner_of(HealthCheck(name, **say), name) for name in ("one", "two"))  # type: ignore[arg-type]
    assert one == two == UNCHECKED


def test_checks_are_found_by_the_key_of_their_service() -> None:
    one, two, three = HealthCheck("web"), HealthCheck("shop/web"), HealthCheck("default/web", type="http")
    assert by_service((one, two, three)) == {"default/web": (one, three), "shop/web": (two,)}


@pytest.mark.parametrize("status", [100, 199, 200, 301, 399, 400, 503])
def test_two_and_three_hundreds_are_healthy_unless_others_are_named(status: int) -> None:
    assert Manner().accepts(status) is (status in (200, 301, 399))
    assert Manner(status=(503, 199)).accepts(status) is (status in (503, 199))


@given(text=st.text(max_size=3 * TEXT_CHARS))
def test_words_of_strangers_are_one_short_line(text: str) -> None:
    shown = told(text)
    assert len(shown) <= TEXT_CHARS
    assert shown.isprintable()
    if text.isprintable() and len(text) <= TEXT_CHARS:
        assert shown == text


def test_the_defaults_are_those_of_the_configuration() -> None:
    assert manner_of(HealthCheck("web"), "web") == UNCHECKED
