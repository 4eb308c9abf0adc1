"""Core. The file format of services: a YAML text becomes services, or all that is wrong. Does not know the
file.

Nearly all of the format is in the three structs below. An endpoint is `ip:port`, or a mapping with
`address`, or, where a service has several ports, a mapping with `ip` and `ports`, the port number for each
port name. `traffic` has what a rule of the configuration's section of that name may have.
"""

from collections.abc import Iterable, Sequence
from typing import Annotated, Literal

from msgspec import Meta, Struct

from meshtrio.address import Address
from meshtrio.catalog.service import UDP, Endpoint, Service, ServicePort
from meshtrio.config.fault import Fault, Faults, meant, shown
from meshtrio.config.kinds import Ip, Label, Port
from meshtrio.config.shape import Means, Shaping
from meshtrio.config.tree import read_tree
from meshtrio.config.wishes import NO_WISHES, Wishes, idle_hedges
from meshtrio.identity.spiffe import parse_workload

DOCUMENT_BYTES = 16 << 20
"""The longest text that is read: about 300,000 endpoints."""

_Address = Annotated[
    str, Meta(description="ip:port, as in 10.0.0.1:8080 or [fd00::1]:8080"), Means(Address.parse)
]


_Serving = dict[str, dict[Address, Endpoint]]


def _identity(text: str) -> None:
    if text:
        parse_workload(text)


class CatalogFaults(Faults):
    """All that is wrong with a file of services. The services known before should stay."""

    subject = "catalog"


class NoCatalog(CatalogFaults):
    """There is no file to begin with, or not one that can be used. Each line of `str` names it."""

    def __init__(self, path: str, faults: Iterable[Fault]) -> None:
        self.subject = f"catalog {path}"
        super().__init__(
            Fault("", f"{fault.says} (want a file of services, or no catalog.file)", fault.origin)
            if fault.path == path
            else fault
            for fault in faults
        )


class _PortEntry(Struct, frozen=True):
    port: Port
    name: Annotated[str, Meta(pattern=r"^[-a-z0-9]{0,63}\Z", description="a short name, as in http")] = ""
    protocol: Literal["tcp", "udp"] = "tcp"


class _EndpointEntry(Struct, frozen=True):
    address: _Address = ""
    ip: Ip = ""
    ports: Annotated[dict[str, Port], Meta(description="a port for each name, as in {http: 8080}")] = {}
    weight: Annotated[int, Meta(ge=0, le=1000, description="a weight, 0 to 1000")] = 1
    zone: str = ""
    draining: bool = False
    meshed: bool = False
    identity: Annotated[
        str, Meta(description="a SPIFFE ID, as in spiffe://cluster.local/ns/shop/sa/cart"), Means(_identity)
    ] = ""


class _ServiceEntry(Struct, frozen=True):
    name: Label
    ports: tuple[_PortEntry, ...]
    namespace: Label = "default"
    vips: tuple[Ip, ...] = ()
    endpoints: tuple[_Address | _EndpointEntry, ...] = ()
    traffic: Wishes = NO_WISHES


class _Document(Struct, frozen=True):
    services: tuple[_ServiceEntry, ...] = ()


def read_services(text: str) -> tuple[Service, ...]:
    """Read the services that a text describes, in its order. An empty text describes none.

    Raises CatalogFaults with everything that is wrong, each with its path and line. Whether entries
    contradict each other is only looked at once each is right by itself.
    """
    try:
        tree = read_tree(text, bound_bytes=DOCUMENT_BYTES)
    except Faults as unreadable:
        raise CatalogFaults(unreadable.faults) from None
    shaping = Shaping({path: f"line {line}" for path, line in tree.lines.items()})
    document = shaping.struct(_Document, tree.value)
    services: list[Service] = []
    # Entries can only be held against each other once each is right by itself.
    if document is not None and not shaping.faults:
        checks = _Checks(shaping)
        services = [checks.service(one, f"services[{at}]") for at, one in enumerate(document.services)]
    if tree.faults or shaping.faults:
        raise CatalogFaults((*tree.faults, *shaping.faults))
    return tuple(services)


