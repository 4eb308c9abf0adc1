"""World. Queries for names on both rungs: they come to our door, and nobody who asked can tell."""

import contextlib
import shutil
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from meshtrio.address import Address
from meshtrio.intercept.capture import Surroundings
from meshtrio.intercept.kernel import Kernel
from meshtrio.intercept.workload import Workload
from tests.bpf.app import Failed
from tests.bpf.names import ASK, OURS, QUERY, REAL, Resolver, real_resolver
from tests.intercept.node import ELSEWHERE, HERE, HERE6, RUNGS, Node, Place, a_place, node

pytestmark = [pytest.mark.kernel, pytest.mark.world]

MAPPED = f"::ffff:{HERE}"
RESOLVERS = [HERE, HERE6, MAPPED, "127.0.0.53", "127.0.0.1", "::1"]
REALS = [HERE, HERE6, ELSEWHERE, "127.0.0.53", "127.0.0.1", "::1"]
HOW = ["connect", "connect, sendmsg", "sendto", "sendmsg"]


@pytest.fixture
def place() -> Iterator[Place]:
    with a_place() as made:
        made.app.do(ASK)
        yield made


@pytest.fixture(params=RUNGS)
async def made(request: pytest.FixtureRequest, kernel: Kernel) -> AsyncIterator[Node]:
    """A node on one of the rungs, with queries caught."""
    rung = request.param
    async with node(kernel if rung == "ebpf" else None, dns=True) as opened:
        yield opened


def ask(place: Place, host: str, **how: Any) -> dict[str, Any]:
    said: dict[str, Any] = place.app.do("said = ask(host, **how)", host=host, how=how)
    return said


def ours(made: Node, shop: Workload) -> Resolver:
    return made.resolvers[shop.spec.name]


async def test_whoever_is_asked_by_udp_our_resolver_answers_in_its_name(made: Node, place: Place) -> None:
    with real_resolver(place.space, *REALS) as real:
        shop = await made.registry.add(place.spec())
        for host in RESOLVERS:
            for how in HOW:
                said = ask(place, host, how=how)
                assert said["answer"] == OURS, (host, how)
                assert said["from"] == [host, 53], how
                assert said.get("peer", [host, 53]) == [host, 53]
                assert ("peer" in said) == how.startswith("connect")
                assert ours(made, shop).heard.pop() == ("udp", Address.of(host, 53)), how
        assert ours(made, shop).heard == []
        assert real.heard == []


async def test_whoever_is_asked_by_tcp_likewise(made: Node, place: Place) -> None:
    shop = await made.registry.add(place.spec())
    for host in RESOLVERS:
        said = place.app.do("said = ask_tcp(host)", host=host)
        assert said == {"answer": OURS, "peer": [host, 53]}
        assert ours(made, shop).heard.pop() == ("tcp", Address.of(host, 53))


async def test_two_sockets_that_ask_two_resolvers_are_told_apart(made: Node, place: Place) -> None:
    shop = await made.registry.add(place.spec())
    for how in HOW:
        said = place.app.do(
            """
one, two = udp(hosts[0]), udp(hosts[1])
send(one, hosts[0], how); send(two, hosts[1], how); said = [heard(two)["from"], heard(one)["from"]]
one.close(); two.close()
""",
            hosts=[HERE, ELSEWHERE],
            how=how,
        )
        assert said == [[ELSEWHERE, 53], [HERE, 53]]
        meant = [ours(made, shop).heard.pop(0)[1] for _ in range(2)]
        assert meant == [Address.of(HERE, 53), Address.of(ELSEWHERE, 53)]


async def test_a_socket_that_asks_two_resolvers_hears_twice_from_those_that_it_asked(
    made: Node, place: Place
) -> None:
    """As musl does."""
    shop = await made.registry.add(place.spec())
    said = place.app.do(
        """
one = udp(hosts[0])
for host in hosts: send(one, host, "sendto")
said = [heard(one) for _ in hosts]
one.close()
""",
        hosts=[HERE, ELSEWHERE],
    )
    assert [one["answer"] for one in said] == [OURS, OURS]
    meant = {address.host for _, address in ours(made, shop).heard if address}
    assert {one["from"][0] for one in said} <= {HERE, ELSEWHERE}
    assert meant <= {HERE, ELSEWHERE}
    if made.kernel is None:
        assert meant == {one["from"][0] for one in said} == {HERE, ELSEWHERE}, "conntrack knows each"


