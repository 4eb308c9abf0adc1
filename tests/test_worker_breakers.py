"""World. Real workers tell what their breakers came to, adopt those of others, and go on as orphans."""

import contextlib
import time
from collections.abc import Iterator

import pytest
import trio

from meshtrio.balance.hearsay import Counts, Stand
from meshtrio.balance.verdict import ORDINARY, Verdict
from meshtrio.intercept.netns import Netns
from meshtrio.messages import KnowBreakers, SeenElsewhere
from tests.support.agent_end import Agent, settings, worker_in, worker_process
from tests.support.worker_side import hand_maps

pytestmark = pytest.mark.kernel
WEB = "shop/web:http"


@pytest.fixture
def own_netns() -> Iterator[Netns]:
    with contextlib.closing(Netns.current()) as netns:
        yield netns


async def opened(agent: Agent, port: str) -> dict[str, Stand]:
    """Wait until the worker tells that breakers of a port have opened."""
    while True:
        for seen in agent.observed:
            if port in seen.stands:
                return seen.stands[port]
        await agent.heard.wait()


async def test_a_failure_storm_in_one_worker_opens_in_another_and_in_one_that_starts_later(
    own_netns: Netns,
) -> None:
    async with worker_in(own_netns) as first, worker_in(own_netns) as second:
        assert first.worker is not None
        assert second.worker is not None
        seen_by_one, seen_by_other = (one._site.breakers.of(WEB) for one in (first.worker, second.worker))
        now = time.monotonic()
        for _ in range(5):
            seen_by_one.record("a", Verdict.FAILURE, now, ticket=ORDINARY)
        stands = await opened(first, WEB)
        assert len(first.observed) == 1
        await second.told(settings())
        await second.line.send(KnowBreakers(WEB, stands, {}))
        await second.told(settings())
        assert seen_by_other.blocked(now) == {"a"}
        assert second.observed == []  # what it was told it does not tell
        async with worker_in(own_netns) as third:
            assert third.worker is not None
            await third.line.send(KnowBreakers(WEB, stands, {"b": "open"}))
            await third.told(settings())
            assert third.worker._site.breakers.of(WEB).blocked(now) == {"a", "b"}


async def test_a_worker_process_decides_by_what_others_saw_and_says_so(own_netns: Netns) -> None:
    with hand_maps() as maps:
        async with worker_process(own_netns, maps) as (agent, process):
            for times in (3, 2):
                await agent.line.send(SeenElsewhere({WEB: {"a": Counts(0, times, 0, times)}}))
            stands = await opened(agent, WEB)
            assert list(stands) == ["a"]
            assert stands["a"].open
            # The clock is that of all processes of this node.
            assert 0 < stands["a"].until - time.monotonic() < 37
            assert process.poll() is None


async def test_a_worker_without_agent_goes_on_deciding(own_netns: Netns) -> None:
    async with worker_in(own_netns, settings(successor="/nowhere")) as agent:
        assert agent.worker is not None
        await agent.line.send(KnowBreakers(WEB, {}, {"x": "open"}))
        await agent.told(settings(successor="/nowhere"))
        port = agent.worker._site.breakers.of(WEB)
        agent.line.close()
        await agent.hung_up.wait()
        await trio.sleep(0.1)
        now = time.monotonic()
        for endpoint in "ab":
            for _ in range(5):
                port.record(endpoint, Verdict.FAILURE, now, ticket=ORDINARY)
            await trio.sleep(0.1)
        assert port.blocked(now) == {"a", "b", "x"}
        assert not agent.worker_ended.is_set()
