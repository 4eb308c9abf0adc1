"""Shell. The whole resolver as programs see it: dig, the C library, Python; its settings, and its end."""

import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dns.message
import pytest
import trio
import trio.testing

from meshtrio.catalog.snapshot import Snapshot
from meshtrio.config.discovery import Dns
from meshtrio.resolver.resolver import Resolver
from tests.support.dns_counter import Counter
from tests.support.dnswords import lines, query
from tests.support.nameserver import LoopbackDoor, asked, both, own_address
from tests.support.shop import SHOP

HOST = "127.83.53.7"
"""Nobody else listens here, and resolv.conf knows no ports but 53."""

needs_dig = pytest.mark.skipif(shutil.which("dig") is None, reason="no dig (bind9-dnsutils)")


async def output_of(*argv: str) -> str:
    with trio.fail_after(20):
        ended = await trio.run_process(argv, capture_stdout=True, stderr=subprocess.STDOUT, check=False)
    return ended.stdout.decode()


async def dig(counter: Counter, *words: str) -> list[str]:
    place = (f"@{counter.door.address.host}", "-p", str(counter.door.address.port))
    text = await output_of("dig", *place, "+tries=1", "+time=3", *words)
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


@needs_dig
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("+short orders.mesh", ["240.240.1.2"]),
        ("+short ORDERS.shop.svc.cluster.local AAAA", ["fd6d:6573:68::102"]),
        ("+short +tcp orders.mesh", ["240.240.1.2"]),
        ("+short +search +domain=shop.svc.cluster.local +ndots=5 orders", ["240.240.1.2"]),
        ("+short -x 240.240.1.2", ["orders.shop.mesh."]),
        ("+short _http._tcp.orders.mesh SRV", ["0 100 80 orders.mesh."]),
        ("+short www.example", [own_address("www.example")]),
        ("+short paying.mesh", ["api.example.com.", own_address("api.example.com")]),
    ],
)
async def test_dig_finds_what_is_there(counter: Counter, words: str, expected: list[str]) -> None:
    assert await dig(counter, *words.split()) == expected


@needs_dig
async def test_dig_has_nothing_to_complain_of(counter: Counter) -> None:
    for words in (
        "orders.mesh",
        "+dnssec +cookie +subnet=192.0.2.0/24 orders.mesh",
        "nope.mesh",
        "+tcp shop.mesh",
    ):
        said = await dig(counter, *words.split())
        assert not [line for line in said if "WARN" in line or "warning" in line or "mismatch" in line], said
        assert [line for line in said if line.startswith(";; flags: qr aa rd ra")], said


@needs_dig
async def test_dig_asks_again_by_tcp_when_told_that_there_is_more(counter: Counter) -> None:
    said = await dig(counter, "+noedns", "big.example")
    assert ";; Truncated, retrying in TCP mode." in said
    assert len([line for line in said if "IN A 10.9.0." in line]) == 100
    assert len(await dig(counter, "+short", "+tcp", "many.default")) == 100
    assert len(await dig(counter, "+short", "+noedns", "many.default")) == 16


@pytest.fixture
def resolv_conf(tmp_path: Path) -> Path:
    made = tmp_path / "resolv.conf"
    made.write_text(
        f"nameserver {HOST}\nsearch shop.svc.cluster.local svc.cluster.local\noptions ndots:5 timeout:2\n"
    )
    return made


@pytest.fixture
def door_at_53() -> Iterator[tuple[socket.socket, socket.socket]]:
    with both(HOST, 53) as sockets:
        yield sockets


