"""World. bpf(2) itself: maps, programs, links and pins in the running kernel."""

import ctypes
import errno
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from meshtrio.intercept import bpf
from tests.support.namespace_door import cgroup

pytestmark = pytest.mark.kernel

HASH, ARRAY = 1, 2
SOCK_ADDR, CONNECT4, CONNECT6 = 18, 10, 11
SOCK_OPS, SOCK_OPS_HOOK = 13, 3
PROCEED = struct.pack("<BBhi", 0xB7, 0, 0, 1) + struct.pack("<BBhi", 0x95, 0, 0, 0)
REFUSE = struct.pack("<BBhi", 0xB7, 0, 0, 0) + struct.pack("<BBhi", 0x95, 0, 0, 0)
NO_RESULT = struct.pack("<BBhi", 0x95, 0, 0, 0)

Keep = Callable[[int], int]


@pytest.fixture
def keep() -> Iterator[Keep]:
    """Close these descriptors in the end."""
    kept: list[int] = []

    def closed_later(descriptor: int) -> int:
        kept.append(descriptor)
        return descriptor

    yield closed_later
    for descriptor in kept:
        os.close(descriptor)


@pytest.fixture
def directory() -> Iterator[int]:
    """An open cgroup."""
    with cgroup() as group:
        descriptor = os.open(group, os.O_RDONLY | os.O_DIRECTORY)
        yield descriptor
        os.close(descriptor)


def number(value: int) -> bytes:
    return struct.pack("<I", value)


def test_a_map_keeps_what_it_is_given(keep: Keep) -> None:
    made = keep(bpf.create_map(HASH, "numbers", (4, 8, 3)))
    assert bpf.look_up(made, number(1), 8) is None
    bpf.update(made, number(1), b"12345678")
    bpf.update(made, number(2), b"abcdefgh")
    bpf.update(made, number(1), b"87654321")
    assert bpf.look_up(made, number(1), 8) == b"87654321"
    assert sorted(bpf.keys(made, 4)) == [number(1), number(2)]
    assert bpf.delete(made, number(1)) is True
    assert bpf.delete(made, number(1)) is False
    assert list(bpf.keys(made, 4)) == [number(2)]


def test_a_full_map_says_so(keep: Keep) -> None:
    made = keep(bpf.create_map(HASH, "full", (4, 4, 1)))
    bpf.update(made, number(1), number(1))
    with pytest.raises(OSError) as full:
        bpf.update(made, number(2), number(2))
    assert full.value.errno in (errno.E2BIG, errno.ENOMEM)


def test_an_empty_map_has_no_keys(keep: Keep) -> None:
    assert list(bpf.keys(keep(bpf.create_map(HASH, "empty", (4, 4, 1))), 4)) == []


def test_keys_may_be_deleted_on_the_way(keep: Keep) -> None:
    made = keep(bpf.create_map(HASH, "shrinks", (4, 4, 64)))
    for each in range(64):
        bpf.update(made, number(each), number(each))
    for key in bpf.keys(made, 4):
        bpf.delete(made, key)
    for key in list(bpf.keys(made, 4)):  # a walk over a map that changes may miss some
        bpf.delete(made, key)
    assert list(bpf.keys(made, 4)) == []


@pytest.mark.parametrize("value_bytes", [4, 16, 32, 100])
def test_socket_storage_gets_the_type_information_it_must_have(keep: Keep, value_bytes: int) -> None:
    made = keep(bpf.create_map(bpf.MAP_SK_STORAGE, "storage", (4, value_bytes, 0), 1))
    with socket.socket() as one:
        bpf.update(made, number(one.fileno()), b"x" * value_bytes)
        assert bpf.look_up(made, number(one.fileno()), value_bytes) == b"x" * value_bytes


def test_a_map_that_cannot_be_made_raises_the_errno() -> None:
    with pytest.raises(OSError) as wrong:
        bpf.create_map(HASH, "wrong", (0, 0, 0))
    assert wrong.value.errno == errno.EINVAL


def test_descriptors_are_not_inherited(keep: Keep) -> None:
    made = keep(bpf.create_map(ARRAY, "private", (4, 4, 1)))
    program = keep(bpf.load_program(SOCK_ADDR, CONNECT4, "proceed", PROCEED))
    assert not os.get_inheritable(made)
    assert not os.get_inheritable(program)


def test_a_refused_program_says_what_the_verifier_said() -> None:
    with pytest.raises(bpf.ProgramRefused, match=r"program no_result: .*\n(.*\n)*.*R0 !read_ok") as refused:
        bpf.load_program(SOCK_ADDR, CONNECT4, "no_result", NO_RESULT)
    assert refused.value.errno == errno.EACCES
    assert "R0 !read_ok" in refused.value.log


@pytest.mark.parametrize(("result", "accepted"), [(0, True), (1, True), (4, False)])
def test_results_that_a_hook_may_not_have_are_refused(keep: Keep, result: int, accepted: bool) -> None:
    code = struct.pack("<BBhi", 0xB7, 0, 0, result) + struct.pack("<BBhi", 0x95, 0, 0, 0)
    if accepted:
        keep(bpf.load_program(SOCK_ADDR, CONNECT4, "result", code))
    else:
        with pytest.raises(bpf.ProgramRefused):
            bpf.load_program(SOCK_ADDR, CONNECT4, "result", code)