async def test_a_socket_that_goes_on_asking_others_is_known_by_each(made: Node, place: Place) -> None:
    shop = await made.registry.add(place.spec())
    place.app.do("one = udp(host)", host=HERE)
    # Not the other way round: a connected socket hears nobody but its peer.
    for how in ("sendto", "connect"):
        for host in (HERE, ELSEWHERE, HERE):
            said = place.app.do("send(one, host, how); said = heard(one)", host=host, how=how)
            assert said["from"] == [host, 53]
            assert ours(made, shop).heard.pop()[1] == Address.of(host, 53)
    place.app.do("one.close()")


async def test_a_socket_that_chose_its_source_is_found_by_it(made: Node, place: Place) -> None:
    shop = await made.registry.add(place.spec())
    for host, source in ((ELSEWHERE, HERE), (HERE6, HERE6), ("127.0.0.53", "127.0.0.1")):
        for how in HOW:
            assert ask(place, host, how=how, source=source)["from"] == [host, 53]
            assert ours(made, shop).heard.pop()[1] == Address.of(host, 53)


@pytest.mark.parametrize("host", [HERE, HERE6])
async def test_who_asks_from_a_port_from_which_we_have_asked_is_caught_and_the_other_way_round(
    made: Node, place: Place, host: str
) -> None:
    """conntrack remembers a query for half a minute, and looks up the rules for what is new alone."""
    with real_resolver(place.space, host) as real:
        shop = await made.registry.add(place.spec())
        door = ours(made, shop).door
        assert door is not None

        def we_ask(port: int) -> int:
            with door.socket(socket.SOCK_DGRAM, socket.AF_INET6 if ":" in host else socket.AF_INET) as made:
                made.bind((host, port))
                made.settimeout(2)
                made.connect((host, 53))
                made.send(QUERY)
                assert made.recv(512).endswith(socket.inet_aton(REAL))
                return int(made.getsockname()[1])

        shared = we_ask(0)
        assert ask(place, host, source=host, source_port=shared)["answer"] == OURS
        assert we_ask(shared) == shared
        place.app.do("one = udp(host, source=host); send(one, host, 'sendto'); said = heard(one)", host=host)
        used = place.app.do("said = one.getsockname()[1]; one.close()")
        assert we_ask(used) == used
        assert ask(place, host, source=host, source_port=used)["answer"] == OURS
        assert len(real.heard) == 3


async def test_datagrams_to_other_ports_are_untouched(made: Node, place: Place) -> None:
    with real_resolver(place.space, *REALS, port=5353) as real:
        shop = await made.registry.add(place.spec())
        for host in RESOLVERS:
            for how in HOW:
                said = ask(place, host, how=how, port=5353)
                assert (said["answer"], said["from"]) == (REAL, [host, 5353])
                assert said.get("peer", [host, 5353]) == [host, 5353]
        assert ours(made, shop).heard == []
        assert len(real.heard) == len(RESOLVERS) * len(HOW)


async def test_a_connected_socket_that_asks_somebody_else_beside_keeps_its_peer(
    made: Node, place: Place
) -> None:
    with real_resolver(place.space, *REALS, port=5353):
        await made.registry.add(place.spec())
        said = place.app.do(
            """
one = udp(host)
send(one, host, "connect", 5353); said = [heard(one)]
one.sendto(QUERY, (host, 53)); said.append(list(one.getpeername())); one.send(QUERY); said.append(heard(one))
one.close()
""",
            host=HERE,
        )
        assert [said[0]["from"], said[1], said[2]["from"]] == [[HERE, 5353]] * 3


async def test_the_excluded_goes_to_whom_it_was_meant_for(made: Node, place: Place) -> None:
    with real_resolver(place.space, *REALS) as real:
        shop = await made.registry.add(place.spec())
        made.catcher.surroundings = Surroundings(cidrs=(f"{HERE}/32", f"{HERE6}/128"))
        with _excluded(made, cidrs=(HERE, HERE6)):
            await made.registry.refresh()
            for host in (HERE, HERE6, MAPPED):
                for how in HOW:
                    assert ask(place, host, how=how)["answer"] == REAL
            assert place.app.do("said = ask_tcp(host)", host=HERE)["answer"] == REAL
            assert ask(place, ELSEWHERE)["answer"] == OURS
        made.catcher.surroundings = Surroundings(outbound_ports=(53,))
        with _excluded(made, ports=(53,)):
            await made.registry.refresh()
            assert ask(place, ELSEWHERE)["answer"] == REAL
            assert place.app.do("said = ask_tcp(host)", host=ELSEWHERE)["answer"] == REAL
        made.catcher.surroundings = Surroundings()
        await made.registry.refresh()
        assert ask(place, HERE)["answer"] == OURS
        assert len(ours(made, shop).heard) == 2
        assert len(real.heard) == 3 * len(HOW) + 3


