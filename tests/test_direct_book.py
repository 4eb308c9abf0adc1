"""World. Direct connections of a real workload: shown while they live, told of at the end, closed."""

import socket
from collections.abc import Iterator, Sequence

import pytest
import trio

from meshtrio.address import Address
from meshtrio.direct_book import ASTRAY, GONE_ON, ON_REQUEST, READ_S, DirectBook
from meshtrio.intercept.direct_layout import Pick
from meshtrio.intercept.followed_layout import DirectEnded, DirectLive
from meshtrio.messages import Connection, Tally
from meshtrio.observe.sums import Later
from meshtrio.outcome import Outcome
from tests.bpf import fixtures
from tests.bpf.app import Failed
from tests.bpf.direct import PORT, Direct, direct_in, soon
from tests.bpf.pod import HERE, HERE6, VIP, VIP6, WORKLOAD, Pod
from tests.support.grants import STRANGER, granted

pytestmark = [pytest.mark.world, pytest.mark.kernel]

cache, kernel, pod = fixtures.cache, fixtures.kernel, fixtures.pod


class Scene:
    def __init__(self, direct: Direct) -> None:
        self.direct = direct
        self.told: list[Tally] = []
        self.listed: list[Connection] = []
        names = {direct.vip: "default/web"}
        self.spaces = {direct.pod.netns.id: direct.pod.netns}
        self.book = DirectBook(lambda: self.spaces, names, self.hear, lambda number: f"spiffe://td/{number}")
        self.book.maps = direct.maps
        self.book.enter(WORKLOAD, "shop")

    def hear(self, tally: Tally, later: Sequence[Later]) -> None:
        self.told.append(tally)
        self.listed += [*tally.ended, *(one() for one in later)]

    def ended(self) -> list[Connection]:
        return self.listed

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


async def test_one_is_shown_while_it_lives_and_told_of_when_it_has_ended(scene: Scene) -> None:
    mine, _ = scene.direct.pod.dial(scene.direct.vip.host, PORT)
    (live,), omitted = await scene.book.live()
    assert (live.workload, live.service, live.path, omitted) == ("shop", "default/web", "direct", 0)
    assert (live.source, live.endpoint) == (str(mine), str(scene.direct.members[0]))
    scene.direct.arrived()
    scene.direct.pod.app.do("kept.recv(1); kept.close()")
    ended = scene.read()
    assert (ended.id, ended.outcome, ended.source) == (live.id, Outcome.CARRIED, live.source)
    assert abs(ended.began - live.began) < 0.5
    assert scene.told[0].counts[0].connections == 1
    assert await scene.book.live() == ([], 0)
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


