"""Identities from a Workload API, by gRPC's own server in another process."""

import importlib.util
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from meshtrio.config.identity import Identity
from meshtrio.identity.bundle import Bundle
from meshtrio.identity.chain import verify
from meshtrio.identity.spiffe import parse
from meshtrio.identity.trust import Trust
from meshtrio.issuers import spire
from meshtrio.issuers.issuer import Federation, Issued, IssueError, Wanted
from meshtrio.issuers.spire import Spire
from tests.support.identities import DAY_S, leaf, root, signing
from tests.support.spire import SpireAgent, federated, offer, private, svid

pytestmark = pytest.mark.skipif(importlib.util.find_spec("grpc") is None, reason="no grpcio")

WEB, CART = "spiffe://td/ns/shop/sa/web", "spiffe://td/ns/shop/sa/cart"
AT = float(int(time.time())) - 3600
ROOT, BELOW = root("td", 1, AT - 10 * DAY_S), signing("td", 1, AT - 10 * DAY_S)


def both(number: int = 77, at: float = AT) -> bytes:
    return offer(BELOW, ROOT, at, WEB, CART, number=number)


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SpireAgent]:
    monkeypatch.setattr(spire, "AGAIN_MOST_S", 0.05)
    with SpireAgent(tmp_path / "agent.sock") as running:
        yield running


class Node:
    def __init__(self, path: Path) -> None:
        self.told: list[Bundle | Issued] = []
        self.federations: list[Federation] = []
        self.ahead_s = 0.0
        settings = Identity(source="spire", trust_domain="td", spire_socket=str(path))
        self.issuer = Spire(lambda: settings, lambda: time.time() + self.ahead_s)

    async def get(self, spiffe_id: str = WEB, workload: str = "web") -> Issued:
        with trio.fail_after(10):
            return await self.issuer.issue(Wanted(parse(spiffe_id), workload, 3600.0))

    async def refused(self, spiffe_id: str = WEB) -> str:
        with pytest.raises(IssueError) as caught:
            await self.get(spiffe_id)
        return str(caught.value)

    def hear(self, news: Bundle | Federation | Issued) -> None:
        if isinstance(news, Federation):
            self.federations.append(news)
        else:
            self.told.append(news)

    async def until(self, number: int) -> None:
        with trio.fail_after(10):
            while len(self.told) < number:
                await trio.sleep(0.01)

    async def gets(self, words: str) -> None:
        with trio.fail_after(10):
            while words not in self.issuer.fault or (not self.issuer.fault and words):
                await trio.sleep(0.01)


@asynccontextmanager
async def running(path: Path) -> AsyncIterator[Node]:
    node = Node(path)
    async with trio.open_nursery() as nursery:
        await nursery.start(node.issuer.run, node.hear)
        yield node
        nursery.cancel_scope.cancel()


async def test_each_workload_gets_the_one_with_its_id(agent: SpireAgent) -> None:
    agent.offer(both())
    async with running(agent.path) as node:
        (bundle,) = node.told
        assert isinstance(bundle, Bundle) and bundle.anchors == (ROOT.certificate,)
        for spiffe_id in (WEB, CART):
            issued = await node.get(spiffe_id)
            peer = verify(issued.chain, Trust("td").with_own(bundle), time.time())
            assert str(peer.spiffe_id) == str(issued.spiffe_id) == spiffe_id
            assert issued.key == private()


async def test_an_id_that_is_not_offered_and_those_that_are(agent: SpireAgent) -> None:
    agent.offer(both())
    async with running(agent.path) as node:
        words = await node.refused("spiffe://td/ns/bank/sa/x")
        assert words == f"SPIRE offers no spiffe://td/ns/bank/sa/x, but {CART}, {WEB}"
        agent.offer(offer(BELOW, ROOT, AT, *(f"spiffe://td/{n}" for n in range(12))))
        await trio.sleep(0.2)
        assert (await node.refused()).endswith("and 4 more")


async def test_a_rotation_is_pushed(agent: SpireAgent) -> None:
    agent.offer(both(77))
    async with running(agent.path) as node:
        assert (await node.get()).serial == 77
        agent.offer(both(78))
        await node.until(3)
        assert {one.serial for one in node.told[1:] if isinstance(one, Issued)} == {78}
        assert (await node.get()).serial == 78
        agent.offer(both(78))
        await trio.sleep(0.2)
        assert len(node.told) == 3


async def test_another_root_is_pushed(agent: SpireAgent) -> None:
    agent.offer(both())
    async with running(agent.path) as node:
        fresh = root("td", 2, AT)
        agent.offer(offer(signing("td", 2, AT), fresh, AT, WEB, number=79))
        await node.until(3)
        assert isinstance(node.told[1], Bundle) and node.told[1].anchors == (fresh.certificate,)
        assert isinstance(node.told[2], Issued)


