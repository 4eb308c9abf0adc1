"""World. What a worker knows of the catalog, asked over a line inside this process, by a clock that jumps."""

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from meshtrio import interest as module
from meshtrio.address import Address
from meshtrio.catalog.service import Found, Service, ServicePort
from meshtrio.channel import LocalChannel, local_pair
from meshtrio.interest import ANSWER_S, Interest, Unanswered
from meshtrio.messages import Forget, Resolve, Resolved, ToAgent, ToWorker

AgentEnd = LocalChannel[ToAgent, ToWorker]
PORT = ServicePort("http", 80)
WEB = Found(Service("web", ports=(PORT,)), PORT)
WEB2 = Found(Service("web2", ports=(PORT,)), PORT)


def address(number: int) -> Address:
    return Address.of("10.0.0.1", number)


class Pair:
    """An Interest, and the agent's end of its line."""

    def __init__(self) -> None:
        made: tuple[LocalChannel[ToWorker, ToAgent], AgentEnd] = local_pair()
        line, self.agent = made
        self.interest = Interest(line)
        self.answers: dict[Address, Found | None] = {}
        self.asked: list[ToAgent] = []

    async def answer(self) -> None:
        """Be an agent, and the worker's loop that hands over what the agent says."""
        while True:
            question, _ = await self.agent.receive()
            self.asked.append(question)
            if isinstance(question, Resolve) and question.address in self.answers:
                self.learn(question.address)

    def learn(self, at: Address) -> Address | None:
        return self.interest.learn(Resolved(at, self.answers[at]))


async def test_a_service_is_asked_for_once_and_then_known(nursery: trio.Nursery) -> None:
    pair = Pair()
    pair.answers[address(1)] = WEB
    nursery.start_soon(pair.answer)
    assert await pair.interest.find(address(1)) is WEB
    assert await pair.interest.find(address(1)) is WEB
    assert pair.asked == [Resolve(address(1))]
    nursery.cancel_scope.cancel()


async def test_that_it_is_no_service_is_known_too(nursery: trio.Nursery) -> None:
    pair = Pair()
    pair.answers[address(1)] = None
    nursery.start_soon(pair.answer)
    assert await pair.interest.find(address(1)) is None
    assert await pair.interest.find(address(1)) is None
    assert len(pair.asked) == 1
    nursery.cancel_scope.cancel()


async def test_a_change_holds_at_once_and_is_not_asked_for(nursery: trio.Nursery) -> None:
    pair = Pair()
    pair.answers[address(1)] = None
    nursery.start_soon(pair.answer)
    await pair.interest.find(address(1))
    for said in (WEB, WEB2, None):
        assert pair.interest.learn(Resolved(address(1), said)) is None
        assert await pair.interest.find(address(1)) is said
    assert len(pair.asked) == 1
    nursery.cancel_scope.cancel()


async def test_a_silent_agent_costs_just_the_answer_time(autojump_clock: MockClock) -> None:
    pair = Pair()
    began = trio.current_time()
    with pytest.raises(Unanswered):
        await pair.interest.find(address(1))
    assert trio.current_time() - began == ANSWER_S
    with pytest.raises(Unanswered):  # nothing was learnt from that
        await pair.interest.find(address(1))
    assert trio.current_time() - began == 2 * ANSWER_S
    assert not pair.interest.alone


async def test_an_agent_that_does_not_even_read_costs_just_the_answer_time(autojump_clock: MockClock) -> None:
    made: tuple[LocalChannel[ToWorker, ToAgent], AgentEnd] = local_pair(1)
    interest = Interest(made[0])
    await made[0].send(Forget(address(9)))  # the line is full now
    began = trio.current_time()
    with pytest.raises(Unanswered):
        await interest.find(address(1))
    assert trio.current_time() - began == ANSWER_S


