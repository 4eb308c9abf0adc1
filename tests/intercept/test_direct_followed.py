"""World. Direct connections that live, in real maps: found in berths and beside them, and taken out once."""

import os
import struct
from collections.abc import Iterator

import pytest

from meshtrio.intercept import bpf
from meshtrio.intercept.direct_followed import DirectFollowed
from meshtrio.intercept.followed_layout import BERTH_BYTES, BERTHS, FLOW_BEGUN, FOLLOWED_BYTES

pytestmark = pytest.mark.kernel

HASH, ARRAY = 1, 2
FLAGS_AT = FOLLOWED_BYTES - 8


@pytest.fixture
def maps() -> Iterator[tuple[int, int]]:
    made = (
        bpf.create_map(ARRAY, "berths", (4, BERTH_BYTES, BERTHS)),
        bpf.create_map(HASH, "crowd", (8, FOLLOWED_BYTES, 8)),
    )
    yield made
    for descriptor in made:
        os.close(descriptor)


def known(*, has_begun: bool) -> bytes:
    return struct.pack("<I", FLOW_BEGUN * has_begun).rjust(FLAGS_AT + 4, b"\0").ljust(FOLLOWED_BYTES, b"\0")


def moor(maps: tuple[int, int], cookie: int) -> None:
    """Let a connection that has begun have its berth."""
    berth = struct.pack("<I4xQ", 1, cookie) + known(has_begun=True)
    bpf.update(maps[0], struct.pack("<I", cookie % BERTHS), berth)


def beside(maps: tuple[int, int], cookie: int) -> None:
    """Let one that has not begun be beside the berths."""
    bpf.update(maps[1], struct.pack("<Q", cookie), known(has_begun=False))


def found(maps: tuple[int, int]) -> dict[int, bool]:
    return {cookie: one.has_begun for cookie, one in DirectFollowed(*maps).all()}


def test_each_is_found_wherever_it_is(maps: tuple[int, int]) -> None:
    assert found(maps) == {}
    for cookie in (1, BERTHS - 1, 3 * BERTHS, 2**64 - 2):
        moor(maps, cookie)
    for cookie in (BERTHS + 1, 2**64 - 1):
        beside(maps, cookie)
    assert found(maps) == {
        **dict.fromkeys((1, BERTHS - 1, 3 * BERTHS, 2**64 - 2), True),
        **dict.fromkeys((BERTHS + 1, 2**64 - 1), False),
    }


def test_what_is_taken_out_is_taken_out_once_and_alone(maps: tuple[int, int]) -> None:
    moor(maps, 7)
    beside(maps, 7 + BERTHS)
    followed = DirectFollowed(*maps)
    assert not followed.take_out(7 + 2 * BERTHS), "who would have the same berth"
    assert not followed.take_out(8)
    assert followed.take_out(7 + BERTHS)
    assert not followed.take_out(7 + BERTHS)
    assert found(maps) == {7: True}
    assert followed.take_out(7)
    assert not followed.take_out(7)
    assert bpf.look_up(maps[0], struct.pack("<I", 7), BERTH_BYTES) == bytes(BERTH_BYTES), "free for others"
