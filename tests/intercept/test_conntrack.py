"""World. The one question to ctnetlink, about datagrams that real rules redirect."""

import contextlib
import os
import socket
import time
from collections.abc import Iterator

import pytest

from meshtrio.address import Address
from meshtrio.intercept import conntrack
from meshtrio.intercept.conntrack import Conntrack
from meshtrio.intercept.netns import Netns
from tests.support.namespace import Namespace

pytestmark = pytest.mark.world

DOOR = 15053
RULES = f"""
table inet t {{
    chain c {{ type nat hook output priority -110; udp dport 53 redirect to :{DOOR}; }}
}}
"""


@pytest.fixture
def space() -> Iterator[Namespace]:
    with Namespace() as made:
        made.add_address("10.1.2.3/32", "lo")
        made.add_address("fd00:1::3/128", "lo")
        made.route_everything()
        made.command("nft", RULES)
        yield made


@contextlib.contextmanager
def asking(space: Namespace) -> Iterator[Conntrack]:
    with (
        contextlib.closing(Netns.adopt(os.dup(space.fd), named="it")) as netns,
        contextlib.closing(Conntrack(netns)) as line,
    ):
        yield line


def udp(space: Namespace, family: int) -> socket.socket:
    made = space.run(lambda: socket.socket(family, socket.SOCK_DGRAM))
    made.settimeout(2)
    return made


CASES = [("10.9.9.9", ""), ("10.9.9.9", "10.1.2.3"), ("127.0.0.53", ""), ("fd00:9::9", ""), ("::1", "")]


@pytest.mark.parametrize(("host", "source"), CASES)
def test_it_says_where_a_datagram_was_sent(space: Namespace, host: str, source: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    here = Address.of("::1" if ":" in host else "127.0.0.1", DOOR)
    with asking(space) as line, udp(space, family) as door, udp(space, family) as caller:
        door.bind((here.host, DOOR))
        if source:
            caller.bind((source, 0))
        for to in (host, host[:-1] + "1" if len(host) > 5 else host):
            caller.sendto(b"x", (to, 53))
            _, peer = door.recvfrom(10)
            assert line.sent_to(Address.of(*peer[:2]), here) == Address.of(to, 53)
        caller.sendto(b"x", (here.host, DOOR))
        _, peer = door.recvfrom(10)
        assert line.sent_to(Address.of(*peer[:2]), here) is None, "this one meant us"


def test_what_nobody_sent_is_unknown(space: Namespace) -> None:
    with asking(space) as line:
        for host, here in (("10.1.2.3", "127.0.0.1"), ("::1", "::1")):
            assert line.sent_to(Address.of(host, 4000), Address.of(here, DOOR)) is None


def test_it_asks_in_its_own_namespace_only(space: Namespace) -> None:
    here = Address.of("127.0.0.1", DOOR)
    with Namespace() as elsewhere, asking(elsewhere) as other, udp(space, socket.AF_INET) as caller:
        with udp(space, socket.AF_INET) as door:
            door.bind(("127.0.0.1", DOOR))
            caller.sendto(b"x", ("10.9.9.9", 53))
            _, peer = door.recvfrom(10)
        assert other.sent_to(Address.of(*peer), here) is None


def test_it_is_quick(space: Namespace) -> None:
    """A hundred questions in far less than the 10 ms that 100 us each would be on a quiet machine."""
    with asking(space) as line:
        began = time.thread_time()  # the machine may be busy with something else
        for port in range(1000, 1100):
            line.sent_to(Address.of("127.0.0.1", port), Address.of("127.0.0.1", DOOR))
        assert time.thread_time() - began < 0.1


def test_an_answer_that_is_cut_off_is_no_fault() -> None:
    question = conntrack._question(Address.of("10.1.2.3", 9), Address.of("127.0.0.1", DOOR))
    # The tuple of the question, as it stands in an answer.
    whole = question[20:22] + b"\x01\x80" + question[24:]
    assert conntrack._destination(whole) == Address.of("10.1.2.3", 9)
    for cut in range(len(whole)):
        assert conntrack._destination(whole[:cut]) is None
    assert conntrack._attributes(b"\x02\0\x01\0" + bytes(8)) == {}, "shorter than its own head"
