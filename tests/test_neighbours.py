"""Which endpoints are workloads of this node: real namespaces, and a list of who listens."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import pytest

from meshtrio import neighbours
from meshtrio.address import Address
from meshtrio.intercept.arrival import Door
from meshtrio.intercept.direct_layout import Guard
from meshtrio.intercept.netns import Netns
from meshtrio.messages import OpenDoor, WorkloadName
from meshtrio.neighbours import Nearby, Neighbours
from tests.support.namespace import Namespace

pytestmark = pytest.mark.world

HERE, THERE, BOTH = "10.1.0.1", "10.2.0.1", "10.3.0.1"


class Doors(NamedTuple):
    """A namespace as a door has it."""

    opened: OpenDoor
    netns: Netns


class Scene(NamedTuple):
    near: Door
    far: Door
    known: Neighbours
    listening: dict[tuple[int, int], int]


@pytest.fixture
def scene() -> Iterator[Scene]:
    with contextlib.ExitStack() as stack:
        made: list[Doors] = []
        for own in (HERE, THERE, ""):
            space = stack.enter_context(Namespace())
            for address in (own, BOTH) if own else ():
                space.add_address(f"{address}/32", "lo")
            netns = Netns.adopt(os.dup(space.fd), named="a pod")
            stack.callback(netns.close)
            opened = OpenDoor(1, "inbound", "ebpf", netns.id, WorkloadName(1, "x"), 0)
            made.append(Doors(opened, netns))
        near, far, _ = (cast(Any, one) for one in made)
        listening = {(near.netns.id, 80): 7, (far.netns.id, 80): 8}
        known = Neighbours(lambda: cast(Any, made))
        known.listener = lambda netns, port: listening.get((netns, port))
        yield Scene(near, far, known, listening)


@pytest.mark.parametrize(
    ("host", "port", "who"),
    [
        (HERE, 80, 7), (THERE, 80, 8), (THERE, 81, None), ("10.9.9.9", 80, None),
        ("127.0.0.1", 80, 7), ("::1", 80, 7), ("127.0.0.1", 81, None), (BOTH, 80, 7),
    ],
)  # fmt: skip
def test_a_neighbour_is_who_listens_at_an_address_of_a_namespace(
    scene: Scene, host: str, port: int, who: int | None
) -> None:
    found = scene.known.find(scene.near, Address.of(host, port))
    assert (found and found.workload) == who
    assert found is None or found.door is (scene.far if who == 8 else scene.near)


def test_an_address_that_two_others_have_is_nobodys(scene: Scene) -> None:
    with Namespace() as third:
        netns = Netns.adopt(os.dup(third.fd), named="a pod")
        with contextlib.closing(netns):
            asker = cast(Any, Doors(scene.near.opened, netns))
            found = scene.known.find(asker, Address.of(HERE, 80))
            assert found is not None
            assert found.workload == 7
            assert scene.known.find(asker, Address.of(BOTH, 80)) is None
            assert scene.known.find(asker, Address.of("127.0.0.1", 80)) is None


def test_without_a_list_of_who_listens_nobody_is_a_neighbour(scene: Scene) -> None:
    scene.known.listener = None
    assert scene.known.find(scene.near, Address.of(HERE, 80)) is None


def test_answers_are_kept_and_their_number_is_bounded(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Address] = []

    def is_local(netns: Netns, to: Address) -> bool:
        asked.append(to)
        return False

    monkeypatch.setattr(neighbours, "_can_bind", is_local)
    monkeypatch.setattr(neighbours, "KEPT", 6)
    one, other = Address.of("10.9.0.1", 1), Address.of("10.9.0.2", 1)
    for _ in range(3):
        scene.known.find(scene.near, one)
    assert len(asked) == 3  # each namespace once
    for to in (other, Address.of("10.9.0.3", 1), one):
        scene.known.find(scene.near, to)
    assert len(asked) == 12


class Listening:
    """Who listens, as the kernel's map of ports tells it."""

    def __init__(self, of: dict[int, dict[int, int]]) -> None:
        self.of = of
        self.asked = 0

    def listened(self) -> dict[int, dict[int, int]]:
        self.asked += 1
        return self.of


def test_nearby_is_where_any_workload_of_this_node_serves(scene: Scene) -> None:
    one, other = scene.near.netns.id, scene.far.netns.id
    ports = Listening({80: {one: 5}, 81: {other: 6}, 83: {one: 7, other: 8}})
    spaces = [scene.near.netns, scene.far.netns]
    near = Nearby(lambda: spaces, lambda: cast(Any, ports))
    for host, port, is_near in (
        (HERE, 80, True), (THERE, 80, False), (THERE, 81, True), (HERE, 82, False), (BOTH, 81, True),
        ("10.9.9.9", 80, False), ("127.0.0.1", 81, True), ("::1", 80, True), ("127.0.0.1", 82, False),
    ):  # fmt: skip
        assert near(Address.of(host, port)) is is_near, (host, port)
    for host, port, who in (
        (HERE, 80, Guard(5, one)), (THERE, 80, None), (THERE, 81, Guard(6, other)),
        ("127.0.0.1", 81, Guard(6, other)),
        (HERE, 83, Guard(7, one)), (BOTH, 83, None), ("127.0.0.1", 83, None), (HERE, 84, None),
    ):  # fmt: skip
        assert near.serving(Address.of(host, port)) == who, (host, port)
    assert ports.asked == 1, "known for a second"
    spaces.clear()
    assert not near(Address.of(HERE, 80))


def test_without_the_kernel_s_word_nobody_is_nearby(scene: Scene) -> None:
    assert not Nearby(lambda: [scene.near.netns], lambda: None)(Address.of(HERE, 80))