async def test_two_who_want_the_same_ask_one_question(autojump_clock: MockClock) -> None:
    pair = Pair()
    pair.answers[address(1)] = WEB
    found: list[Found | None] = []

    async def find() -> None:
        found.append(await pair.interest.find(address(1)))

    async with trio.open_nursery() as finding:
        finding.start_soon(find)
        finding.start_soon(find)
        await wait_all_tasks_blocked()
        question, _ = await pair.agent.receive()
        assert question == Resolve(address(1))
        pair.learn(address(1))
    assert found == [WEB, WEB]
    with trio.move_on_after(1) as silence:
        await pair.agent.receive()
    assert silence.cancelled_caught


async def test_who_joins_a_question_late_waits_no_longer_than_its_own_answer_time(
    autojump_clock: MockClock,
) -> None:
    pair = Pair()
    ended: dict[str, float] = {}

    async def find(name: str, after_s: float) -> None:
        await trio.sleep(after_s)
        began = trio.current_time()
        with pytest.raises(Unanswered):
            await pair.interest.find(address(1))
        ended[name] = trio.current_time() - began

    async with trio.open_nursery() as finding:
        finding.start_soon(find, "first", 0)
        finding.start_soon(find, "second", ANSWER_S / 2)
    assert ended["first"] == ANSWER_S
    assert 0 < ended["second"] <= ANSWER_S


async def test_a_cancelled_question_does_not_stop_the_next_one(autojump_clock: MockClock) -> None:
    pair = Pair()
    with trio.move_on_after(ANSWER_S / 4) as gone:
        await pair.interest.find(address(1))
    assert gone.cancelled_caught
    pair.answers[address(1)] = WEB
    async with trio.open_nursery() as agent:
        agent.start_soon(pair.answer)
        assert await pair.interest.find(address(1)) is WEB
        agent.cancel_scope.cancel()


async def test_the_bound_holds_and_what_was_dialled_longest_ago_goes(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ADDRESSES", 3)
    pair = Pair()
    pair.answers = {address(number): WEB for number in range(9)}
    pushed: list[Address | None] = []
    nursery.start_soon(pair.answer)
    for number in (1, 2, 3, 1):  # 2 is now the one dialled longest ago
        await pair.interest.find(address(number))
    pair.learn(address(3))  # news does not count as dialling
    interest = pair.interest

    async def ask(number: int) -> None:
        with trio.move_on_after(0.01):
            await interest.find(address(number))

    pair.learn = lambda at: pushed.append(interest.learn(Resolved(at, WEB)))  # type: ignore[method-assign]
    await ask(4)
    await ask(5)
    assert pushed == [address(2), address(3)]
    nursery.cancel_scope.cancel()


async def test_forgetting_tells_the_agent() -> None:
    pair = Pair()
    await pair.interest.forget(address(1))
    assert await pair.agent.receive() == (Forget(address(1)), [])


async def test_news_of_what_nobody_wants_is_forgotten_again(autojump_clock: MockClock) -> None:
    """An answer that comes too late has made the agent believe that we are interested."""
    pair = Pair()
    with pytest.raises(Unanswered):
        await pair.interest.find(address(1))
    assert pair.interest.learn(Resolved(address(1), WEB)) == address(1)
    with pytest.raises(Unanswered):
        await pair.interest.find(address(1))


async def test_without_an_agent_what_is_known_stays_known_and_nothing_new_is_waited_for(
    autojump_clock: MockClock,
) -> None:
    pair = Pair()
    pair.answers[address(1)] = WEB
    async with trio.open_nursery() as agent:
        agent.start_soon(pair.answer)
        await pair.interest.find(address(1))
        agent.cancel_scope.cancel()
    pair.agent.close()
    began = trio.current_time()
    with pytest.raises(Unanswered):
        await pair.interest.find(address(2))
    assert pair.interest.alone
    with pytest.raises(Unanswered):
        await pair.interest.find(address(3))
    assert await pair.interest.find(address(1)) is WEB
    assert trio.current_time() == began
    await pair.interest.forget(address(1))  # nobody hears it, and nothing fails


async def test_forgetting_notices_that_the_agent_has_gone() -> None:
    pair = Pair()
    pair.agent.close()
    await pair.interest.forget(address(1))
    assert pair.interest.alone