@pytest.mark.world
async def test_the_c_library_and_python_find_services_and_others(
    resolv_conf: Path,
    door_at_53: tuple[socket.socket, socket.socket],
    counter: Counter,
    nursery: trio.Nursery,
) -> None:
    door = LoopbackDoor(door_at_53, counter.nameserver.address)
    nursery.start_soon(counter.resolver.serve, door)

    async def inside(*argv: str) -> str:
        mounted = f'mount --bind {resolv_conf} /etc/resolv.conf && exec "$@"'
        return await output_of("unshare", "-m", "sh", "-c", mounted, "sh", *argv)

    for name in ("orders", "orders.shop", "orders.mesh", "orders.shop.svc.cluster.local"):
        assert "240.240.1.2" in await inside("getent", "ahostsv4", name), name
        assert "fd6d:6573:68::102" in await inside("getent", "ahostsv6", name), name
    assert own_address("www.example") in await inside("getent", "ahostsv4", "www.example.")
    assert "api.example.com" in await inside("getent", "ahostsv4", "paying.mesh")
    assert "orders.shop.mesh" in await inside("getent", "hosts", "240.240.1.2")
    assert await inside("getent", "ahostsv4", "nope.mesh") == ""
    assert (await inside("getent", "ahostsv4", "big.example.")).count("STREAM") == 100
    code = "import socket; print(len({one[4] for one in socket.getaddrinfo('db', 5432)}))"
    assert await inside(sys.executable, "-c", code) == "3\n"
    assert "bug" not in counter.resolver.counts.dropped


async def test_settings_are_replaced_while_it_serves(counter: Counter) -> None:
    assert lines(await counter.ask(query("orders.mesh")))[1] == "orders.mesh. 30 A 240.240.1.2"
    counter.resolver.settings = Dns(ttl_s=3, cluster_domain="corp.example")
    assert counter.resolver.settings.ttl_s == 3
    assert lines(await counter.ask(query("orders.shop.svc.corp.example")))[1].split()[1] == "3"


async def test_each_query_sees_the_catalog_as_it_is_then(
    door_sockets: tuple[socket.socket, socket.socket], client: socket.socket
) -> None:
    snapshot = Snapshot()
    door = LoopbackDoor(door_sockets, None)
    async with trio.open_nursery() as served:
        served.start_soon(Resolver(lambda: snapshot, Dns()).serve, door)
        assert lines(await asked(client, door.address, query("orders.mesh")))[0] == "NXDOMAIN"
        snapshot = SHOP
        assert lines(await asked(client, door.address, query("orders.mesh")))[0] == "NOERROR"
        served.cancel_scope.cancel()


async def test_doors_do_not_share_what_they_remember_and_forget_it_at_their_end(counter: Counter) -> None:
    """The same address of a resolver may be another resolver in another namespace."""
    with both() as sockets:
        other = LoopbackDoor(sockets, counter.nameserver.address)
        async with trio.open_nursery() as served:
            served.start_soon(counter.resolver.serve, other)
            for address in (counter.door.address, other.address, other.address):
                await asked(counter.client, address, query("nope.example"))
            assert len(counter.nameserver.queries) == 2
            assert counter.resolver.remembered == 2
            served.cancel_scope.cancel()
        assert counter.resolver.remembered == 1


@pytest.mark.parametrize("name", ["silent.example", "orders.mesh"])
async def test_cancelled_in_the_middle_it_leaves_nothing_open(counter: Counter, name: str) -> None:
    """What it leaves open would fail this test at its end; its door stays as it was."""
    raw = query(name)
    with both() as sockets:
        door = LoopbackDoor(sockets, counter.nameserver.address)
        async with trio.open_nursery() as served:
            served.start_soon(counter.resolver.serve, door)
            counter.client.sendto(raw, (door.address.host, door.address.port))
            async with await trio.open_tcp_stream(door.address.host, door.address.port) as stream:
                await stream.send_all(len(raw).to_bytes(2, "big") + raw)
                await trio.testing.wait_all_tasks_blocked(0.02)
                served.cancel_scope.cancel()
        assert door.udp[0].fileno() >= 0


async def test_the_resolver_is_small_until_an_alias_is_chased() -> None:
    code = "import sys, meshtrio.resolver.resolver; print([one for one in sys.modules if 'dns' in one[:4]])"
    assert await output_of(sys.executable, "-c", code) == "[]\n"
    assert dns.message  # the tests themselves have it
