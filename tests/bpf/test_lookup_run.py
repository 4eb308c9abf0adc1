"""World. sk_lookup by BPF_PROG_TEST_RUN: every input of the decision, both families."""

import contextlib
import itertools
import os
import socket
import struct
import time
from collections.abc import Iterator

import pytest

from meshtrio.address import Address
from meshtrio.intercept import bpf
from meshtrio.intercept.kernel import PER_NETNS, Kernel
from meshtrio.intercept.layout import Reason, here, listener, place, port_key
from tests.support.progrun import lookup_context, run_lookup

pytestmark = pytest.mark.kernel

PASS, DROP = 1, 0
NETNS, PORT = 1 << 40, 8080
REMOTE = {4: ("192.0.2.9", 40000), 6: ("2001:db8::9", 40000)}
LOCAL = {4: ("192.0.2.1", PORT), 6: ("2001:db8::1", PORT)}
SO_COOKIE = 57


class Rig:
    """The program with its own two maps, and a door a family that the kernel lets a test choose."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.maps = {name: kernel.create_map(name) for name in PER_NETNS}
        self.program = kernel.load_inbound(self.maps)
        # A test run refuses (EOPNOTSUPP) to choose a socket with SO_REUSEPORT: these are no real doors.
        self.doors = {4: socket.create_server(("127.0.0.1", 0))}
        self.doors[6] = socket.create_server(("::1", 0), family=socket.AF_INET6)

    def cookie(self, family: int) -> int:
        raw = self.doors[family].getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8)
        return int.from_bytes(raw, "little")

    def install(self) -> None:
        for slot, family in enumerate((4, 6)):
            door = struct.pack("<I", self.doors[family].fileno())
            bpf.update(self.maps["inbound_doors"], struct.pack("<I", slot), door)

    def close(self) -> None:
        for door in self.doors.values():
            door.close()
        for descriptor in (self.program, *self.maps.values()):
            os.close(descriptor)


@pytest.fixture
def rig(kernel: Kernel) -> Iterator[Rig]:
    made = Rig(kernel)
    yield made
    made.close()


@contextlib.contextmanager
def entry(descriptor: int, key: bytes, value: bytes, *, there: bool = True) -> Iterator[None]:
    if there:
        bpf.update(descriptor, key, value)
    try:
        yield
    finally:
        bpf.delete(descriptor, key)


def expected(listened: bool, ours: bool, alive: bool, strict: bool) -> Reason:
    if not listened:
        return Reason.PASSED_NOT_OURS
    if ours:
        return Reason.PASSED_OUR_DIAL
    lost = Reason.DROPPED_AGENT_LOST if strict else Reason.PASSED_AGENT_LOST
    return Reason.CAUGHT if alive else lost


@pytest.mark.parametrize("family", [4, 6])
def test_every_input_of_the_decision(rig: Rig, family: int) -> None:
    rig.install()
    maps = rig.kernel.maps
    for listened, ours, alive, strict in itertools.product((False, True), repeat=4):
        bpf.update(rig.maps["here"], bytes(4), here(NETNS, closed=strict))
        bpf.update(maps["heartbeat"], bytes(4), struct.pack("<Q", time.monotonic_ns() if alive else 0))
        source = place(NETNS, Address.of(*REMOTE[family]))
        before = rig.kernel.reasons()
        with (
            entry(maps["ports"], port_key(NETNS, PORT), listener(7, 1), there=listened),
            entry(maps["our_dials"], source, bytes(8), there=ours),
        ):
            run = run_lookup(rig.program, lookup_context(REMOTE[family], LOCAL[family]))
        why = expected(listened, ours, alive, strict)
        assert run.verdict == (DROP if why == Reason.DROPPED_AGENT_LOST else PASS), why
        assert run.socket_cookie == (rig.cookie(family) if why == Reason.CAUGHT else 0), why
        after = rig.kernel.reasons()
        # A port of nobody passes before anything is counted: that is every connection of the machine.
        assert after[why] - before[why] == (why != Reason.PASSED_NOT_OURS), why


@pytest.fixture
def caught(rig: Rig) -> Iterator[Rig]:
    """A rig in which REMOTE to LOCAL is caught."""
    rig.install()
    bpf.update(rig.maps["here"], bytes(4), here(NETNS, closed=True))
    bpf.update(rig.kernel.maps["heartbeat"], bytes(4), struct.pack("<Q", time.monotonic_ns()))
    with entry(rig.kernel.maps["ports"], port_key(NETNS, PORT), listener(7, 1)):
        yield rig


@pytest.mark.parametrize("family", [4, 6])
def test_udp_passes(caught: Rig, family: int) -> None:
    context = lookup_context(REMOTE[family], LOCAL[family], protocol=socket.IPPROTO_UDP)
    assert run_lookup(caught.program, context)[::2] == (PASS, 0)


@pytest.mark.parametrize("sockets", [0, -1])
def test_a_port_that_nobody_holds_any_more_passes(caught: Rig, sockets: int) -> None:
    bpf.update(caught.kernel.maps["ports"], port_key(NETNS, PORT), listener(7, sockets))
    assert run_lookup(caught.program, lookup_context(REMOTE[4], LOCAL[4]))[::2] == (PASS, 0)


def test_the_ports_of_another_namespace_are_not_ours(caught: Rig) -> None:
    bpf.update(caught.maps["here"], bytes(4), here(NETNS + 1, closed=True))
    assert run_lookup(caught.program, lookup_context(REMOTE[4], LOCAL[4]))[::2] == (PASS, 0)


@pytest.mark.parametrize("local", [PORT + 1, PORT - 1, 0x901F])  # the last is PORT with its bytes exchanged
def test_another_port_passes(caught: Rig, local: int) -> None:
    assert run_lookup(caught.program, lookup_context(REMOTE[4], (LOCAL[4][0], local)))[::2] == (PASS, 0)


@pytest.mark.parametrize(
    "remote",
    [("192.0.2.9", 40001), ("192.0.2.10", 40000), ("192.0.2.9", 0x409C)],
    ids=["port", "ip", "order"],
)
def test_a_dial_is_ours_only_by_its_whole_source(caught: Rig, remote: tuple[str, int]) -> None:
    source = place(NETNS, Address.of(*REMOTE[4]))
    with entry(caught.kernel.maps["our_dials"], source, bytes(8)):
        assert run_lookup(caught.program, lookup_context(REMOTE[4], LOCAL[4])).socket_cookie == 0
        assert run_lookup(caught.program, lookup_context(remote, LOCAL[4])).socket_cookie == caught.cookie(4)


def test_a_lookup_costs_little(caught: Rig) -> None:
    """No limit is asserted: a shared machine would break it. The number is for who asks (-rA)."""
    run = run_lookup(caught.program, lookup_context(REMOTE[6], LOCAL[6]), repeat=20_000)
    assert run.verdict == PASS
    print(f"sk_lookup, caught, IPv6: {run.duration_ns} ns a run")
