"""Several sources, one catalog: whose word holds, and what probes have to say."""

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.address import Address
from meshtrio.catalog.merge import SOURCES, Level, Merge
from meshtrio.catalog.service import Endpoint, Health, Service, ServicePort
from meshtrio.catalog.vips import Vips

KEY = "default/web"
NOW = 1000.0


def at(host: int, port: int = 80) -> Address:
    return Address.of(f"10.0.0.{host}", port)


def ends(*hosts: int, port: int = 80, health: Health = Health.HEALTHY) -> tuple[Endpoint, ...]:
    return tuple(Endpoint(str(host), at(host, port), health=health) for host in hosts)


def web(*hosts: int, health: Health = Health.HEALTHY, port: ServicePort | None = None) -> Service:
    ports = (port or ServicePort("http", 80, ends(*hosts, health=health)),)
    return Service("web", vips=(bytes(15) + b"\x09",), ports=ports)


def merge_of(**said: Service) -> Merge:
    merge = Merge(Vips(), frozenset(said))
    for source, service in said.items():
        merge.say(source, {service.key: service}, now=NOW)
    return merge


def hosts(merge: Merge) -> list[str]:
    service = merge.merged(KEY)
    assert service is not None
    return [endpoint.address.host.rpartition(".")[2] for endpoint in service.endpoints]


def test_what_is_said_is_stamped_with_its_source_and_time() -> None:
    merge = merge_of(consul=web(1))
    service = merge.merged(KEY)
    assert service is not None
    assert (service.source, service.endpoints[0].source, service.endpoints[0].since) == (
        "consul",
        "consul",
        NOW,
    )
    assert merge.merged(KEY) is service, "one source, its own addresses: the very object that is kept"


def test_the_same_again_is_no_news_and_the_same_object() -> None:
    merge = merge_of(consul=web(1, 2))
    before = merge.merged(KEY)
    assert merge.say("consul", {KEY: web(1, 2)}, now=NOW + 5) == set()
    assert merge.merged(KEY) is before


def test_only_what_changed_is_younger() -> None:
    merge = merge_of(consul=web(1, 2))
    before = merge.merged(KEY)
    weighted = (ends(1)[0], msgspec.structs.replace(ends(2)[0], weight=5), ends(3)[0])
    assert merge.say("consul", {KEY: web(port=ServicePort("http", 80, weighted))}, now=NOW + 5) == {KEY}
    after = merge.merged(KEY)
    assert before is not None
    assert after is not None
    assert [one.since for one in after.endpoints] == [NOW, NOW + 5, NOW + 5]
    assert after.endpoints[0] is before.endpoints[0]


def test_only_its_own_word_takes_a_service_away() -> None:
    merge = merge_of(consul=web(1), file=web(2))
    assert merge.lose("consul", lost=True) == set()
    assert hosts(merge) == ["1"]
    assert merge.say("dns", {}, complete=True, now=NOW) == set()
    assert merge.say("consul", {}, complete=True, now=NOW) == {KEY}
    assert hosts(merge) == ["2"]
    assert merge.say("file", {KEY: None}, now=NOW) == {KEY}
    assert merge.say("file", {KEY: None}, now=NOW) == set()
    assert merge.merged(KEY) is None
    assert merge.level(KEY) is None


@pytest.mark.parametrize(("first", "second"), [*itertools.combinations(SOURCES, 2)])
def test_the_first_source_leads_and_what_is_registered_is_added(first: str, second: str) -> None:
    for order in ((first, second), (second, first)):
        merge = merge_of(**{source: web(1 + (source == second)) for source in order})
        assert hosts(merge) == (["1", "2"] if second == "registered" else ["1"])


def test_a_lost_source_whose_endpoints_are_all_dead_gives_way_and_gets_it_back() -> None:
    merge = merge_of(kubernetes=web(1, 2), dns=web(3))
    merge.lose("kubernetes", lost=True)
    assert merge.probe(KEY, at(1), Health.UNHEALTHY) == {KEY}
    assert (hosts(merge), merge.level(KEY)) == (["1", "2"], Level.LAST_KNOWN)
    assert merge.probe(KEY, at(2), Health.UNHEALTHY) == {KEY}
    assert (hosts(merge), merge.level(KEY)) == (["3"], Level.DNS)
    assert [one.endpoints[0].address for one in merge.lost_words(KEY)] == [at(1)], "still to be probed"
    assert merge.probe(KEY, at(2), Health.HEALTHY) == {KEY}
    assert (hosts(merge), merge.level(KEY)) == (["1", "2"], Level.LAST_KNOWN)
    merge.probe(KEY, at(2), Health.UNHEALTHY)
    assert merge.lose("kubernetes", lost=False) == {KEY}
    assert (hosts(merge), merge.level(KEY), merge.lost_words(KEY)) == (["1", "2"], Level.LIVE, [])


