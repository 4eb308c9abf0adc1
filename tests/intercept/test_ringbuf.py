"""World. Ring buffers of the real kernel, into which a small program writes."""

import ctypes
import mmap
import os
import select
import struct
from collections.abc import Iterator

import pytest

from meshtrio.intercept import bpf
from meshtrio.intercept.ringbuf import RingBuffer

pytestmark = pytest.mark.kernel

RING, SOCKET_FILTER = 27, 1
WAKE, QUIET = 2, 1
"""BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP."""


@pytest.fixture
def ring() -> Iterator[int]:
    made = bpf.create_map(RING, "ring", (0, 0, mmap.PAGESIZE))
    yield made
    os.close(made)


def write(ring: int, entry: bytes, times: int = 1, wake: int = QUIET) -> None:
    """Let a program write this entry, of a multiple of four bytes, so often."""
    code = b""
    for at in range(0, len(entry), 4):
        code += struct.pack("<BBh4s", 0x62, 10, at - len(entry) - len(entry) % 8, entry[at : at + 4])
    code += struct.pack("<BBhi", 0xBF, 2 | 10 << 4, 0, 0)  # r2 = the stack
    code += struct.pack("<BBhi", 0x07, 2, 0, -len(entry) - len(entry) % 8)  # r2 -= what was put there
    code += struct.pack("<BBhiBBhi", 0x18, 1 | 1 << 4, 0, ring, 0, 0, 0, 0)  # r1 = the ring
    code += struct.pack("<BBhi", 0xB7, 3, 0, len(entry))
    code += struct.pack("<BBhi", 0xB7, 4, 0, wake)
    code += struct.pack("<BBhiBBhi", 0x85, 0, 0, 130, 0x95, 0, 0, 0)  # bpf_ringbuf_output; exit
    program = bpf.load_program(SOCKET_FILTER, 0, "write", code)
    packet = ctypes.create_string_buffer(64)
    try:
        attributes = struct.pack("<IIIIQQII", program, 0, 64, 0, ctypes.addressof(packet), 0, times, 0)
        bpf.call(bpf.PROG_TEST_RUN, attributes.ljust(80, b"\0"))
    finally:
        os.close(program)


def test_each_is_taken_once_in_order(ring: int) -> None:
    reader = RingBuffer(ring)
    assert reader.take(10) == []
    for entry in (b"one.", b"two, longer.", b"three is the longest."[:20]):
        write(ring, entry)
    assert reader.take(2) == [b"one.", b"two, longer."]
    assert reader.take(10) == [b"three is the longest."[:20]]
    assert reader.take(10) == []


def test_it_goes_round_for_ever_and_cuts_nothing(ring: int) -> None:
    reader = RingBuffer(ring)
    entry = bytes(range(1, 101))
    for _ in range(30):  # of 37 that fit
        write(ring, entry, times=30)
        assert reader.take(1000) == [entry] * 30


def test_what_does_not_fit_is_not_there_and_the_rest_is_whole(ring: int) -> None:
    reader = RingBuffer(ring)
    entry = bytes(range(120))
    write(ring, entry, times=100)
    assert reader.take(1000) == [entry] * (mmap.PAGESIZE // 128 - 1)
    write(ring, entry)
    assert reader.take(1000) == [entry]


def test_a_successor_goes_on_where_its_predecessor_stopped(ring: int) -> None:
    first = RingBuffer(ring)
    write(ring, b"one.")
    write(ring, b"two.")
    assert first.take(1) == [b"one."]
    del first
    assert RingBuffer(ring).take(10) == [b"two."]


def test_it_is_readable_while_there_is_something(ring: int) -> None:
    reader = RingBuffer(ring)
    assert select.select([reader.descriptor], [], [], 0)[0] == []
    write(ring, b"one.", wake=WAKE)
    assert select.select([reader.descriptor], [], [], 0)[0] == [ring]
    reader.take(1)
    assert select.select([reader.descriptor], [], [], 0)[0] == []


def test_another_map_is_refused() -> None:
    array = bpf.create_map(2, "array", (4, 4, 1))
    try:
        with pytest.raises(OSError, match="Invalid argument"):
            RingBuffer(array)
    finally:
        os.close(array)
