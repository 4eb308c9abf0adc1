"""World. Entries of real maps, many at once."""

import os
import struct
from collections.abc import Iterator

import pytest

from meshtrio.intercept import bpf, bpf_entries

pytestmark = pytest.mark.kernel

HASH, ARRAY, NO_PREALLOC = 1, 2, 1


@pytest.fixture
def four() -> Iterator[int]:
    made = bpf.create_map(HASH, "four", (4, 8, 4), NO_PREALLOC)
    yield made
    os.close(made)


def entries(*numbers: int) -> dict[bytes, bytes]:
    return {struct.pack("<I", number): struct.pack("<Q", number * 10) for number in numbers}


def test_each_key_gets_its_value_as_far_as_there_is_room(four: int) -> None:
    wanted = entries(1, 2, 3, 4, 5, 6)
    assert bpf_entries.update_each(four, wanted) == 4
    for key, value in list(wanted.items())[:4]:
        assert bpf.look_up(four, key, 8) == value
    assert bpf_entries.update_each(four, entries(1)) == 1


@pytest.mark.parametrize(("most", "count"), [(3, 3), (4, 4), (9, 4)])
def test_an_array_is_read_from_its_begin_on(most: int, count: int) -> None:
    array = bpf.create_map(ARRAY, "four", (4, 8, 4))
    try:
        for at in range(4):
            bpf.update(array, struct.pack("<I", at), struct.pack("<Q", 10 + at))
        found = bpf_entries.first_values(array, most, 8)
    finally:
        os.close(array)
    assert found == struct.pack(f"<{count}Q", *range(10, 10 + count))