def test_the_last_one_leads_even_if_all_of_it_is_dead() -> None:
    merge = merge_of(kubernetes=web(1), file=web(2))
    for source, host in (("kubernetes", 1), ("file", 2)):
        merge.lose(source, lost=True)
        merge.probe(KEY, at(host), Health.UNHEALTHY)
    assert (hosts(merge), merge.level(KEY)) == (["2"], Level.LAST_KNOWN)


def test_an_empty_service_of_a_lost_source_stays_empty() -> None:
    merge = merge_of(kubernetes=web(), file=web(2))
    merge.lose("kubernetes", lost=True)
    assert hosts(merge) == []


@pytest.mark.parametrize(
    ("said", "configured", "level"),
    [
        ("kubernetes", (), Level.LIVE),
        ("registered", ("kubernetes",), Level.LIVE),
        ("dns", (), Level.LIVE),
        ("dns", ("consul",), Level.DNS),
        ("file", ("kubernetes",), Level.STATIC),
        ("file", ("dns",), Level.LIVE),
    ],
)
def test_how_good_a_word_is_depends_on_who_should_have_said_it(
    said: str, configured: tuple[str, ...], level: Level
) -> None:
    merge = merge_of(**{said: web(1)})
    merge.configured |= {*configured}
    assert merge.level(KEY) is level


def test_a_probe_is_laid_over_what_the_source_says() -> None:
    merge = merge_of(consul=web(1, 2, health=Health.WARNING))

    def healths() -> list[Health]:
        service = merge.merged(KEY)
        assert service is not None
        return [endpoint.health for endpoint in service.endpoints]

    merge.probe(KEY, at(1), Health.UNHEALTHY)
    merge.probe(KEY, at(2), Health.HEALTHY)
    assert healths() == [Health.UNHEALTHY, Health.WARNING]
    assert merge.lose("consul", lost=True) == {KEY}
    assert healths() == [Health.UNHEALTHY, Health.HEALTHY]
    assert merge.probe(KEY, at(1), Health.UNKNOWN) == {KEY}
    assert merge.probe(KEY, at(1), Health.UNKNOWN) == set()
    assert healths() == [Health.WARNING, Health.HEALTHY]


def test_what_a_probe_found_outlives_a_service_that_comes_right_back() -> None:
    merge = merge_of(consul=web(1))
    merge.probe(KEY, at(1), Health.UNHEALTHY)
    merge.say("consul", {}, complete=True, now=NOW)
    assert merge.merged(KEY) is None
    merge.say("consul", {KEY: web(1)}, now=NOW)
    service = merge.merged(KEY)
    assert service is not None
    assert service.endpoints[0].health is Health.UNHEALTHY


def test_registered_endpoints_of_the_same_address_are_not_added_twice() -> None:
    assert hosts(merge_of(consul=web(1, 2), registered=web(2, 3))) == ["1", "2", "3"]


def test_two_endpoints_never_have_one_id() -> None:
    other = (Endpoint("1", at(7)),)
    merge = merge_of(consul=web(1), registered=web(port=ServicePort("http", 80, other)))
    service = merge.merged(KEY)
    assert service is not None
    assert [one.id for one in service.endpoints] == ["1", "registered:1"]


@pytest.mark.parametrize(
    ("port", "expected"),
    [
        (ServicePort("http", 8080, ends(2)), {"http": ["10.0.0.1", "10.0.0.2"]}),
        (ServicePort("other", 80, ends(2)), {"http": ["10.0.0.1", "10.0.0.2"]}),
        (ServicePort("", 0, ends(2)), {"http": ["10.0.0.1", "10.0.0.2"]}),
    ],
)
def test_a_port_is_matched_by_name_by_number_or_for_want_of_another(
    port: ServicePort, expected: dict[str, list[str]]
) -> None:
    merge = merge_of(consul=web(1), registered=web(port=port))
    service = merge.merged(KEY)
    assert service is not None
    assert {one.name: [end.address.host for end in one.endpoints] for one in service.ports} == expected


