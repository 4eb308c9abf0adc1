"""Shell. Who is measured: nothing in between, HAProxy, and HAProxy behind an nf_tables redirect.

The two rungs of meshtrio are in mesh.py. A peer stands while its block lasts, and leaves nothing behind.
"""

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from tests.bench.backend import HOST, Place, address_text, virtual_ip
from tests.bench.process import descriptor_limit, free_ports, running, wait_for_port
from tests.bench.scenario import Target, idle_most
from tests.bench.workload import Entrance, Workload


class Standing(NamedTuple):
    """A peer that is ready to be measured."""

    workload: Workload
    dial: Mapping[Target, tuple[str, int]]
    """What the load dials."""
    proxies: tuple[int, ...]
    """The roots of the proxies' process trees; the workload's branch of them does not count."""
    ready_s: float | None
    server: int = 0
    """The pid of an echo server of its own; 0: it leads to the place's."""


class Peer(Protocol):
    """Somebody who carries the load's connections to the servers."""

    @property
    def name(self) -> str:
        """What the tables call it."""

    @property
    def hops(self) -> int:
        """How many proxies stand between load and servers: with two, both are beyond a wire."""

    @property
    def programs(self) -> tuple[str, ...]:
        """What must be installed."""

    def hindrance(self) -> str | None:
        """Say why it cannot run here, or None."""

    def role_of(self, words: list[str]) -> str:
        """Say what a process of its tree is, by its command: "proxy", "agent" or "worker"."""

    def stand(self, place: Place) -> AbstractContextManager[Standing]:
        """Run it while the block lasts, pinned to the proxy's core."""


class Unmeshed:
    """The load dials the servers. What all else is compared with."""

    programs = ()

    def __init__(self, hops: int = 1) -> None:
        """With two hops there is a wire, and nobody at its ends."""
        self.hops = hops
        self.name = "unmeshed" if hops == 1 else "unmeshed-wire"

    def hindrance(self) -> str | None:
        """Say why it cannot run here, or None."""
        return None

    def role_of(self, words: list[str]) -> str:
        """There is no proxy."""
        return "proxy"

    @contextlib.contextmanager
    def stand(self, place: Place) -> Iterator[Standing]:
        """Run only the load."""
        with unmeshed_workload(place) as workload:
            yield Standing(workload, place.servers, (), None)


HAPROXY = """
global
    nbthread 1
    maxconn {most}
defaults
    mode tcp
    maxconn {most}
    timeout connect 5s
    timeout client 1h
    timeout server 1h
frontend echo
    bind {host}:{echo} backlog 4096
    default_backend echo
backend echo
    server one {echo_server}
frontend http
    bind {host}:{http} backlog 4096
    default_backend http
backend http
    server one {http_server}
"""


class HAProxy:
    """HAProxy as Debian has it: mode tcp, one thread, no tuning. The load dials its frontends."""

    name = "haproxy"
    hops = 1
    programs: tuple[str, ...] = ("haproxy",)

    def hindrance(self) -> str | None:
        """Say why it cannot run here, or None."""
        return None

    def role_of(self, words: list[str]) -> str:
        """Everything in its tree is the proxy."""
        return "proxy"

    @contextlib.contextmanager
    def stand(self, place: Place) -> Iterator[Standing]:
        """Run HAProxy and the load."""
        echo, http = free_ports(2)
        ports: dict[Target, int] = {"echo": echo, "http": http}
        with _haproxy(place, ports) as (process, ready_s), unmeshed_workload(place) as workload:
            yield Standing(workload, {t: (HOST, port) for t, port in ports.items()}, (process.pid,), ready_s)


REDIRECT = """
table ip {table} {{
    chain output {{
        type nat hook output priority -100; policy accept;
        ip daddr {virtual} tcp dport 7000 redirect to :{echo}
        ip daddr {virtual} tcp dport 80 redirect to :{http}
    }}
}}
"""


class RedirectedHAProxy:
    """HAProxy behind what most meshes use: an nf_tables redirect. The load dials an address that nobody has.

    The rules match that address only, but while the table is there the kernel tracks every connection.
    """

    name = "haproxy-redirect"
    hops = 1
    programs: tuple[str, ...] = ("haproxy", "nft")

    def hindrance(self) -> str | None:
        """Say why it cannot run here, or None."""
        return None if os.geteuid() == 0 else "needs root"

    def role_of(self, words: list[str]) -> str:
        """Everything in its tree is the proxy."""
        return "proxy"

    @contextlib.contextmanager
    def stand(self, place: Place) -> Iterator[Standing]:
        """Set the rules, run HAProxy and the load; the table is gone afterwards."""
        echo, http = free_ports(2)
        ports: dict[Target, int] = {"echo": echo, "http": http}
        with (
            _haproxy(place, ports) as (process, ready_s),
            redirected(echo, http) as dial,
            unmeshed_workload(place) as workload,
        ):
            yield Standing(workload, dial, (process.pid,), ready_s)


@contextlib.contextmanager
def redirected(echo: int, http: int) -> Iterator[dict[Target, tuple[str, int]]]:
    """Lead to these ports what is dialled at the addresses that are given; the table is gone afterwards."""
    virtual, table = virtual_ip(), f"bench_{os.getpid()}"
    nft(["-f", "-"], REDIRECT.format(table=table, virtual=virtual, echo=echo, http=http))
    try:
        yield {"echo": (virtual, 7000), "http": (virtual, 80)}
    finally:
        nft(["delete", "table", "ip", table])


def nft(words: list[str], rules: str = "") -> str:
    """Run nft, and give what it says. RuntimeError if it refuses."""
    done = subprocess.run(["nft", *words], input=rules, text=True, capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(f"nft {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


@contextlib.contextmanager
def unmeshed_workload(place: Place) -> Iterator[Workload]:
    """Run the load outside any mesh, or where the place says that it is."""
    entrance = Entrance(place.folder)
    log = place.folder / "launcher.log"
    spot = place.wire.near if place.wire else None
    with (
        entrance.open() as door,
        running(entrance.command, place.cores.client, log=log, spot=spot, grouped=True) as launcher,
        entrance.admit(door, launcher, place.cores.client, log=log) as workload,
    ):
        yield workload


@contextlib.contextmanager
def _haproxy(place: Place, ports: Mapping[Target, int]) -> Iterator[tuple[subprocess.Popen[str], float]]:
    settings, log = place.folder / "haproxy.cfg", place.folder / "haproxy.log"
    settings.write_text(
        HAPROXY.format(
            host=HOST,
            most=idle_most(descriptor_limit()),
            echo_server=address_text(place.servers["echo"]),
            http_server=address_text(place.servers["http"]),
            echo=ports["echo"],
            http=ports["http"],
        )
    )
    began = time.monotonic()
    with running(["haproxy", "-db", "-f", str(settings)], place.cores.proxy, log=log) as process:
        wait_for_port(ports["echo"], process, within_s=5, log=log)
        yield process, time.monotonic() - began
