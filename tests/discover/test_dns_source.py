"""Shell. Endpoints by DNS: a real server on loopback, real packets, a clock that jumps."""

import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from meshtrio.catalog.dns_records import RECORDS
from meshtrio.catalog.merge import Merge
from meshtrio.catalog.snapshot import Snapshot
from meshtrio.catalog.stream import State, Stream
from meshtrio.catalog.vips import Vips
from meshtrio.config.discovery import DnsService
from meshtrio.discover.dns_source import ASK_S, follow_dns
from meshtrio.discover.hub import Hub
from tests.support.dns import SILENT, Fails, Raw, Records, Slow, Zone, dns_server
from tests.support.tree import TREE

HOST, SRV = "db.example.com", "_http._tcp.example.com"
DB = DnsService("db", HOST, port=5432)
WEB = DnsService("web", SRV, port=80, port_name="http")


class Heard:
    """What the hub hears, and when."""

    def __init__(self) -> None:
        self.hub = Hub(Merge(Vips()), self._publish)

    def _publish(self, snapshot: Snapshot) -> None:
        """Nobody reads it here."""

    def addresses(self, key: str = "default/db") -> list[str]:
        service = self.hub.merge.merged(key)
        return [str(one.address) for one in service.endpoints] if service else []

    def stream(self, name: str = f"db via {HOST}") -> Stream:
        return self.hub.streams["dns"][name]

    async def until(self, holds: Callable[[], bool]) -> float:
        """Wait until this holds, and say how long it took."""
        began = trio.current_time()
        with trio.fail_after(1000):
            while not holds():
                await trio.sleep(0.1)
        return trio.current_time() - began


@asynccontextmanager
async def following(zone: Zone, *services: DnsService, heard: Heard | None = None) -> AsyncIterator[Heard]:
    heard = heard or Heard()
    async with dns_server(zone) as server, trio.open_nursery() as nursery:
        nursery.start_soon(follow_dns, services, heard.hub.sink("dns"), (server.address,))
        await trio.testing.wait_all_tasks_blocked()
        yield heard
        nursery.cancel_scope.cancel()


async def test_both_families_become_endpoints(autojump_clock: MockClock) -> None:
    zone = Zone({(HOST, "A"): Records("10.0.0.2", "10.0.0.1"), (HOST, "AAAA"): Records("fd00::1")})
    async with following(zone, DB) as heard:
        await heard.until(lambda: heard.addresses() != [])
        assert sorted(heard.addresses()) == ["10.0.0.1:5432", "10.0.0.2:5432", "[fd00::1]:5432"]
        assert heard.stream().state is State.LIVE
        assert heard.stream().position == "3 addresses"
        assert heard.stream().events == 1, "no half truth came before"


async def test_a_host_of_udp_becomes_a_port_of_udp(autojump_clock: MockClock) -> None:
    host = "_dns._udp.example.com"
    zone = Zone(
        {(host, "SRV"): Records("1 1 53 a.example.com."), ("a.example.com", "A"): Records("10.0.0.1")}
    )
    async with following(zone, DnsService("names", host)) as heard:
        await heard.until(lambda: heard.addresses("default/names") == ["10.0.0.1:53"])
        service = heard.hub.merge.merged("default/names")
        assert service
        assert [(port.port, port.protocol) for port in service.datagrams] == [(53, "udp")]
        assert service.ports == ()


async def test_a_change_is_heard_when_the_ttl_is_over(autojump_clock: MockClock) -> None:
    zone = Zone({(HOST, "A"): Records("10.0.0.1", ttl=60)})
    async with following(zone, DB) as heard:
        await heard.until(lambda: heard.addresses() == ["10.0.0.1:5432"])
        zone[HOST, "A"] = Records("10.0.0.2", ttl=60)
        took_s = await heard.until(lambda: heard.addresses() == ["10.0.0.2:5432"])
        assert 59 < took_s < 67
        assert zone.count(HOST, "A") == 2


async def test_an_alias_has_the_least_ttl_of_its_chain(autojump_clock: MockClock) -> None:
    zone = Zone(
        {
            (HOST, "CNAME"): Records("a.example.com.", ttl=20),
            ("a.example.com", "A"): Records("10.0.0.1", ttl=300),
        }
    )
    async with following(zone, DB) as heard:
        await heard.until(lambda: heard.addresses() == ["10.0.0.1:5432"])
        zone[HOST, "CNAME"] = Records("b.example.com.")
        zone["b.example.com", "A"] = Records("10.0.0.2")
        assert await heard.until(lambda: heard.addresses() == ["10.0.0.2:5432"]) < 23


