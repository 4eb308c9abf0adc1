"""Shell. HAProxy with mutual TLS between two processes, as a peer of the bench: what a mesh does, by hand."""

import contextlib
import time
from collections.abc import Iterator, Sequence

from tests.bench import credentials
from tests.bench.backend import HOST, Place, address_text
from tests.bench.peer import Standing, unmeshed_workload
from tests.bench.process import descriptor_limit, running, wait_for_port
from tests.bench.scenario import Target, idle_most
from tests.bench.wire import FAR

PLAIN: dict[Target, int] = {"echo": 7000, "anew": 7001, "http": 80}
"""Where the load dials the first one."""
SECURE: dict[Target, int] = {"echo": 17000, "anew": 17000, "http": 10080}
"""Where the first one dials the second one."""

HEAD = """
global
    nbthread 1
    maxconn {most}
defaults
    mode tcp
    maxconn {most}
    timeout connect 5s
    timeout client 1h
    timeout server 1h
"""
TLS = "ssl crt {crt} ca-file {ca} verify required alpn meshtrio/1 ssl-min-ver TLSv1.3"


def near_settings(tls: str, most: int) -> str:
    """Write the configuration of the one that takes plain connections and dials by mutual TLS."""
    text = HEAD.format(most=most)
    for target, port in PLAIN.items():
        more = " no-ssl-reuse" if target == "anew" else ""
        text += f"listen {target}\n    bind {HOST}:{port} backlog 4096\n"
        text += f"    server one {FAR}:{SECURE[target]} {tls}{more}\n"
    return text


def far_settings(tls: str, most: int, place: Place) -> str:
    """Write the configuration of the one that takes mutual TLS and dials the servers."""
    text = HEAD.format(most=most)
    targets: tuple[Target, ...] = ("echo", "http")
    for target in targets:
        text += f"listen {target}\n    bind {FAR}:{SECURE[target]} backlog 4096 {tls}\n"
        text += f"    server one {address_text(place.servers[target])}\n"
    return text


class MutualHAProxy:
    """Two HAProxies, one thread each, both on the proxy's core; sessions are resumed as it does by itself."""

    name = "haproxy-mtls"
    hops = 2
    programs: tuple[str, ...] = ("haproxy",)

    def hindrance(self) -> str | None:
        """Say why it cannot run here, or None."""
        return None

    def role_of(self, words: list[str]) -> str:
        """Everything in its trees is the proxy."""
        return "proxy"

    @contextlib.contextmanager
    def stand(self, place: Place) -> Iterator[Standing]:
        """Run both and the load."""
        assert place.wire is not None
        files, most = credentials.write(place.folder), idle_most(descriptor_limit())
        near, far = (place.folder / f"{side}.cfg" for side in ("near", "far"))
        near.write_text(near_settings(TLS.format(crt=files.near, ca=files.root), most))
        far.write_text(far_settings(TLS.format(crt=files.far, ca=files.root), most, place))
        with pair(place, *(["haproxy", "-db", "-f", str(settings)] for settings in (near, far))) as standing:
            yield standing


@contextlib.contextmanager
def pair(place: Place, near: Sequence[str], far: Sequence[str]) -> Iterator[Standing]:
    """Run the proxy of each side, and the load. They listen on PLAIN and on SECURE."""
    assert place.wire is not None
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        pids = []
        for side, words, spot, host, port in (
            ("far", far, place.wire.far, FAR, SECURE["echo"]),
            ("near", near, place.wire.near, HOST, PLAIN["echo"]),
        ):
            log = place.folder / f"{side}.log"
            process = stack.enter_context(running(words, place.cores.proxy, log=log, spot=spot))
            wait_for_port(port, process, within_s=10, log=log, host=host, spot=spot)
            pids.append(process.pid)
        ready_s = time.monotonic() - began
        workload = stack.enter_context(unmeshed_workload(place))
        yield Standing(workload, {t: (HOST, port) for t, port in PLAIN.items()}, tuple(pids), ready_s)
