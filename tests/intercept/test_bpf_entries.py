"""World. Entries of real maps: only where there is none, and many at once."""

import os
import struct
from collections.abc import Iterator

import pytest

from meshtrio.intercept import bpf, bpf_entries

pytestmark = pytest.mark.kernel

HASH, NO_PREALLOC = 1, 1


@pytest.fixture
def four() -> Iterator[int]:
    made = bpf.create_map(HASH, "four", (4, 8, 4), NO_PREALLOC)
    yield made
    os.close(made)


def entries(*numbers: int) -> dict[bytes, bytes]:
    return {struct.pack("<I", number): struct.pack("<Q", number * 10) for number in numbers}


def test_what_is_there_already_stays(four: int) -> None:
    assert bpf_entries.insert(four, b"key!", b"12345678")
    assert not bpf_entries.insert(four, b"key!", b"87654321")
    assert bpf.look_up(four, b"key!", 8) == b"12345678"


def test_no_room_is_an_error(four: int) -> None:
    assert bpf_entries.update_each(four, entries(1, 2, 3, 4)) == 4
    with pytest.raises(OSError, match=r"too long|memory"):
        bpf_entries.insert(four, b"key!", bytes(8))


def test_each_key_gets_its_value_as_far_as_there_is_room(four: int) -> None:
    wanted = entries(1, 2, 3, 4, 5, 6)
    assert bpf_entries.update_each(four, wanted) == 4
    for key, value in list(wanted.items())[:4]:
        assert bpf.look_up(four, key, 8) == value
    assert bpf_entries.update_each(four, entries(1)) == 1