def test_a_port_that_the_other_does_not_know_stays_as_it_is() -> None:
    two = Service("web", ports=(ServicePort("http", 80, ends(1)), ServicePort("admin", 81, ends(2))))
    service = merge_of(consul=two, registered=web(3)).merged(KEY)
    assert service is not None
    assert [[one.id for one in port.endpoints] for port in service.ports] == [["1", "3"], ["2"]]


def test_ports_that_only_the_other_knows_are_added() -> None:
    two = Service("web", ports=(ServicePort("http", 80, ends(2)), ServicePort("admin", 81, ends(3))))
    service = merge_of(consul=web(1), registered=two).merged(KEY)
    assert service is not None
    assert [(port.name, len(port.endpoints)) for port in service.ports] == [("http", 2), ("admin", 1)]


def test_who_brings_no_virtual_ip_gets_one_where_it_makes_sense() -> None:
    bare = Service("web", ports=(ServicePort("http", 80, ends(1)),))
    vips = Vips()
    for service, wants in (
        (bare, True),
        (msgspec.structs.replace(bare, headless=True), False),
        (Service("web", external="db.example.com"), False),
        (Service("web"), False),
        (web(1), False),
    ):
        merge = Merge(vips)
        merge.say("consul", {KEY: service}, now=NOW)
        merged = merge.merged(KEY)
        assert merged is not None
        assert merged.vips == (vips.of(KEY) if wants else service.vips)


# Any order of anything.

KEYS = ["default/a", "default/b"]
HEALTHS = st.sampled_from(Health)
SERVICES = st.builds(
    lambda name, found, headless: Service(
        name,
        ports=(ServicePort("http", 80, tuple(Endpoint(str(n), at(n), health=h) for n, h in found.items())),),
        headless=headless,
    ),
    st.sampled_from("ab"),
    st.dictionaries(st.integers(1, 3), HEALTHS, max_size=2),
    st.booleans(),
)
PROBED = st.sampled_from([Health.UNKNOWN, Health.HEALTHY, Health.UNHEALTHY])
STEPS = st.one_of(
    st.tuples(st.just("say"), st.sampled_from(SOURCES), st.lists(SERVICES, max_size=2), st.booleans()),
    st.tuples(st.just("gone"), st.sampled_from(SOURCES), st.sampled_from(KEYS)),
    st.tuples(st.just("lose"), st.sampled_from(SOURCES), st.booleans()),
    st.tuples(st.just("probe"), st.sampled_from(KEYS), st.integers(1, 3), PROBED),
)
Step = tuple[object, ...]


def take(merge: Merge, step: Step) -> set[str]:
    match step:
        case "say", str(source), list(services), bool(complete):
            return merge.say(source, {one.key: one for one in services}, complete=complete, now=NOW)
        case "gone", str(source), str(key):
            return merge.say(source, {key: None}, now=NOW)
        case "lose", str(source), bool(lost):
            return merge.lose(source, lost=lost)
        case "probe", str(key), int(host), Health() as found:
            return merge.probe(key, at(host), found)
    raise AssertionError(step)


@given(steps=st.lists(STEPS, max_size=25))
def test_whatever_became_different_is_told(steps: list[Step]) -> None:
    merge = Merge(Vips())
    shown: dict[str, Service | None] = dict.fromkeys(KEYS)
    for step in steps:
        touched = take(merge, step)
        for key in KEYS:
            now = merge.merged(key)
            assert now == shown[key] or key in touched, step
            shown[key] = now


