"""Shell. nginx as a proxy of TCP (its stream module), behind a redirect and as two hops of mutual TLS.

One process, one thread, no tuning, but half-closed connections go on. It knows no SPIFFE IDs: the near one
verifies the far one by a host name, and the far one verifies only that the near one is below the root.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench import credentials
from tests.bench.backend import HOST, Place, address_text
from tests.bench.mtls import PLAIN, SECURE, pair
from tests.bench.peer import Standing, redirected, unmeshed_workload
from tests.bench.process import free_ports, running, wait_for_port
from tests.bench.scenario import Target
from tests.bench.wire import FAR

MODULES = (Path("/usr/lib/nginx/modules"), Path("/usr/lib64/nginx/modules"), Path("/usr/share/nginx/modules"))
MODULE = "ngx_stream_module.so"

HEAD = """
load_module {module};
daemon off;
master_process off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid {folder}/{name}.pid;
error_log stderr error;
events {{ worker_connections 20000; }}
stream {{
proxy_timeout 1h;
proxy_half_close on;
proxy_connect_timeout 5s;
{servers}
}}
"""
NEAR_TLS = """proxy_ssl on; proxy_ssl_protocols TLSv1.3; proxy_ssl_certificate {crt};
    proxy_ssl_certificate_key {crt}; proxy_ssl_trusted_certificate {ca}; proxy_ssl_verify on;
    proxy_ssl_verify_depth 3; proxy_ssl_name {name}; proxy_ssl_session_reuse {reuse};"""
FAR_TLS = """ssl_protocols TLSv1.3; ssl_certificate {crt}; ssl_certificate_key {crt};
    ssl_client_certificate {ca}; ssl_verify_client on; ssl_verify_depth 3; ssl_session_cache shared:far:4m;"""


def module() -> Path | None:
    """Find the stream module. None if it is not installed."""
    return next((folder / MODULE for folder in MODULES if (folder / MODULE).exists()), None)


def hindrance() -> str | None:
    """Say why it cannot run here, or None."""
    return None if module() else "nginx has no stream module (Debian: libnginx-mod-stream)"


def server(host: str, port: int, to: str, *, secure: bool = False, more: str = "") -> str:
    """Write one server: where it listens, and where it leads."""
    ssl = " ssl" if secure else ""
    return f"server {{\n    listen {host}:{port}{ssl} backlog=4096;\n    proxy_pass {to};\n    {more}\n}}\n"


def command(folder: Path, name: str, servers: str) -> list[str]:
    """Write its configuration, and give the words that run it."""
    settings = folder / f"{name}.conf"
    settings.write_text(HEAD.format(module=module(), folder=folder, name=name, servers=servers))
    return ["nginx", "-p", str(folder), "-e", "stderr", "-c", str(settings)]


class RedirectedNginx:
    """Behind what most meshes use. The load dials an address that nobody has."""

    name = "nginx-redirect"
    hops = 1
    programs: tuple[str, ...] = ("nginx", "nft")

    def hindrance(self) -> str | None:
        """Say why it cannot run here, or None."""
        return hindrance() if os.geteuid() == 0 else "needs root"

    def role_of(self, words: list[str]) -> str:
        """Everything in its tree is the proxy."""
        return "proxy"

    @contextlib.contextmanager
    def stand(self, place: Place) -> Iterator[Standing]:
        """Set the rules, run nginx and the load; the table is gone afterwards."""
        echo, http = free_ports(2)
        servers = server(HOST, echo, address_text(place.servers["echo"]))
        servers += server(HOST, http, address_text(place.servers["http"]))
        words, log = command(place.folder, "stream", servers), place.folder / "stream.log"
        began = time.monotonic()
        with running(words, place.cores.proxy, log=log) as process:
            wait_for_port(echo, process, within_s=5, log=log)
            ready_s = time.monotonic() - began
            with redirected(echo, http) as dial, unmeshed_workload(place) as workload:
                yield Standing(workload, dial, (process.pid,), ready_s)


class MutualNginx:
    """Two of them, both on the proxy's core; sessions are resumed as it does by itself."""

    name = "nginx-mtls"
    hops = 2
    programs: tuple[str, ...] = ("nginx",)

    def hindrance(self) -> str | None:
        """Say why it cannot run here, or None."""
        return hindrance()

    def role_of(self, words: list[str]) -> str:
        """Everything in its trees is the proxy."""
        return "proxy"

    @contextlib.contextmanager
    def stand(self, place: Place) -> Iterator[Standing]:
        """Run both and the load."""
        files = credentials.write(place.folder)
        named = credentials.write_named(files, place.folder / "named.pem")
        near = "".join(
            server(HOST, port, f"{FAR}:{SECURE[target]}", more=near_tls(files, reuse=target != "anew"))
            for target, port in PLAIN.items()
        )
        targets: tuple[Target, ...] = ("echo", "http")
        tls = FAR_TLS.format(crt=named, ca=files.root)
        far = "".join(
            server(FAR, SECURE[target], address_text(place.servers[target]), secure=True, more=tls)
            for target in targets
        )
        folder = place.folder
        with pair(place, command(folder, "near", near), command(folder, "far", far)) as standing:
            yield standing


def near_tls(files: credentials.Files, *, reuse: bool) -> str:
    """Write the TLS of the near side."""
    return NEAR_TLS.format(
        crt=files.near, ca=files.root, name=credentials.FAR_NAME, reuse="on" if reuse else "off"
    )