class _Checks:
    """Turns entries into services, and notes where they contradict each other or themselves."""

    def __init__(self, shaping: Shaping) -> None:
        self._blame = shaping.blame
        self._names: dict[str, str] = {}
        self._dialled: dict[tuple[str, Address], str] = {}

    def service(self, entry: _ServiceEntry, path: str) -> Service:
        self._distinct([port.name for port in entry.ports], "name", path)
        self._distinct([(port.protocol, port.port) for port in entry.ports], "port", path)
        if not entry.ports:
            self._blame(f"{path}.ports", "is empty (want at least one port)")
        vips = tuple(self._vip(text, f"{path}.vips[{at}]", entry) for at, text in enumerate(entry.vips))
        serving: _Serving = {port.name: {} for port in entry.ports}
        for at, one in enumerate(entry.endpoints):
            self._endpoint(one, f"{path}.endpoints[{at}]", serving)
        ports, datagrams = (
            tuple(
                ServicePort(p.name, p.port, tuple(serving[p.name].values()), spoken)
                for p in entry.ports
                if p.protocol == protocol
            )
            for protocol, spoken in (("tcp", ""), (UDP, UDP))
        )
        service = Service(entry.name, entry.namespace, vips, ports, wishes=entry.traffic, datagrams=datagrams)
        retries = entry.traffic.retries
        if says := idle_hedges(retries.hedge_after_s, retries.attempts):
            self._blame(f"{path}.traffic.retries", says)
        first = self._names.setdefault(service.key, path)
        if first != path:
            self._blame(f"{path}.name", f"is {service.key}, as {first} is (want different names)")
        return service

    def _distinct(self, given: Sequence[object], what: str, path: str) -> None:
        for at, one in enumerate(given):
            if one in given[:at]:
                first = f"ports[{given.index(one)}]"
                said = one[1] if isinstance(one, tuple) else one
                self._blame(
                    f"{path}.ports[{at}].{what}", f"is {shown(said)}, as in {first} (want different ones)"
                )

    def _vip(self, text: str, path: str, entry: _ServiceEntry) -> bytes:
        vip = Address.of(text, 0).ip
        for protocol, port in dict.fromkeys((port.protocol, port.port) for port in entry.ports):
            first = self._dialled.setdefault((protocol, Address(vip, port)), path)
            if first != path:
                self._blame(path, f"is {text}, which {first} is for port {port} already")
        return vip

    def _endpoint(self, entry: str | _EndpointEntry, path: str, serving: _Serving) -> None:
        if isinstance(entry, str):
            entry = _EndpointEntry(entry)
        for name, address in self._addresses(entry, path, tuple(serving)).items():
            if address in serving[name]:
                self._blame(path, f"is {address}, which is an endpoint of this port already")
            serving[name][address] = Endpoint(
                str(address),
                address,
                weight=entry.weight,
                zone=entry.zone,
                draining=entry.draining,
                meshed=entry.meshed or bool(entry.identity),
                identity=entry.identity,
            )

    def _addresses(self, entry: _EndpointEntry, path: str, names: tuple[str, ...]) -> dict[str, Address]:
        if bool(entry.address) == bool(entry.ip):
            both = "both address and ip" if entry.ip else "neither address nor ip"
            self._blame(path, f"has {both} (want one of them)")
            return {}
        if entry.address:
            if entry.ports or len(names) > 1:
                says = "has one address for several ports" if len(names) > 1 else "has both address and ports"
                self._blame(
                    path, f"{says} (want ip and ports, as in {{ip: 10.0.0.1, ports: {{http: 8080}}}})"
                )
                return {}
            return dict.fromkeys(names, Address.parse(entry.address))
        for name in entry.ports:
            if name not in names:
                self._blame(f"{path}.ports.{name}", f"is no port of this service ({meant(name, names)})")
        if not entry.ports:
            self._blame(path, "has an ip and no ports (want ports, as in {http: 8080})")
        return {name: Address.of(entry.ip, port) for name, port in entry.ports.items() if name in names}
