"""Core. The files that a peer is given, as text: catalog and configuration of an agent, of HAProxy, of nft.

Each peer has a network namespace of its own, so ports are the same in all of them. JSON is YAML.
"""

import json

HOST, PORT = "127.0.0.1", 7000
"""Where the responder listens."""
VIRTUAL = "10.96.0.10"
"""What a meshed caller dials instead; nobody has it."""
DOOR = 7001
"""Where HAProxy listens."""
SERVICE = "bench"

_HAPROXY = """
global
    nbthread 1
    maxconn 4000
defaults
    mode tcp
    maxconn 4000
    timeout connect 5s
    timeout client 1h
    timeout server 1h
listen {service}
    bind {host}:{door} backlog 4096
    server one {host}:{port}
"""

_REDIRECT = """
table ip meshtrio_bench {{
    chain output {{
        type nat hook output priority -100; policy accept;
        ip daddr {virtual} tcp dport {port} redirect to :{door}
    }}
}}
"""


def catalog() -> str:
    """Write the catalog: one service, one endpoint."""
    service = {
        "name": SERVICE,
        "vips": [VIRTUAL],
        "ports": [{"port": PORT}],
        "endpoints": [{"address": f"{HOST}:{PORT}"}],
    }
    return json.dumps({"services": [service]})


def configuration(folder: str, rung: str, *, pins: str, cgroup: str, direct: bool = False) -> str:
    """Write the configuration of an agent that keeps everything in this folder, but for its pins.

    One worker; connections are not logged, as HAProxy does not either. Nobody is anybody: no certificates.
    `direct`: the kernel picks the endpoint, and connections go past the worker.
    """
    traffic = {"direct": "auto", "retries": {"attempts": 0}} if direct else {}
    return json.dumps(
        {
            "rung": rung,
            "workers": 1,
            "catalog": {"file": f"{folder}/catalog.yaml"},
            "paths": {"control": f"{folder}/control.sock", "pins": pins},
            "identity": {"source": "off"},
            "discovery": {"registration": {"state": f"{folder}/state.db"}},
            "workloads": [{"name": f"bench-{rung}", "cgroup": cgroup}],
            "traffic": traffic,
            "timeouts": {"drain_s": 1},
            "log": {"level": "warning", "format": "text"},
        }
    )


def haproxy() -> str:
    """Write the configuration of HAProxy: mode tcp, one thread, no tuning."""
    return _HAPROXY.format(service=SERVICE, host=HOST, port=PORT, door=DOOR)


def redirect() -> str:
    """Write the rules that lead to HAProxy what dials the virtual address, for `nft -f`."""
    return _REDIRECT.format(virtual=VIRTUAL, port=PORT, door=DOOR)
