"""World. What a worker needs of the kernel's maps."""

import errno
import os
import signal
import struct
import time
from collections.abc import Iterator

import pytest

from meshtrio.address import Address
from meshtrio.intercept import bpf
from meshtrio.intercept.kernel import Kernel
from meshtrio.intercept.layout import (
    BEAT_OF_DOORS,
    BEAT_OF_RESOLVER,
    COOKIE_BYTES,
    LISTENER_BYTES,
    ORIGIN_BYTES,
    PLACE_BYTES,
    PORT_KEY_BYTES,
    Origin,
    listener,
    place,
    port_key,
)
from meshtrio.intercept.tables import Asked, Destinations, Heartbeat, OurDials, Ports

pytestmark = pytest.mark.kernel

SOURCE = Address.of("10.0.0.1", 40000)
DOOR = 15001
WENT_TO = Address.of("fd00::1", 443)
HASH = 1


def origin(destination: Address, workload: int) -> bytes:
    return destination.pack() + bytes(2) + struct.pack("<I", workload)


def created(name: str, key_bytes: int, value_bytes: int, entries: int = 8) -> Iterator[int]:
    descriptor = bpf.create_map(HASH, name, (key_bytes, value_bytes, entries))
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def destinations() -> Iterator[int]:
    yield from created("destinations", PLACE_BYTES, ORIGIN_BYTES)


@pytest.fixture
def dials() -> Iterator[int]:
    yield from created("our_dials", PLACE_BYTES, 8, 1)


@pytest.fixture
def ports() -> Iterator[int]:
    yield from created("ports", 16, LISTENER_BYTES)


@pytest.fixture
def heartbeat() -> Iterator[int]:
    descriptor = bpf.create_map(2, "heartbeat", (4, 8, 1))
    yield descriptor
    os.close(descriptor)


def test_a_destination_is_taken_once(destinations: int) -> None:
    table = Destinations(destinations)
    bpf.update(destinations, place(5, SOURCE, DOOR), origin(WENT_TO, 7))
    assert table.take(5, SOURCE, DOOR) == Origin(WENT_TO, 7)
    assert table.take(5, SOURCE, DOOR) is None
    assert list(bpf.keys(destinations, PLACE_BYTES)) == []


def test_a_destination_is_found_by_the_whole_source(destinations: int) -> None:
    table = Destinations(destinations)
    bpf.update(destinations, place(5, SOURCE, DOOR), origin(WENT_TO, 7))
    for netns, source, door in (
        (6, SOURCE, DOOR),
        (5, SOURCE, DOOR + 1),
        (5, Address.of("10.0.0.1", 40001), DOOR),
        (5, Address.of("10.0.0.2", 40000), DOOR),
        (5, Address.of("::10.0.0.1", 40000), DOOR),
    ):
        assert table.take(netns, source, door) is None
    assert table.take(5, SOURCE, DOOR) == Origin(WENT_TO, 7)


def test_one_take_does_not_disturb_another(destinations: int) -> None:
    """The buffers are used again and again."""
    table = Destinations(destinations)
    expected = {}
    for number in range(8):
        source, went_to = Address.of("10.0.0.1", number), Address.of(f"10.1.0.{number}", 80 + number)
        bpf.update(destinations, place(number, source, DOOR), origin(went_to, number))
        expected[number, source, DOOR] = Origin(went_to, number)
    taken = {key: table.take(*key) for key in expected}
    assert taken == expected


def test_a_closed_map_is_an_error_not_an_absence() -> None:
    with pytest.raises(OSError) as closed:
        Destinations(1 << 20).take(5, SOURCE, DOOR)
    assert closed.value.errno == errno.EBADF


def test_our_dials_come_and_go(dials: int) -> None:
    table = OurDials(dials)
    table.add(5, SOURCE)
    table.add(5, SOURCE)
    assert list(bpf.keys(dials, PLACE_BYTES)) == [place(5, SOURCE)]
    table.discard(5, SOURCE)
    table.discard(5, SOURCE)
    assert list(bpf.keys(dials, PLACE_BYTES)) == []


def test_no_room_for_a_dial_is_told(dials: int) -> None:
    table = OurDials(dials)
    table.add(5, SOURCE)
    with pytest.raises(OSError) as full:
        table.add(5, WENT_TO)
    assert full.value.errno == errno.E2BIG


def test_dials_of_a_killed_worker_are_buried_and_those_of_the_living_stay(dials: int) -> None:
    table = OurDials(dials)
    table.add(5, SOURCE)
    assert table.bury() == 0
    assert list(bpf.keys(dials, PLACE_BYTES)) == [place(5, SOURCE)]
    table.discard(5, SOURCE)
    pid = os.fork()
    if pid == 0:
        OurDials(dials).add(5, WENT_TO)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    assert list(bpf.keys(dials, PLACE_BYTES)) == [place(5, WENT_TO)]
    assert table.bury() == 1
    assert list(bpf.keys(dials, PLACE_BYTES)) == []