@given(steps=st.lists(STEPS, max_size=25))
def test_only_the_last_words_matter_and_not_how_they_came(steps: list[Step]) -> None:
    """Against a merge that hears only what each source, probe and stream said last, in another order."""
    merge = Merge(Vips())
    said: dict[tuple[str, str], Service] = {}
    lost: dict[str, bool] = {}
    probed: dict[tuple[str, int], Health] = {}
    for step in steps:
        take(merge, step)
        match step:
            case "say", str(source), list(services), bool(complete):
                if complete:
                    said = {(who, key): one for (who, key), one in said.items() if who != source}
                said.update({(source, one.key): one for one in services})
            case "gone", str(source), str(key):
                said.pop((source, key), None)
            case "lose", str(source), bool(now_lost):
                lost[source] = now_lost
            case "probe", str(key), int(host), Health() as found:
                probed[key, host] = found
    plain = Merge(Vips())
    for (key, host), found in reversed(probed.items()):
        plain.probe(key, at(host), found)
    for (source, key), service in reversed(said.items()):
        plain.say(source, {key: service}, now=NOW)
    for source, now_lost in lost.items():
        plain.lose(source, lost=now_lost)
    for key in KEYS:
        assert merge.merged(key) == plain.merged(key)
        assert merge.level(key) == plain.level(key)
        assert (merge.merged(key) is None) is not any(one == key for _, one in said)


def test_virtual_ips_that_a_source_knows_stay_whoever_leads() -> None:
    vips = (bytes(15) + b"\x09",)
    merge = merge_of(file=web(2))
    for source in ("dns", "consul"):
        named = msgspec.structs.replace(web(1), vips=())
        merge.say(source, {KEY: named}, now=NOW)
        leading = merge.merged(KEY)
        assert leading is not None
        assert (leading.source, leading.vips) == (source, vips)
    merge.say("file", {KEY: None}, now=NOW)
    alone = merge.merged(KEY)
    assert alone is not None
    assert alone.vips == Vips().of(KEY)


def test_no_broken_registry_makes_two_ports_or_endpoints_one() -> None:
    twice = ServicePort("http", 80, (ends(1)[0], msgspec.structs.replace(ends(2)[0], id="1")))
    service = Service("web", ports=(twice, ServicePort("http", 81, ends(3, port=81))))
    merge = merge_of(consul=service)
    made = merge.merged(KEY)
    assert made is not None
    assert [(port.name, port.port) for port in made.ports] == [("http", 80), ("http-81", 81)]
    assert [one.id for one in made.endpoints] == ["1", "1@10.0.0.2:80", "3"]
    assert merge.say("consul", {KEY: service}, now=NOW + 1) == set(), "what is said again is no news"


def dns(*hosts: int, port: int = 53) -> Service:
    """Serve by UDP alone."""
    return Service("web", datagrams=(ServicePort("dns", 53, ends(*hosts, port=port), "udp"),))


def test_ports_of_udp_are_stamped_joined_and_kept_as_those_of_tcp_are() -> None:
    merge = merge_of(file=dns(1), registered=dns(2))
    service = merge.merged(KEY)
    assert service is not None
    assert service.vips, "it has addresses of ours, as any service"
    assert [(one.id, one.source, one.since) for one in service.datagrams[0].endpoints] == [
        ("1", "file", NOW),
        ("2", "registered", NOW),
    ]
    assert service.ports == ()
    assert merge.say("file", {KEY: dns(1)}, now=NOW + 5) == set()
    assert merge.say("file", {KEY: dns(1, 3)}, now=NOW + 5) == {KEY}


def test_what_nobody_can_probe_holds_no_dead_source_in_the_lead() -> None:
    both = msgspec.structs.replace(web(1), datagrams=dns(1).datagrams)
    merge = merge_of(consul=both, file=web(2))
    merge.lose("consul", lost=True)
    assert hosts(merge) == ["1", "1"]
    merge.probe(KEY, at(1), Health.UNHEALTHY)
    service = merge.merged(KEY)
    assert service is not None
    assert [one.id for one in service.ports[0].endpoints] == ["2"]
    alone = merge_of(consul=dns(1), file=dns(2))
    alone.lose("consul", lost=True)
    assert hosts(alone) == ["1"], "with none that could be probed its last word holds"


def test_a_tcp_probe_says_nothing_of_udp() -> None:
    merge = merge_of(consul=msgspec.structs.replace(web(1), datagrams=dns(1, port=80).datagrams))
    merge.probe(KEY, at(1), Health.UNHEALTHY)
    service = merge.merged(KEY)
    assert service is not None
    assert [one.health for one in service.endpoints] == [Health.UNHEALTHY, Health.HEALTHY]