def test_of_many_all_are_counted_and_the_last_are_listed(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meshtrio.direct_book.LISTED", 3)
    scene.direct.dial(8)
    assert scene.direct.at_rest()
    (last,) = scene.direct.dial(1)
    assert scene.direct.at_rest()
    assert scene.book.read() == 9
    (tally,) = scene.told
    assert [(one.outcome, one.connections) for one in tally.counts] == [(Outcome.CARRIED, 9)]
    assert (tally.counts[0].workload, tally.counts[0].service) == ("shop", "default/web")
    assert (len(scene.ended()), tally.omitted) == (3, 6)
    assert scene.ended()[-1].endpoint == str(scene.direct.members[last])


def test_those_that_speak_against_their_endpoints_are_told_apart(scene: Scene) -> None:
    failed: list[DirectEnded] = []
    scene.book.failed = failed.extend
    scene.direct.doors[1].close()
    scene.direct.dial(1)
    with pytest.raises(Failed, match="ECONNREFUSED"):
        scene.direct.pod.dial(scene.direct.vip.host, PORT)
    assert scene.direct.at_rest()
    assert scene.book.read() == 2
    assert [one.was.member for one in failed] == [scene.direct.members[1]]
    assert {one.outcome for one in scene.ended()} == {Outcome.CARRIED, Outcome.CONNECT_FAILED}


def test_a_workload_that_goes_leaves_nothing(scene: Scene) -> None:
    scene.direct.pod.dial(scene.direct.vip.host, PORT)
    scene.direct.pod.hooks.detach()
    scene.book.leave(WORKLOAD + 1)
    assert scene.ended() == []
    scene.book.leave(WORKLOAD)
    (one,) = scene.ended()
    assert (one.outcome, one.detail, one.workload) == (Outcome.DRAINED, GONE_ON, "shop")
    assert scene.direct.active() == [0, 0, 0]


def test_a_workload_that_goes_leaves_no_connect_that_never_began(scene: Scene) -> None:
    direct = scene.direct
    nowhere = "203.0.113.7" if direct.vip.is_v4 else "2001:db8::7"
    direct.maps.put(direct.vip, Pick.TURNS, [Address.of(nowhere, 80)])
    with pytest.raises(Failed, match="ENETUNREACH"):
        direct.pod.app.do("kept = tcp(host); kept.connect((host, 80))", host=direct.vip.host)
    direct.pod.hooks.detach()
    scene.book.leave(WORKLOAD)
    assert scene.ended() == []
    assert direct.followed() == [0, 0]


async def test_bytes_of_one_that_lives_are_those_of_its_process(scene: Scene) -> None:
    """Without SYN and FIN, whichever side has ended its direction."""
    direct, app = scene.direct, scene.direct.pod.app
    direct.pod.dial(direct.vip.host, PORT)
    _, accepted, _ = direct.accept()

    async def carried() -> tuple[int, int]:
        (live,), _ = await scene.book.live()
        return live.sent_bytes, live.received_bytes

    with accepted:
        assert await carried() == (0, 0)
        app.do("kept.sendall(b'x' * 100_000)")
        left = 100_000
        while left:
            left -= len(accepted.recv(left))
        accepted.sendall(b"y" * 5000)
        app.do("kept.recv(5000, socket.MSG_WAITALL)")
        assert await carried() == (100_000, 5000)
        accepted.shutdown(socket.SHUT_WR)
        app.do("kept.recv(1)")
        assert await carried() == (100_000, 5000), "CLOSE_WAIT"
    accepted.close()
    app.do("kept.close()")
    ended = scene.read()
    assert (ended.sent_bytes, ended.received_bytes) == (100_000, 5000)


async def test_bytes_are_right_when_the_caller_has_ended_its_direction(scene: Scene) -> None:
    direct, app = scene.direct, scene.direct.pod.app
    direct.pod.dial(direct.vip.host, PORT)
    _, accepted, _ = direct.accept()
    with accepted:
        app.do("kept.sendall(b'x' * 700); kept.shutdown(socket.SHUT_WR)")
        accepted.settimeout(3)
        while accepted.recv(1000):
            pass
        accepted.sendall(b"y" * 30)
        app.do("kept.recv(30, socket.MSG_WAITALL)")
        (live,), _ = await scene.book.live()
        assert (live.sent_bytes, live.received_bytes) == (700, 30), "FIN_WAIT2"
    app.do("kept.recv(1); kept.close()")
    assert scene.read().sent_bytes == 700


async def test_what_the_kernel_does_not_know_has_no_bytes_and_is_shown(scene: Scene) -> None:
    scene.direct.pod.dial(scene.direct.vip.host, PORT)
    scene.direct.pod.app.do("kept.sendall(b'x')")
    scene.spaces.clear()
    (live,), _ = await scene.book.live()
    assert (live.sent_bytes, live.endpoint) == (0, str(scene.direct.members[0]))


def test_what_is_wanted_is_closed_and_nothing_else(scene: Scene) -> None:
    direct = scene.direct
    direct.pod.app.do("one = dial(host, port); two = dial(host, port)", host=direct.vip.host, port=PORT)
    assert scene.book.close(lambda service, one: False) == 0
    seen: set[tuple[str, Address]] = set()

    def second(service: str, one: DirectLive) -> bool:
        seen.add((service, one.member))
        return one.member == direct.members[1]

    assert scene.book.close(second) == 1
    assert seen == {("default/web", member) for member in direct.members}
    with pytest.raises(Failed, match="ECONNABORTED"):
        direct.pod.app.do("two.recv(1)")
    ended = scene.read()
    assert (ended.outcome, ended.detail) == (Outcome.DRAINED, ON_REQUEST)
    assert ended.endpoint == str(direct.members[1])
    assert direct.active() == [1, 0, 1]
    scene.book.close(lambda service, one: True)


async def test_without_a_kernel_there_are_none() -> None:
    book = DirectBook(dict, {}, lambda tally, later: None)
    assert book.read() == 0
    assert await book.live() == ([], 0)
    assert book.close(lambda service, one: True) == 0
    book.leave(1)


async def test_whom_the_kernel_vouches_for_is_shown(scene: Scene) -> None:
    direct = scene.direct
    secured = f"spiffe://td/{WORKLOAD}", "kernel"
    with granted(direct):
        direct.pod.app.do("one = dial(host, port); two = dial(host, port)", host=direct.vip.host, port=PORT)
        listed, _ = await scene.book.live()
        assert [(one.peer, one.tls) for one in listed] == [secured, secured]
        direct.arrived()
        direct.pod.app.do("one.recv(1); one.close()")
        ended = scene.read()
        assert (ended.outcome, ended.path, ended.peer, ended.tls) == (Outcome.CARRIED, "direct", *secured)
        direct.pod.hooks.detach()
        scene.book.leave(WORKLOAD)
        lost = scene.ended()[-1]
        assert (lost.outcome, lost.peer, lost.tls) == (Outcome.DRAINED, *secured)


async def test_one_that_needs_no_grant_proves_nobody(scene: Scene) -> None:
    scene.direct.pod.dial(scene.direct.vip.host, PORT)
    ((live,), _) = await scene.book.live()
    assert (live.peer, live.tls) == ("", "")
    scene.direct.arrived()
    scene.direct.pod.app.do("kept.close()")
    ended = scene.read()
    assert (ended.peer, ended.tls) == ("", "")


async def test_one_that_went_astray_is_ended_and_told_of_once(scene: Scene) -> None:
    """Whom it met is not to blame; whoever sent it there hears of it."""
    direct, faults, strays = scene.direct, list[DirectEnded](), list[tuple[int, Address]]()
    scene.book.failed = faults.extend
    scene.book.astray = lambda workload, service: strays.append((workload, service))
    with granted(direct, STRANGER):
        dial = "kept = dial(host, port); other = dial(host, port)"
        direct.pod.app.do(dial, host=direct.vip.host, port=PORT)
        assert (await scene.book.live())[0] == []
        assert scene.book.read() == 2
    for ended in scene.ended():
        assert (ended.outcome, ended.detail) == (Outcome.UPSTREAM_TLS, ASTRAY)
        assert (ended.peer, ended.tls) == (f"spiffe://td/{STRANGER}", "kernel")
        assert (ended.sent_bytes, ended.received_bytes) == (0, 0)
    assert [(one.outcome, one.connections) for one in scene.told[0].counts] == [(Outcome.UPSTREAM_TLS, 2)]
    assert (faults, strays) == ([], [(WORKLOAD, direct.vip)])
    for name in ("kept", "other"):
        with pytest.raises(Failed, match="ECONNABORTED"):
            direct.pod.app.do(f"{name}.recv(1)")
    assert direct.active() == [0, 0, 0]
    assert scene.book.read() == 0


def test_one_that_went_astray_where_nobody_can_end_it_is_told_of(scene: Scene) -> None:
    """Its namespace is not known any more. The hooks keep it silent."""
    strays: list[int] = []
    scene.book.astray = lambda workload, service: strays.append(workload)
    with granted(scene.direct, STRANGER):
        scene.direct.pod.dial(scene.direct.vip.host, PORT)
        scene.spaces.clear()
        assert scene.read().outcome is Outcome.UPSTREAM_TLS
        assert strays == [WORKLOAD]
        with pytest.raises(Failed, match="EACCES"):
            scene.direct.pod.app.do("kept.sendall(b'x')")
