"""World. Whom a query was meant for, where one source of knowledge is missing. More in test_names.py."""

import contextlib
import socket
import struct
import time
from collections.abc import Iterator

import pytest

from meshtrio.address import Address
from meshtrio.intercept import asked, bpf
from meshtrio.intercept.asked import MeantByHooks, MeantByRules
from meshtrio.intercept.kernel import Kernel
from meshtrio.intercept.layout import place
from meshtrio.intercept.netns import Netns

pytestmark = [pytest.mark.kernel, pytest.mark.world]

RESOLVER, OTHER = Address.of("10.9.9.9", 53), Address.of("fd00::53", 53)
HERE = Address.of("127.0.0.1", 15053)
WORKLOAD = 71


def origin(resolver: Address) -> bytes:
    return resolver.pack() + struct.pack("<2xI", WORKLOAD)


@pytest.fixture
def netns() -> Iterator[Netns]:
    with contextlib.closing(Netns.current()) as opened:
        yield opened


@pytest.fixture
def meant(kernel: Kernel, netns: Netns) -> Iterator[MeantByHooks]:
    with contextlib.closing(MeantByHooks(kernel, netns, WORKLOAD)) as opened:
        yield opened
    bpf.delete(kernel.maps["last_asked"], struct.pack("<I", WORKLOAD))


@contextlib.contextmanager
def asking(kernel: Kernel, *, known: bool) -> Iterator[Address]:
    """Have a UDP socket at some address, of which the hooks know whom it asked, or not."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        cookie = one.getsockopt(socket.SOL_SOCKET, 57, 8)
        if known:
            bpf.update(kernel.maps["asked"], cookie, origin(RESOLVER))
        yield Address.of(*one.getsockname())
        bpf.delete(kernel.maps["asked"], cookie)


def test_the_socket_is_believed_before_the_workload(kernel: Kernel, meant: MeantByHooks) -> None:
    bpf.update(kernel.maps["last_asked"], struct.pack("<I", WORKLOAD), origin(OTHER))
    with asking(kernel, known=True) as source:
        assert meant.by_datagram(source, HERE) == RESOLVER
    with asking(kernel, known=False) as source:
        assert meant.by_datagram(source, HERE) == OTHER
    assert meant.by_datagram(source, HERE) == OTHER, "the socket has gone"


def test_a_workload_does_not_inherit_from_another_of_its_number(kernel: Kernel, netns: Netns) -> None:
    bpf.update(kernel.maps["last_asked"], struct.pack("<I", WORKLOAD), origin(OTHER))
    with contextlib.closing(MeantByHooks(kernel, netns, WORKLOAD)) as fresh:
        assert fresh.by_datagram(Address.of("127.0.0.1", 1), HERE) is None


def test_without_sock_diag_the_workload_s_last_resolver_is_the_answer(
    kernel: Kernel, netns: Netns, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: Netns) -> None:
        raise OSError(93, "Protocol not supported")

    monkeypatch.setattr(asked, "SockDiag", refused)
    with contextlib.closing(MeantByHooks(kernel, netns, WORKLOAD)) as blind, asking(kernel, known=True) as at:
        assert blind.by_datagram(at, HERE) is None
        bpf.update(kernel.maps["last_asked"], struct.pack("<I", WORKLOAD), origin(OTHER))
        assert blind.by_datagram(at, HERE) == OTHER
    bpf.delete(kernel.maps["last_asked"], struct.pack("<I", WORKLOAD))


def test_a_connection_is_known_once(kernel: Kernel, netns: Netns, meant: MeantByHooks) -> None:
    source = Address.of("127.0.0.1", 4001)
    with socket.socket() as client:
        client.bind(("127.0.0.1", 0))
        at = place(netns.id, source, client.getsockname()[1])
        bpf.update(kernel.maps["destinations"], at, origin(RESOLVER))
        assert meant.by_connection(client, source) == RESOLVER
        assert meant.by_connection(client, source) is None


def test_without_ctnetlink_datagrams_are_unknown(netns: Netns, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: Netns) -> None:
        raise OSError(93, "Protocol not supported")

    monkeypatch.setattr(asked, "Conntrack", refused)
    with contextlib.closing(MeantByRules(netns)) as blind:
        assert blind.by_datagram(Address.of("127.0.0.1", 4001), HERE) is None


def test_what_is_no_connection_any_more_is_unknown(netns: Netns) -> None:
    with contextlib.closing(MeantByRules(netns)) as meant, socket.socket() as client:
        assert meant.by_connection(client, Address.of("127.0.0.1", 4001)) is None


def test_the_answer_is_there_in_far_less_than_a_query_takes(
    kernel: Kernel, netns: Netns, meant: MeantByHooks
) -> None:
    """Below 20 us on a quiet machine; the bound is what a resolver that answers in 1 ms can spare."""
    with contextlib.closing(MeantByRules(netns)) as rules, asking(kernel, known=True) as source:
        for one in (meant, rules):
            began = time.perf_counter()
            for _ in range(200):
                one.by_datagram(source, HERE)
            assert (time.perf_counter() - began) / 200 < 300e-6