async def test_srv_with_priorities_weights_and_ports(autojump_clock: MockClock) -> None:
    zone = Zone(
        {
            (SRV, "SRV"): Records(
                "10 5 8081 a.Example.com.", "10 0 8082 b.example.com.", "20 1 8083 c.example.com."
            ),
            ("a.example.com", "A"): Records("10.0.0.1"),
            ("b.example.com", "AAAA"): Records("fd00::2"),
            ("c.example.com", "A"): Records("10.0.0.3"),
        }
    )
    async with following(zone, WEB) as heard:
        await heard.until(lambda: heard.addresses("default/web") != [])
        service = heard.hub.merge.merged("default/web")
        assert service
        (port,) = service.ports
        assert (port.name, port.port) == ("http", 80)
        assert {str(one.address): one.weight for one in port.endpoints} == {
            "10.0.0.1:8081": 5,
            "[fd00::2]:8082": 1,
        }
        assert heard.stream(f"web via {SRV}").state is State.LIVE
        assert heard.stream(f"web via {SRV}").events == 1
        zone[SRV, "SRV"] = Records("0 0 0 .")
        await heard.until(lambda: heard.addresses("default/web") == [])
        assert heard.hub.merge.merged("default/web") is None


@pytest.mark.parametrize(
    "fault", [SILENT, Fails("SERVFAIL"), Fails("REFUSED"), Raw(b"xx\x81\x80" + b"\xff" * 60), Raw(b"xx\x81")]
)
async def test_a_fault_keeps_what_was_known_and_heals(fault: Fails, autojump_clock: MockClock) -> None:
    zone = Zone({(HOST, "A"): Records("10.0.0.1", ttl=5)})
    async with following(zone, DB) as heard:
        await heard.until(lambda: heard.addresses() == ["10.0.0.1:5432"])
        zone[HOST, "A"] = zone[HOST, "AAAA"] = fault
        await heard.until(lambda: heard.stream().state is State.RETRYING)
        assert HOST in heard.stream().last_error
        await trio.sleep(600)
        assert heard.addresses() == ["10.0.0.1:5432"]
        asked = zone.count(HOST, "A")
        await trio.sleep(300)
        assert zone.count(HOST, "A") - asked < 100, "no storm"
        zone[HOST, "A"] = Records("10.0.0.2", ttl=5)
        zone[HOST, "AAAA"] = Records(ttl=5)
        took_s = await heard.until(lambda: heard.addresses() == ["10.0.0.2:5432"])
        assert took_s <= 33 + ASK_S
        await heard.until(lambda: heard.stream().state is State.LIVE)


async def test_one_family_that_fails_does_not_take_the_other(autojump_clock: MockClock) -> None:
    zone = Zone({(HOST, "A"): Records("10.0.0.1", ttl=5), (HOST, "AAAA"): SILENT})
    async with following(zone, DB) as heard:
        assert await heard.until(lambda: heard.addresses() == ["10.0.0.1:5432"]) < ASK_S + 1
        zone[HOST, "A"] = Records("10.0.0.2", ttl=5)
        assert await heard.until(lambda: heard.addresses() == ["10.0.0.2:5432"]) < 7, "silence delays nobody"
        await trio.sleep(60)
        assert heard.stream().state is State.LIVE
        assert heard.stream().errors > 0
        assert "no answer" in heard.stream().last_error


async def test_a_name_that_is_gone_is_believed_the_third_time(autojump_clock: MockClock) -> None:
    zone = Zone({(HOST, "A"): Records("10.0.0.1", ttl=5)})
    async with following(zone, DB) as heard:
        await heard.until(lambda: heard.addresses() == ["10.0.0.1:5432"])
        asked = zone.count(HOST, "A")
        del zone[HOST, "A"]
        await heard.until(lambda: heard.addresses() == [])
        assert zone.count(HOST, "A") - asked == 3
        assert heard.stream().state is State.LIVE


async def test_a_name_that_never_was_is_an_answer(autojump_clock: MockClock) -> None:
    zone = Zone()
    zone.negative_ttl = 15
    async with following(zone, DB) as heard:
        await heard.until(lambda: heard.stream().state is State.LIVE)
        assert heard.stream().position == "0 addresses"
        zone[HOST, "A"] = Records("10.0.0.1")
        assert 14 < await heard.until(lambda: heard.addresses() != []) < 18


async def test_one_host_that_fails_delays_no_other(autojump_clock: MockClock) -> None:
    dead = [DnsService(f"dead-{n}", f"dead-{n}.example.com", port=1) for n in range(10)]
    zone = Zone({(one.host, kind): SILENT for one in dead for kind in ("A", "AAAA")})
    zone[HOST, "A"] = Records("10.0.0.1", ttl=5)
    async with following(zone, *dead, DB) as heard:
        assert await heard.until(lambda: heard.addresses() == ["10.0.0.1:5432"]) < 1
        for ip in ("10.0.0.2", "10.0.0.3"):
            zone[HOST, "A"] = Records(ip, ttl=5)
            assert await heard.until(lambda ip=ip: heard.addresses() == [f"{ip}:5432"]) < 7  # type: ignore[misc]


