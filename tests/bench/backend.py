"""Shell. The servers that all peers lead to: our own echo server, and nginx. Both outside any mesh."""

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from meshtrio.benchmark.cores import Cores
from tests.bench.process import free_ports, running, wait_for_port
from tests.bench.scenario import Target
from tests.bench.wire import FAR, Wire, wired

HOST = "127.0.0.1"

NGINX = """
daemon off;
master_process off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log error;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path {folder}/nginx;
    proxy_temp_path {folder}/nginx;
    fastcgi_temp_path {folder}/nginx;
    uwsgi_temp_path {folder}/nginx;
    scgi_temp_path {folder}/nginx;
    server {{
        listen {host}:{port} backlog=4096;
        default_type text/plain;
        location / {{ return 200 "{body}"; }}
    }}
}}
"""


def address_text(address: tuple[str, int]) -> str:
    """Write ip:port."""
    return f"{address[0]}:{address[1]}"


_last_octets = itertools.cycle(range(1, 255))


def virtual_ip() -> str:
    """Give an address that nobody has and that the last turns did not use.

    One and the same would run out of ports: 28,000 connections a minute to one place are all there are, and
    only on the loopback does the kernel reuse those in TIME_WAIT early (tcp_tw_reuse = 2).
    """
    return f"10.96.77.{next(_last_octets)}"


class Ground(NamedTuple):
    """What is there for the whole run: a folder with the built load generator, and the cores."""

    folder: Path
    cores: Cores
    delay_ms: float = 0.0
    """Of the wire, each way."""


class Place(NamedTuple):
    """What every peer is given: where to put files, which cores there are, and where the servers listen."""

    folder: Path
    cores: Cores
    servers: dict[Target, tuple[str, int]]
    server: int = 0
    """The pid of the echo server."""
    wire: Wire | None = None
    """Where load and servers are, if they are apart."""


@contextlib.contextmanager
def serving(ground: Ground, *, hops: int = 1) -> Iterator[Place]:
    """Run both servers while the block lasts; for two hops beyond a wire.

    On other ports each time: else the connections of the last turn, in TIME_WAIT, would slow this one.
    """
    with contextlib.ExitStack() as stack:
        wire = stack.enter_context(wired(ground.delay_ms)) if hops == 2 else None
        yield stack.enter_context(_serving(ground, wire))


@contextlib.contextmanager
def _serving(ground: Ground, wire: Wire | None) -> Iterator[Place]:
    folder, cores, _ = ground
    # Beyond the wire they are reached by many addresses.
    host, address, spot = (HOST, HOST, None) if wire is None else ("0.0.0.0", FAR, wire.far)
    (port,) = free_ports(1)
    (folder / "nginx").mkdir(exist_ok=True)
    settings = folder / "nginx.conf"
    settings.write_text(NGINX.format(folder=folder, host=host, port=port, body="x" * 1024))
    echo_log, http_log = folder / "server.log", folder / "nginx.err"
    with (
        running(
            [str(folder / "server"), host], cores.server, log=echo_log, piped=True, spot=spot, grouped=True
        ) as echo,
        running(
            ["nginx", "-p", str(folder), "-e", str(folder / "nginx.log"), "-c", str(settings)],
            cores.server,
            log=http_log,
            spot=spot,
            grouped=True,
        ) as http,
    ):
        assert echo.stdout is not None
        echo_port = int(echo.stdout.readline())
        wait_for_port(port, http, within_s=5, log=http_log, host=address, spot=spot)
        echo_address, http_address = (address, echo_port), (address, port)
        yield Place(
            folder, cores, {"echo": echo_address, "anew": echo_address, "http": http_address}, echo.pid, wire
        )
