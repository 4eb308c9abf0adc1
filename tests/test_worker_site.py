"""What the connections of one worker share, and how it follows the agent's news."""

from typing import Any

import pytest
from msgspec.structs import replace

from meshtrio import breaker_share
from meshtrio.address import Address
from meshtrio.balance.breaker_table import WHOLE
from meshtrio.balance.hearsay import Counts
from meshtrio.balance.told import Balanced
from meshtrio.catalog.service import Endpoint, Service
from meshtrio.channel import local_pair
from meshtrio.config.identity import Identity, ModeRule, Mtls
from meshtrio.config.schema import Config, Exclude
from meshtrio.config.traffic import Traffic
from meshtrio.forward.relay import Relay
from meshtrio.interest import Interest
from meshtrio.messages import (
    KnowBreakers,
    KnowWorkload,
    Resolved,
    SeenElsewhere,
    Trusted,
    WorkloadName,
)
from meshtrio.neighbours import Neighbour
from meshtrio.observe.ledger import Entry
from meshtrio.outcome import Outcome
from meshtrio.worker_site import Site
from tests.support.rings import CLIENT_ID, SERVER, SERVER_ID, credentials, trusted

DOOR: Any = None
"""Neighbours are what the test says, so no door is looked at."""
WEB = WorkloadName(SERVER, "web", "shop")
AT = Address.of("10.0.0.1", 80)
PEER, SERIAL = CLIENT_ID, "ab12"


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Site:
    pair: Any = local_pair()
    made = Site(Interest(pair[1]), Relay(), start=0)
    made.know(WEB)
    here = Neighbour(SERVER, DOOR)
    monkeypatch.setattr(made.neighbours, "find", lambda door, to: here if to.ip == AT.ip else None)
    return made


def seen(site: Site, endpoint: Endpoint) -> Endpoint:
    return site.seen_here(endpoint, site.neighbour(DOOR, endpoint))


def identify(site: Site) -> None:
    site.border.learn(trusted())
    site.border.learn(credentials(SERVER, SERVER_ID))


def test_a_workload_that_goes_takes_its_credentials_along(site: Site) -> None:
    identify(site)
    assert site.border.keyring.identity(SERVER) == SERVER_ID
    site.know(replace(WEB, name=""))
    assert site.names == {}
    assert site.border.keyring.identity(SERVER) == ""


def test_an_endpoint_of_this_node_is_known_by_who_it_is(site: Site) -> None:
    endpoint = Endpoint("a", AT)
    assert seen(site, endpoint) is endpoint  # without a certificate TLS would end nowhere
    identify(site)
    ours = seen(site, endpoint)
    assert (ours.meshed, ours.identity, ours.address) == (True, SERVER_ID, AT)
    elsewhere = Endpoint("b", Address.of("10.0.0.2", 80))
    assert seen(site, elsewhere) is elsewhere
    said = Endpoint("a", AT, meshed=True, identity=CLIENT_ID)
    assert seen(site, said) is said


@pytest.mark.parametrize(
    "config",
    [
        Config(exclude=Exclude(inbound_ports=(80,))),
        Config(mtls=Mtls(mode="disable")),
        Config(mtls=Mtls(rules=(ModeRule("disable", workload="web", port=80),))),
        Config(identity=Identity(source="off")),
    ],
)
def test_where_nobody_would_take_tls_an_endpoint_stays_as_it_is(site: Site, config: Config) -> None:
    identify(site)
    site.settle(config)
    endpoint = Endpoint("a", AT)
    assert seen(site, endpoint) is endpoint


def connection(site: Site, peer: str = PEER) -> tuple[Entry, list[str]]:
    """Open a connection; the list says whether it was cut."""
    entry, cuts = site.ledger.open("inbound", "ebpf", 0.0), list[str]()
    entry.peer, entry.serial = peer, SERIAL
    entry.cut = lambda: cuts.append(peer)
    return entry, cuts