async def test_a_slow_target_delays_no_other(autojump_clock: MockClock) -> None:
    zone = Zone(
        {
            (SRV, "SRV"): Records("0 1 80 a.example.com.", "0 1 80 slow.example.com.", ttl=300),
            ("a.example.com", "A"): Records("10.0.0.1", ttl=5),
            ("slow.example.com", "A"): Records("10.0.0.9", ttl=5),
        }
    )
    async with following(zone, WEB) as heard:
        await heard.until(lambda: heard.addresses("default/web") == ["10.0.0.1:80", "10.0.0.9:80"])
        zone["slow.example.com", "A"] = Slow(1.5, Records("10.0.0.8", ttl=5))
        await trio.sleep(5.6)
        zone["a.example.com", "A"] = Records("10.0.0.2", ttl=5)
        assert await heard.until(lambda: "10.0.0.2:80" in heard.addresses("default/web")) < 7
        await heard.until(lambda: heard.addresses("default/web") == ["10.0.0.2:80", "10.0.0.8:80"])


async def test_a_long_answer_comes_by_tcp_and_is_bounded(autojump_clock: MockClock) -> None:
    zone = Zone({(HOST, "A"): Records(*(f"10.0.{n // 250}.{n % 250}" for n in range(1, 301)))})
    async with following(zone, DB) as heard:
        await heard.until(lambda: heard.addresses() != [])
        assert len(heard.addresses()) == RECORDS
        assert [one.transport for one in zone.asked if one.kind == "A"] == ["udp", "tcp"]
        assert heard.stream().last_skipped == f"{HOST} has 300 A records; 64 are used"
        await trio.sleep(200)
        assert heard.stream().skipped == 1


async def test_several_entries_are_one_service(autojump_clock: MockClock) -> None:
    zone = Zone({(HOST, "A"): Records("10.0.0.1"), (SRV, "SRV"): Records("0 1 9090 db.example.com.")})
    entries = [DnsService("db", HOST, port=80, port_name="http"), DnsService("db", SRV, port_name="grpc")]
    async with following(zone, *entries) as heard:
        await heard.until(lambda: len(heard.addresses()) == 2)
        service = heard.hub.merge.merged("default/db")
        assert service
        assert [(port.name, port.port) for port in service.ports] == [("http", 80), ("grpc", 9090)]
        assert len(heard.hub.streams["dns"]) == 2


async def test_other_settings_take_back_what_is_wanted_no_more(autojump_clock: MockClock) -> None:
    zone = Zone({(HOST, "A"): Records("10.0.0.1")})
    other = DnsService("other", HOST, namespace="shop", port=1)
    async with following(zone, DB, other) as heard:
        await heard.until(lambda: heard.addresses() != [] and heard.addresses("shop/other") == ["10.0.0.1:1"])
    zone[HOST, "A"] = zone[HOST, "AAAA"] = SILENT
    async with following(zone, DB, heard=heard) as heard:
        await trio.sleep(60)
        assert heard.addresses() == ["10.0.0.1:5432"]
        assert heard.addresses("shop/other") == []


async def test_a_server_that_is_not_there(autojump_clock: MockClock) -> None:
    heard = Heard()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow_dns, (DB,), heard.hub.sink("dns"), ("127.0.0.1:1",))
        await trio.testing.wait_all_tasks_blocked()
        await heard.until(lambda: heard.stream().state is State.RETRYING)
        nursery.cancel_scope.cancel()


async def test_the_second_server_is_asked_when_the_first_is_not_there(autojump_clock: MockClock) -> None:
    heard = Heard()
    zone = Zone({(HOST, "A"): Records("10.0.0.1")})
    async with dns_server(zone, "::1") as server, trio.open_nursery() as nursery:
        nursery.start_soon(follow_dns, (DB,), heard.hub.sink("dns"), ("127.0.0.1:1", server.address))
        await heard.until(lambda: heard.addresses() == ["10.0.0.1:5432"])
        nursery.cancel_scope.cancel()


CHILD = """
import trio
from tests.discover.test_dns_source import DnsService, Heard, follow_dns

async def main():
    heard = Heard()
    services = (DnsService("short", "db", port=1), DnsService("long", "db.example.com", port=2))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow_dns, services, heard.hub.sink("dns"))
        await heard.until(lambda: heard.addresses("default/short") and heard.addresses("default/long"))
        print(heard.addresses("default/short") + heard.addresses("default/long"))
        nursery.cancel_scope.cancel()

trio.run(main)
"""


@pytest.mark.world
async def test_the_systems_resolvers_and_search_list_are_used(tmp_path: Path) -> None:
    resolv = tmp_path / "resolv.conf"
    resolv.write_text("nameserver 127.0.53.7\nsearch nowhere.example.com example.com\n")
    words = f'mount --bind {resolv} "$(realpath /etc/resolv.conf)" && exec "$0" -c "$1"'
    argv = ["unshare", "-m", "--propagation", "private", "sh", "-c", words, sys.executable, CHILD]
    async with dns_server(Zone({(HOST, "A"): Records("10.0.0.1")}), "127.0.53.7", 53):
        with trio.fail_after(20):
            ended = await trio.run_process(
                argv, cwd=TREE, capture_stdout=True, stderr=subprocess.STDOUT, check=False
            )
    assert ended.stdout.decode().strip() == "['10.0.0.1:1', '10.0.0.1:2']"
