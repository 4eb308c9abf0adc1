"""World. Connections of workloads that have been revoked, real ones: ended when it is time, and no others."""

from collections.abc import Iterator
from typing import Any, cast

import pytest

from meshtrio.direct_book import DirectBook
from meshtrio.direct_revoking import REVOKED, DirectRevoking
from meshtrio.granting import Grantor
from meshtrio.intercept.sockdiag import SockDiag
from meshtrio.messages import Connection, Trusted
from meshtrio.neighbours import Nearby
from meshtrio.outcome import Outcome
from tests.bpf import fixtures
from tests.bpf.app import Failed
from tests.bpf.direct import PORT, Direct, direct_in
from tests.bpf.pod import HERE, VIP, WORKLOAD, Pod
from tests.support.grants import granted
from tests.support.residents import credentials, granting_config, identity

pytestmark = [pytest.mark.world, pytest.mark.kernel]

cache, kernel, pod = fixtures.cache, fixtures.kernel, fixtures.pod
DRAIN_S = 30.0
WALL = 1e9


class Scene:
    def __init__(self, direct: Direct) -> None:
        self.direct = direct
        self.ended: list[Connection] = []
        netns = direct.pod.netns
        self.book = DirectBook(lambda: {netns.id: netns}, {}, self.hear)
        self.book.maps = direct.maps
        self.grantor = Grantor(granting_config(), lambda: (), cast(Nearby, None))
        self.grantor.hear(credentials(WORKLOAD, "cart", proved=False))
        self.revoking = DirectRevoking(self.grantor, self.book)

    def hear(self, tally: object, later: Any) -> None:
        self.ended += [one() for one in later]

    def revoke(self, **untils: float) -> None:
        ids = {identity(account): until for account, until in untils.items()}
        self.grantor.hear(Trusted("cluster.local", revoked_ids=ids))

    def end(self, now: float, wall_now: float = WALL, drain_s: float = DRAIN_S) -> int:
        return self.revoking.end(now, wall_now, drain_s)


@pytest.fixture
def scene(pod: Pod) -> Iterator[Scene]:
    with direct_in(pod, VIP, [HERE]) as direct:
        yield Scene(direct)


@pytest.fixture
def one(scene: Scene) -> Iterator[Scene]:
    """A connection that was granted lives."""
    with granted(scene.direct):
        scene.direct.pod.dial(scene.direct.vip.host, PORT)
        yield scene


def test_they_are_ended_when_it_is_time(one: Scene) -> None:
    assert one.end(99) == 0
    one.revoke(cart=0.0)
    assert [one.end(at) for at in (100, 129.9)] == [0, 0]
    assert one.end(130) == 1
    with pytest.raises(Failed, match="ECONNABORTED"):
        one.direct.pod.app.do("kept.recv(1)")
    one.book.read()
    (ended,) = one.ended
    assert (ended.outcome, ended.detail) == (Outcome.DRAINED, REVOKED)
    assert one.end(135) == 0


CALLED = WORKLOAD + 1
"""Another workload, which serves in the same namespace."""


@pytest.mark.parametrize(("who", "ended"), [(WORKLOAD, 1), (CALLED, 1), (CALLED + 1, 0)])
def test_both_sides_count(scene: Scene, who: int, ended: int) -> None:
    scene.grantor.forget(WORKLOAD)
    scene.grantor.hear(credentials(who, "cart"))
    with granted(scene.direct, CALLED, serves=CALLED):
        scene.direct.pod.dial(scene.direct.vip.host, PORT)
        scene.revoke(cart=0.0)
        scene.end(100)
        assert scene.end(130) == ended


def test_the_time_begins_anew_for_who_was_pardoned(one: Scene) -> None:
    one.revoke(cart=0.0)
    one.end(100)
    one.revoke(orders=0.0)
    one.end(120)
    one.revoke(cart=0.0)
    assert [one.end(at) for at in (140, 169)] == [0, 0]
    assert one.end(170) == 1


def test_a_revocation_that_has_ended_ends_nothing(one: Scene) -> None:
    one.revoke(cart=WALL + 10)
    assert one.end(100) == 0
    assert one.end(140, WALL + 10) == 0
    assert one.end(150, WALL + 9.9) == 0, "the clock was set back, and the time begins anew"
    assert one.end(180, WALL + 9.9) == 1


def test_without_a_time_none_are_ended(one: Scene) -> None:
    one.revoke(cart=0.0)
    assert [one.end(at, drain_s=0) for at in (100, 1000)] == [0, 0]


def test_others_go_on(one: Scene) -> None:
    one.revoke(orders=0.0, beside=0.0)
    assert [one.end(at) for at in (100, 1000)] == [0, 0]
    one.direct.pod.app.do("kept.sendall(b'x')")


def test_who_needed_no_grant_has_proved_nothing_and_goes_on(scene: Scene) -> None:
    scene.direct.serve([0])
    scene.direct.pod.dial(scene.direct.vip.host, PORT)
    scene.revoke(cart=0.0)
    assert [scene.end(at) for at in (100, 1000)] == [0, 0]
    scene.direct.pod.app.do("kept.sendall(b'x')")


def test_a_kernel_that_cannot_end_them_is_no_reason_to_fail(
    one: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def destroy(*_: object) -> bool:
        raise OSError(95, "Operation not supported")

    with monkeypatch.context() as patched:
        patched.setattr(SockDiag, "destroy", destroy)
        one.revoke(cart=0.0)
        assert [one.end(at) for at in (100, 130)] == [0, 0]
    assert one.end(131) == 1
