"""Core. What records a service has under a name: addresses, places of its ports, names of addresses."""

from collections.abc import Callable, Sequence
from typing import Any

from meshtrio.address import V4_PREFIX
from meshtrio.catalog.service import Endpoint, Service
from meshtrio.names import wire
from meshtrio.names.names import ZONE, Named, has_tag, instance_label

VIP_WEIGHT = 100
"""The weight of the one target that a port has; between one and itself it means nothing."""

Shuffle = Callable[[list[Any]], object]
Both = tuple[Sequence[bytes], Sequence[bytes]]
"""The answers, and what is added to them."""

NOTHING: Both = ((), ())


class Records:
    """Writes the records of services."""

    def __init__(self, ttl_s: int, cluster: tuple[str, ...], shuffle: Shuffle) -> None:
        """Write them with this TTL. `shuffle` mixes a list in place."""
        self._ttl_s = ttl_s
        self._cluster = cluster
        self._shuffle = shuffle

    def of(self, meant: Named, kind: int, owner: bytes, target: bytes) -> Both:
        """Give the records of a type that `owner` has; nothing, if there are none of it.

        `target` is the service's own name as it was asked for.
        """
        if meant.reverse:
            return (self._pointers(meant.service, owner), ()) if kind in (wire.PTR, wire.ANY) else NOTHING
        if kind == wire.SRV and not meant.ip:
            return self._locations(meant, owner, target)
        if meant.port is not None or kind not in (wire.A, wire.AAAA, wire.ANY):
            return NOTHING
        return [
            wire.address_record(owner, ip, self._ttl_s)
            for ip in self._ips(meant)
            if kind == wire.ANY or ip.startswith(V4_PREFIX) is (kind == wire.A)
        ], ()

    def alias(self, owner: bytes, target: str) -> tuple[bytes, bytes]:
        """Give the record that says what `owner` stands for, and that name. ValueError if it is no name."""
        name = wire.name(target)
        return wire.record(owner, wire.CNAME, self._ttl_s, name), name

    def _ips(self, meant: Named) -> Sequence[bytes]:
        if meant.ip:
            return (meant.ip,)
        if meant.service.vips and not meant.tag:
            return meant.service.vips
        ips = list(dict.fromkeys(one.address.ip for one in _ready(meant.service.endpoints, meant.tag)))
        self._shuffle(ips)
        return ips

    def _locations(self, meant: Named, owner: bytes, target: bytes) -> Both:
        service = meant.service
        ports = service.every_port if meant.port is None else (meant.port,)
        hosts: dict[bytes, Sequence[bytes]] = {}
        if service.vips and not meant.tag:
            values = [wire.srv_value(port.port, VIP_WEIGHT, target) for port in ports]
            hosts[target] = service.vips
        else:
            endpoints = [one for port in ports for one in _ready(port.endpoints, meant.tag)]
            self._shuffle(endpoints)
            values = []
            for one in endpoints:
                host = _instance_name(service, one)
                if host:
                    values.append(wire.srv_value(one.address.port, one.weight, host))
                    hosts[host] = (one.address.ip,)
        return (
            [wire.record(owner, wire.SRV, self._ttl_s, value) for value in values],
            [wire.address_record(host, ip, self._ttl_s) for host, ips in hosts.items() for ip in ips],
        )

    def _pointers(self, service: Service, owner: bytes) -> Sequence[bytes]:
        ends = ".".join(("svc", *self._cluster)) if service.source == "kubernetes" else ZONE
        try:
            name = wire.name(f"{service.name}.{service.namespace}.{ends}")
        except ValueError:
            return ()
        return (wire.record(owner, wire.PTR, self._ttl_s, name),)


def _instance_name(service: Service, endpoint: Endpoint) -> bytes:
    """Write the name of one endpoint, which `names.meaning` understands; empty if it cannot be written."""
    try:
        return wire.name(f"{instance_label(endpoint.address.ip)}.{service.name}.{service.namespace}.{ZONE}")
    except ValueError:
        return b""


def _ready(endpoints: Sequence[Endpoint], tag: str) -> list[Endpoint]:
    return [one for one in endpoints if one.ready and (not tag or has_tag(one, tag))]