def test_a_program_on_a_map_that_is_none_is_refused() -> None:
    code = struct.pack("<BBhi", 0x18, 0x11, 0, 0) + bytes(8) + PROCEED  # descriptor 0 is standard input
    with pytest.raises(OSError):
        bpf.load_program(SOCK_ADDR, CONNECT4, "no_map", code)


def test_a_link_attaches_until_it_is_closed(keep: Keep, directory: int) -> None:
    program = keep(bpf.load_program(SOCK_ADDR, CONNECT4, "proceed", PROCEED))
    link = bpf.create_link(program, directory, CONNECT4)
    ids, flags = bpf.attached(directory, CONNECT4)
    assert len(ids) == 1
    assert flags == bpf.ALLOW_MULTI
    assert bpf.attached(directory, CONNECT6)[0] == []
    os.close(link)
    until = time.monotonic() + 3
    while bpf.attached(directory, CONNECT4)[0] and time.monotonic() < until:
        time.sleep(0.01)  # older kernels detach a moment later
    assert bpf.attached(directory, CONNECT4)[0] == []


def test_a_link_can_be_detached_whoever_else_holds_it(keep: Keep, directory: int) -> None:
    program = keep(bpf.load_program(SOCK_ADDR, CONNECT4, "proceed", PROCEED))
    link = keep(bpf.create_link(program, directory, CONNECT4))
    keep(os.dup(link))
    bpf.detach_link(link)
    assert bpf.attached(directory, CONNECT4)[0] == []
    assert bpf.link_target(link) == 0


def test_a_link_gets_another_program(keep: Keep, directory: int) -> None:
    one, other = (keep(bpf.load_program(SOCK_ADDR, CONNECT4, "some", code)) for code in (PROCEED, REFUSE))
    link = keep(bpf.create_link(one, directory, CONNECT4))
    before = bpf.attached(directory, CONNECT4)[0]
    bpf.update_link(link, other)
    after = bpf.attached(directory, CONNECT4)[0]
    assert len(after) == 1
    assert after != before
    # The kernel compares the type only: a program for connect6 would be taken here (seen on 6.18).
    wrong = keep(bpf.load_program(SOCK_OPS, SOCK_OPS_HOOK, "wrong", PROCEED))
    with pytest.raises(OSError):
        bpf.update_link(link, wrong)
    assert bpf.attached(directory, CONNECT4)[0] == after


def test_a_link_knows_its_cgroup(keep: Keep, directory: int) -> None:
    program = keep(bpf.load_program(SOCK_ADDR, CONNECT4, "proceed", PROCEED))
    link = keep(bpf.create_link(program, directory, CONNECT4))
    assert bpf.link_target(link) == os.fstat(directory).st_ino


def test_what_is_attached_above_is_effective_below(keep: Keep) -> None:
    program = keep(bpf.load_program(SOCK_ADDR, CONNECT4, "proceed", PROCEED))
    with cgroup() as above, cgroup(above) as below:
        high, low = (keep(os.open(path, os.O_RDONLY | os.O_DIRECTORY)) for path in (above, below))
        link = bpf.create_link(program, high, CONNECT4)
        try:
            assert bpf.attached(low, CONNECT4)[0] == []
            assert len(bpf.attached(low, CONNECT4, effective=True)[0]) >= 1
        finally:
            os.close(link)


def test_a_pin_outlives_its_descriptor(keep: Keep, bpffs: Path) -> None:
    path = str(bpffs / "numbers")
    made = bpf.create_map(HASH, "numbers", (4, 4, 3))
    bpf.update(made, number(1), number(2))
    bpf.pin(made, path)
    with pytest.raises(FileExistsError):
        bpf.pin(made, path)
    os.close(made)
    again = keep(bpf.open_pinned(path))
    assert bpf.look_up(again, number(1), 4) == number(2)
    Path(path).unlink()
    with pytest.raises(FileNotFoundError):
        bpf.open_pinned(path)


def test_a_pin_elsewhere_is_refused(keep: Keep, tmp_path: Path) -> None:
    made = keep(bpf.create_map(HASH, "numbers", (4, 4, 3)))
    with pytest.raises(PermissionError):
        bpf.pin(made, str(tmp_path / "numbers"))


def test_the_number_of_the_system_call_is_right() -> None:
    """An unknown command of bpf(2) is EINVAL; another system call would say something else."""
    with pytest.raises(OSError) as unknown:
        bpf.call(9999, bytes(16))
    assert unknown.value.errno == errno.EINVAL
    assert ctypes.get_errno() == errno.EINVAL


def test_many_keys_are_put_in_one_call_and_as_many_as_fit(keep: Keep) -> None:
    table = keep(bpf.create_map(HASH, "many", (4, 4, 100)))
    keys = [struct.pack("<I", number) for number in range(150)]
    assert bpf.update_many(table, keys[:90], b"abcd") == 90
    assert {bpf.look_up(table, key, 4) for key in keys[:90]} == {b"abcd"}
    fitted = bpf.update_many(table, keys[90:], b"efgh")
    assert fitted == 10
    assert [key for key in keys if bpf.look_up(table, key, 4) is not None] == keys[:100]
    with pytest.raises(OSError, match="Bad file descriptor"):
        bpf.update_many(9999, keys[:2], b"abcd")