def test_ports_say_whose_they_are(ports: int) -> None:
    table = Ports(ports)
    bpf.update(ports, port_key(5, 8080), listener(7, 1))
    assert table.workload(5, 8080) == 7
    assert table.workload(5, 8081) is None
    assert table.workload(6, 8080) is None


def test_a_port_is_noted_for_one_workload_and_forgotten_with_it(ports: int) -> None:
    table = Ports(ports)
    bpf.update(ports, port_key(5, 81), listener(8, 0))
    for port in (80, 81, 80):
        table.note(5, port, 7)
    table.note(5, 80, 8)
    assert [bpf.look_up(ports, port_key(5, port), LISTENER_BYTES) for port in (80, 81)] == [
        listener(7, 1)
    ] * 2
    table.note(6, 80, 8)
    table.forget(7)
    assert list(bpf.keys(ports, PORT_KEY_BYTES)) == [port_key(6, 80)]
    table.note(6, 81, 9)
    table.note(6, 82, 10)
    table.forget_others({8, 10, 11})
    assert table.listened() == {80: {6: 8}, 82: {6: 10}}


def test_the_heart_beats_by_the_kernel_s_clock(heartbeat: int) -> None:
    heart = Heartbeat(heartbeat)
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    heart.beat()
    raw = bpf.look_up(heartbeat, bytes(4), 8)
    assert raw
    assert before <= struct.unpack("<Q", raw)[0] <= time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    heart.silence()
    assert bpf.look_up(heartbeat, bytes(4), 8) == bytes(8)


def test_two_hearts_beat_apart(kernel: Kernel) -> None:
    beats = kernel.create_map("heartbeat")
    try:
        Heartbeat(beats, BEAT_OF_RESOLVER).beat()
        assert bpf.look_up(beats, struct.pack("<I", BEAT_OF_DOORS), 8) == bytes(8)
        Heartbeat(beats).beat()
        Heartbeat(beats, BEAT_OF_RESOLVER).silence()
        assert bpf.look_up(beats, struct.pack("<I", BEAT_OF_RESOLVER), 8) == bytes(8)
        assert bpf.look_up(beats, struct.pack("<I", BEAT_OF_DOORS), 8) != bytes(8)
    finally:
        os.close(beats)


def test_who_was_asked_is_known_by_socket_and_by_workload(kernel: Kernel) -> None:
    asked, last = kernel.create_map("asked"), kernel.create_map("last_asked")
    try:
        table = Asked(asked, last)
        assert table.by_socket(9) is None
        assert table.by_workload(7) is None
        bpf.update(asked, struct.pack("<Q", 9), WENT_TO.pack() + struct.pack("<2xI", 7))
        bpf.update(last, struct.pack("<I", 7), WENT_TO.pack() + struct.pack("<2xI", 7))
        assert table.by_socket(9) == Origin(WENT_TO, 7)
        assert table.by_workload(7) == WENT_TO
        table.forget(7)
        table.forget(7)
        assert table.by_workload(7) is None
    finally:
        os.close(asked)
        os.close(last)


def test_the_maps_of_the_kernel_are_of_these_sizes(kernel: Kernel) -> None:
    sizes = {one.name: (one.key_bytes, one.value_bytes) for one in kernel.compiled.maps}
    assert sizes["destinations"] == (PLACE_BYTES, ORIGIN_BYTES)
    assert sizes["our_dials"] == (PLACE_BYTES, 8)
    assert sizes["ports"] == (16, LISTENER_BYTES)
    assert sizes["heartbeat"] == (4, 8)
    assert sizes["asked"] == (COOKIE_BYTES, ORIGIN_BYTES)
    assert sizes["last_asked"] == (4, ORIGIN_BYTES)


def test_ports_that_nobody_has_are_taken_out_when_there_are_many(ports: int) -> None:
    table = Ports(ports)
    for port, sockets in ((80, 1), (81, 0), (82, 0), (83, 2)):
        bpf.update(ports, port_key(5, port), listener(7, sockets))
    assert table.sweep(most=4) == 0
    assert table.sweep(most=3) == 2
    assert sorted(bpf.keys(ports, 16)) == sorted([port_key(5, 80), port_key(5, 83)])


def test_taking_out_gives_the_last_value_once(ports: int) -> None:
    bpf.update(ports, port_key(5, 80), listener(7, 3))
    assert bpf.take_out(ports, port_key(5, 80), LISTENER_BYTES) == listener(7, 3)
    assert bpf.take_out(ports, port_key(5, 80), LISTENER_BYTES) is None


def test_who_listens_is_told_by_port(ports: int) -> None:
    for netns, port, sockets in ((5, 80, 1), (6, 80, 2), (5, 81, 0), (6, 82, 1)):
        bpf.update(ports, port_key(netns, port), listener(7, sockets))
    assert Ports(ports).listened() == {80: {5: 7, 6: 7}, 82: {6: 7}}
