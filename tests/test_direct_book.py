"""World. Direct connections of a real workload: shown while they live, told of at the end, closed."""

from collections.abc import Iterator

import pytest
import trio

from meshtrio.address import Address
from meshtrio.direct_book import GONE_ON, ON_REQUEST, READ_S, DirectBook
from meshtrio.messages import Connection, Tally
from meshtrio.outcome import Outcome
from tests.bpf import fixtures
from tests.bpf.app import Failed
from tests.bpf.direct import PORT, Direct, direct_in, soon
from tests.bpf.pod import HERE, HERE6, VIP, VIP6, WORKLOAD, Pod

pytestmark = [pytest.mark.world, pytest.mark.kernel]

cache, kernel, pod = fixtures.cache, fixtures.kernel, fixtures.pod


class Scene:
    def __init__(self, direct: Direct) -> None:
        self.direct = direct
        self.told: list[Tally] = []
        names = {direct.vip: "default/web"}
        self.book = DirectBook(lambda: {direct.pod.netns.id: direct.pod.netns}, names, self.told.append)
        self.book.maps = direct.maps
        self.book.enter(WORKLOAD, "shop")

    def ended(self) -> list[Connection]:
        return [one for tally in self.told for one in tally.ended]

    def read(self) -> Connection:
        """Return the one connection that has ended, within a moment."""
        assert soon(lambda: bool(self.book.read()))
        (one,) = self.ended()
        return one


@pytest.fixture(params=[VIP, VIP6])
def scene(pod: Pod, request: pytest.FixtureRequest) -> Iterator[Scene]:
    host = HERE6 if ":" in request.param else HERE
    with direct_in(pod, request.param, [host, host]) as direct:
        direct.serve([0, 1])
        yield Scene(direct)


def test_one_is_shown_while_it_lives_and_told_of_when_it_has_ended(scene: Scene) -> None:
    mine, _ = scene.direct.pod.dial(scene.direct.vip.host, PORT)
    (live,), omitted = scene.book.live()
    assert (live.workload, live.service, live.path, omitted) == ("shop", "default/web", "direct", 0)
    assert (live.source, live.endpoint) == (str(mine), str(scene.direct.members[0]))
    scene.direct.arrived()
    scene.direct.pod.app.do("kept.recv(1); kept.close()")
    ended = scene.read()
    assert (ended.id, ended.outcome, ended.source) == (live.id, Outcome.CARRIED, live.source)
    assert abs(ended.began - live.began) < 0.5
    assert scene.told[0].counts[0].connections == 1
    assert scene.book.live() == ([], 0)
    assert scene.book.read() == 0


async def test_ended_ones_are_read_again_and_again(scene: Scene) -> None:
    async with trio.open_nursery() as reading:
        reading.start_soon(scene.book.keep_reading)
        for count in (3, 6):
            scene.direct.dial(3)
            with trio.fail_after(10 * READ_S + 3):
                while len(scene.ended()) < count:
                    await trio.sleep(0.01)
        reading.cancel_scope.cancel()
    assert {one.outcome for one in scene.ended()} == {Outcome.CARRIED}


def test_a_workload_that_goes_leaves_nothing(scene: Scene) -> None:
    scene.direct.pod.dial(scene.direct.vip.host, PORT)
    scene.direct.pod.hooks.detach()
    scene.book.leave(WORKLOAD + 1)
    assert scene.ended() == []
    scene.book.leave(WORKLOAD)
    (one,) = scene.ended()
    assert (one.outcome, one.detail, one.workload) == (Outcome.DRAINED, GONE_ON, "shop")
    assert scene.direct.active() == [0, 0, 0]


def test_what_is_wanted_is_closed_and_nothing_else(scene: Scene) -> None:
    direct = scene.direct
    direct.pod.app.do("one = dial(host, port); two = dial(host, port)", host=direct.vip.host, port=PORT)
    assert scene.book.close(lambda service, member: False) == 0
    seen: set[tuple[str, Address]] = set()

    def second(service: str, member: Address) -> bool:
        seen.add((service, member))
        return member == direct.members[1]

    assert scene.book.close(second) == 1
    assert seen == {("default/web", member) for member in direct.members}
    with pytest.raises(Failed, match="ECONNABORTED"):
        direct.pod.app.do("two.recv(1)")
    ended = scene.read()
    assert (ended.outcome, ended.detail) == (Outcome.DRAINED, ON_REQUEST)
    assert ended.endpoint == str(direct.members[1])
    assert direct.active() == [1, 0, 1]
    scene.book.close(lambda service, member: True)


def test_without_a_kernel_there_are_none() -> None:
    book = DirectBook(dict, {}, lambda tally: None)
    assert book.read() == 0
    assert book.live() == ([], 0)
    assert book.close(lambda service, member: True) == 0
    book.leave(1)