@contextlib.contextmanager
def _excluded(made: Node, cidrs: tuple[str, ...] = (), ports: tuple[int, ...] = ()) -> Iterator[None]:
    """Exclude in the maps too, as upkeep does on rung eBPF."""
    from meshtrio.config.schema import Config, Exclude
    from meshtrio.intercept.exclusions import exclude

    if made.kernel is None:
        yield
        return
    networks = tuple(f"{cidr}/{128 if ':' in cidr else 32}" for cidr in cidrs)
    exclude(made.kernel, Config(exclude=Exclude(outbound_cidrs=networks, outbound_ports=ports)))
    try:
        yield
    finally:
        exclude(made.kernel, Config())


async def test_our_own_question_to_the_resolver_is_not_caught(made: Node, place: Place) -> None:
    import socket

    with real_resolver(place.space, *REALS) as real:
        shop = await made.registry.add(place.spec())
        door = ours(made, shop).door
        assert door
        for family, host in (
            (socket.AF_INET, HERE),
            (socket.AF_INET6, HERE6),
            (socket.AF_INET, "127.0.0.53"),
        ):
            for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                with door.socket(kind, family) as mine:
                    assert not mine.getblocking()
                    mine.settimeout(2)
                    mine.connect((host, 53))
                    query = b"\x12\x34\x01\0\0\1\0\0\0\0\0\0\4name\0\0\1\0\1"
                    if kind == socket.SOCK_STREAM:
                        query = len(query).to_bytes(2, "big") + query
                    mine.send(query)
                    assert mine.recv(512).endswith(socket.inet_aton(REAL))
        assert ours(made, shop).heard == []
        assert len(real.heard) == 6


async def test_who_asks_the_door_itself_meant_nobody(made: Node, place: Place) -> None:
    shop = await made.registry.add(place.spec())
    door = ours(made, shop).door
    assert door
    for host in ("127.0.0.1", "::1"):
        for how in HOW:
            assert ask(place, host, how=how, port=door.port)["answer"] == OURS
            assert ours(made, shop).heard.pop() == ("udp", None)
        assert place.app.do("said = ask_tcp(host, port)", host=host, port=door.port)["answer"] == OURS
        assert ours(made, shop).heard.pop() == ("tcp", None)
    if made.kernel is not None:
        ask(place, HERE)
        ask(place, "127.0.0.1", port=door.port)
        assert ours(made, shop).heard.pop() == ("udp", Address.of(HERE, 53)), "who was asked last is a guess"


async def test_when_it_is_taken_away_the_real_resolver_is_asked(made: Node, place: Place) -> None:
    with real_resolver(place.space, *REALS):
        shop = await made.registry.add(place.spec())
        place.app.do("one = udp(host); send(one, host, 'connect'); heard(one)", host=HERE)
        left = await made.registry.catch_no_more(shop.spec.name)
        assert ask(place, HERE)["answer"] == REAL
        assert place.app.do("said = ask_tcp(host)", host=HERE)["answer"] == REAL
        assert place.app.do("one.send(QUERY); said = heard(one)")["answer"] == OURS, "until its remains go"
        assert await made.registry.remove(left)
        if made.kernel is None:
            assert place.app.do("one.send(QUERY); said = heard(one)")["answer"] == REAL
        else:
            with pytest.raises(Failed, match="ECONNREFUSED"):
                place.app.do("one.send(QUERY); heard(one)")
        for host in (HERE, HERE6, "127.0.0.53"):
            assert ask(place, host)["answer"] == REAL
    assert place.remains() == []


async def test_not_wanted_means_not_caught(kernel: Kernel, place: Place) -> None:
    for chosen in (kernel, None):
        async with node(chosen) as off:
            with real_resolver(place.space, *REALS):
                shop = await off.registry.add(place.spec())
                assert (shop.dns, shop.why_no_dns) == (None, "")
                assert ask(place, HERE)["answer"] == REAL


PROGRAMS = [
    ("getent", "ahostsv4", "shop.example"),
    ("python3", "-c", "import socket; print(socket.gethostbyname('shop.example'))"),
    ("busybox", "nslookup", "shop.example", HERE),
    ("dig", "+short", f"@{HERE}", "shop.example"),
    ("dig", "+short", "+tcp", f"@{HERE6}", "shop.example"),
]


async def test_real_programs_are_content(made: Node, place: Place) -> None:
    shop = await made.registry.add(place.spec())
    for command in PROGRAMS:
        if shutil.which(command[0]) is None:
            continue
        said = place.app.do(
            "import subprocess\n"
            "said = subprocess.run(command, capture_output=True, text=True, timeout=20).stdout",
            command=list(command),
        )
        assert OURS in said, command
        assert ours(made, shop).heard, command
        assert all(meant for _, meant in ours(made, shop).heard), command
        ours(made, shop).heard.clear()
