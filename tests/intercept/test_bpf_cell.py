"""World. One entry of a real map at a time, with buffers that are used again."""

import errno
import os
from collections.abc import Iterator

import pytest

from meshtrio.intercept import bpf
from meshtrio.intercept.bpf_cell import Cell

pytestmark = pytest.mark.kernel

HASH, ARRAY, NO_PREALLOC = 1, 2, 1


@pytest.fixture
def two() -> Iterator[int]:
    made = bpf.create_map(HASH, "two", (4, 8, 2), NO_PREALLOC)
    yield made
    os.close(made)


def test_each_call_is_about_its_own_key_and_value(two: int) -> None:
    cell = Cell(two, 4, 8)
    cell.update(b"one!", b"11111111")
    cell.update(b"two!", b"22222222")
    assert cell.look_up(b"one!") == b"11111111" == bpf.look_up(two, b"one!", 8)
    assert cell.look_up(b"two!") == b"22222222"
    assert cell.look_up(b"none") is None
    cell.update(b"one!", b"33333333")
    assert cell.look_up(b"one!") == b"33333333"


@pytest.mark.parametrize("at_once", [True, False], ids=["one call", "two calls"])
def test_what_is_taken_out_is_gone(two: int, at_once: bool) -> None:
    cell = Cell(two, 4, 8)
    cell._takes = at_once
    cell.update(b"one!", b"11111111")
    assert cell.take_out(b"one!") == b"11111111"
    assert cell.take_out(b"one!") is None
    assert cell.look_up(b"one!") is None
    assert list(bpf.keys(two, 4)) == []


def test_a_kernel_that_cannot_do_both_at_once_is_asked_twice_from_then_on(
    two: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bpf, "MAP_LOOKUP_AND_DELETE", 10_000)  # EINVAL, as of an old kernel
    cell = Cell(two, 4, 8)
    cell.update(b"one!", b"11111111")
    assert cell.take_out(b"one!") == b"11111111"
    assert not cell._takes
    assert cell.take_out(b"one!") is None


def test_a_map_that_cannot_do_both_at_once_is_known_by_the_errno_of_an_old_kernel() -> None:
    """Before 5.14 hash tables could not, and the kernel said ENOTSUPP, as of arrays to this day."""
    array = bpf.create_map(ARRAY, "array", (4, 8, 1), 0)
    try:
        cell = Cell(array, 4, 8)
        with pytest.raises(OSError, match="Invalid argument"):  # of an array nothing can be deleted
            cell.take_out(bytes(4))
        assert not cell._takes
        with pytest.raises(OSError, match="Invalid argument"):
            bpf.take_out(array, bytes(4), 8)
    finally:
        os.close(array)


def test_deleting_says_whether_there_was_something(two: int) -> None:
    cell = Cell(two, 4, 8)
    cell.update(b"one!", b"11111111")
    assert cell.delete(b"one!")
    assert not cell.delete(b"one!")


def test_errors_are_the_kernels(two: int) -> None:
    cell = Cell(two, 4, 8)
    for key in (b"one!", b"two!"):
        cell.update(key, bytes(8))
    with pytest.raises(OSError, match=r"too long|memory"):
        cell.update(b"more", bytes(8))
    with pytest.raises(OSError) as bad:
        Cell(1 << 20, 4, 8).take_out(b"one!")
    assert bad.value.errno == errno.EBADF