@pytest.mark.parametrize(
    "revoked", [Trusted("td", revoked_ids={PEER: 0.0}), Trusted("td", revoked_serials={SERIAL: 2000.0})]
)
def test_connections_of_whom_was_revoked_are_cut_when_they_had_time(site: Site, revoked: Trusted) -> None:
    site.settle(Config(identity=Identity(drain_s=300)))
    _, cuts = connection(site)
    _, others = connection(site, "")
    site.end_revoked(0, 1000.0)
    site.border.learn(revoked)
    for now, cut in ((0, 0), (299, 0), (300, 1)):
        site.end_revoked(now, 1000.0)
        assert len(cuts) == cut
    assert others == []


def test_a_revocation_that_is_taken_back_cuts_nobody(site: Site) -> None:
    _, cuts = connection(site)
    site.border.learn(Trusted("td", revoked_serials={SERIAL: 1000.5}))
    site.end_revoked(0, 1000.0)
    for now in (1.0, 1000.0):
        site.end_revoked(now, 1000.0 + now)  # it held until 1000.5
    assert cuts == []


def test_a_drain_of_nothing_cuts_nobody(site: Site) -> None:
    site.settle(Config(identity=Identity(drain_s=0)))
    _, cuts = connection(site)
    site.border.learn(Trusted("td", revoked_ids={PEER: 0.0}))
    for now in (0, 1e6):
        site.end_revoked(now, 1000.0)
    assert cuts == []


async def test_news_of_each_kind_go_where_they_belong(site: Site) -> None:
    await site.learn(KnowWorkload(WorkloadName(SERVER, "renamed")))
    assert site.names[SERVER].name == "renamed"
    await site.learn(trusted())
    await site.learn(credentials(SERVER, SERVER_ID))
    assert site.border.keyring.identity(SERVER) == SERVER_ID
    await site.learn(KnowBreakers("shop/web:http", {}, {"a": "open"}))
    await site.learn(SeenElsewhere({"shop/web:http": {"b": Counts(0, 5, 0, 5)}}))
    assert site.breakers.of("shop/web:http").blocked(0.0) == {"a", "b"}
    asked: list[Address] = []

    async def forget(address: Address) -> None:
        asked.append(address)

    site.interest.forget = forget  # type: ignore[method-assign]
    await site.learn(Resolved(AT, None))  # nobody asked, so the agent need not go on telling
    assert asked == [AT]


def test_whether_much_is_spliced_follows_the_configuration(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[bool] = []
    monkeypatch.setattr(site.relay, "allow_splice", lambda *, allowed: said.append(allowed))
    for rung_max in ("r1", "r1d", "r2", "r5"):
        site.settle(Config(rung_max=rung_max))
    assert said == [False, False, True, True]


async def test_what_was_counted_is_told_once_and_waits_while_there_is_no_agent(site: Site) -> None:
    assert site.tally() is None
    site.settle(Config(traffic=Traffic(algorithm="maglev")))
    port = site.ports.of(Service("web"), "http")
    port.hold((Endpoint("a", AT),), 0.0, None, ())
    site.interest.alone = True
    assert site.tally() is None
    site.interest.alone = False
    tally = site.tally()
    assert tally is not None
    assert tally.balanced == [Balanced("default/web:http", remarks={"no_key": 1})]
    assert site.tally() is None


def test_a_port_whose_breakers_were_pushed_out_gets_those_that_the_agent_speaks_of(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker_share, "PORTS_BOUND", 2)
    shop, serving = Service("cart", "shop"), (Endpoint("a", AT),)
    held = site.ports.of(shop, "first").hold(serving, 0.0, None, ())
    assert held is not None
    for other in ("second", "third"):
        site.ports.of(shop, other)
    site.breakers.learn(KnowBreakers("shop/cart:first", {}, {WHOLE: "open"}))
    again = site.ports.of(shop, "first")
    assert again.hold(serving, 1.0, None, ()) is None
    held.ended(Outcome.CARRIED, 2.0)
    assert again.balancer.active == 0
    assert not again.balancer.remarks