async def test_other_trust_domains_are_those_that_it_federates_with(agent: SpireAgent) -> None:
    def named(*others: bytes) -> bytes:
        return offer(BELOW, ROOT, AT, WEB, others=others)

    def roots(name: str, number: int = 1, say: str = "spiffe://{}") -> bytes:
        return federated(say.format(name), root(name, number, AT).certificate.der)

    async def heard(number: int) -> dict[str, int]:
        with trio.fail_after(10):
            while len(node.federations) < number:
                await trio.sleep(0.01)
        return {one.trust_domain: len(one.anchors) for one in node.federations[-1].bundles}

    agent.offer(named(roots("other"), roots("third", say="{}")))
    async with running(agent.path) as node:
        assert await heard(1) == {"other": 1, "third": 1}
        first = node.federations[0].bundles
        # One that cannot be used is as before; one that is named no more is believed no more.
        agent.offer(named(federated("spiffe://other", b"garbage"), roots("x", say="spiffe://UPPER!")))
        assert await heard(2) == {"other": 1}
        assert node.federations[1].bundles == first[:1]
        agent.offer(named(roots("other", 2)))
        assert await heard(3) == {"other": 1}
        assert node.federations[2].bundles != first[:1]
        await node.get()
        agent.offer(named())
        assert await heard(4) == {}


async def test_what_is_not_renewed_is_not_given_as_new(agent: SpireAgent) -> None:
    agent.offer(both())
    async with running(agent.path) as node:
        await node.get()
        await node.get()  # as after `certs rotate`: SPIRE decides
        node.ahead_s = DAY_S * 0.6
        assert "has not renewed" in await node.refused()
        assert (await node.get(workload="another-pod")).serial == 77
        node.ahead_s = DAY_S
        assert "has ended" in await node.refused()


async def test_not_entitled_and_entitled_later(agent: SpireAgent) -> None:
    async with running(agent.path) as node:
        assert await node.refused() == "the SPIRE agent says PERMISSION_DENIED: no identity issued"
        agent.offer(both())
        await node.until(1)
        await node.get()
        agent.tell("deny")
        await node.gets("PERMISSION_DENIED")
        assert "PERMISSION_DENIED" in await node.refused()


async def test_torn_streams_and_restarts_cost_nothing_that_was_given(agent: SpireAgent) -> None:
    agent.offer(both(77))
    async with running(agent.path) as node:
        agent.tell("end UNAVAILABLE")
        await trio.sleep(0.2)
        assert (await node.get()).serial == 77
        agent.kill()
        await node.gets("no Workload API at")
        assert (await node.get()).serial == 77
        agent.path.unlink(missing_ok=True)
        agent.start()
        agent.offer(both(78))
        await node.until(3)
        assert (await node.get()).serial == 78
        assert node.issuer.fault == ""


async def test_no_agent_at_all(tmp_path: Path) -> None:
    async with running(tmp_path / "nothing.sock") as node:
        assert "no Workload API at" in await node.refused()


def entry(
    spiffe_id: str = WEB, chain: bytes = b"", bundle: bytes = ROOT.certificate.der, **words: bytes
) -> bytes:
    own = leaf(BELOW, WEB, 77, AT).der + BELOW.certificate.der
    return svid(spiffe_id, chain or own, bundle, **words)


@pytest.mark.parametrize(
    ("response", "words"),
    [
        (entry(bundle=root("td", 2, AT).certificate.der), "no path"),
        (entry(spiffe_id=CART), "it is spiffe://td/ns/shop/sa/web, want"),
        (entry(own=private("other")), "another one's"),
        (entry(own=b"junk"), "cannot be read"),
        (entry(chain=b"junk"), "not DER"),
        (entry(spiffe_id="http://x"), "does not begin with spiffe"),
        (entry(bundle=b""), "no roots of td"),
        (entry(chain=leaf(BELOW, WEB, 77, AT - 3 * DAY_S).der + BELOW.certificate.der), "expired"),
    ],
    ids=["root", "id", "key", "no-key", "chain", "scheme", "no-root", "expired"],
)
async def test_what_does_not_verify_is_not_used(agent: SpireAgent, response: bytes, words: str) -> None:
    agent.offer(response)
    async with running(agent.path) as node:
        assert words in await node.refused()
        agent.offer(both())
        with trio.fail_after(10):
            while node.issuer.fault:
                await trio.sleep(0.01)
        await node.get()


async def test_one_that_is_broken_does_not_take_the_others_with_it(agent: SpireAgent) -> None:
    agent.offer(entry(spiffe_id=CART) + entry())
    async with running(agent.path) as node:
        assert str((await node.get()).spiffe_id) == WEB
        assert "SPIRE offers no" in await node.refused(CART)
