"""Core. An endpoint as it registered itself: read from what a client sent, and written again. Does not know
who else registered, or until when it holds.
"""

import contextlib
from typing import Annotated, Literal, NamedTuple

import msgspec
from msgspec import Meta

from meshtrio.address import Address
from meshtrio.catalog.diallable import why_undiallable
from meshtrio.catalog.service import UDP, Endpoint, Health
from meshtrio.config.kinds import Label
from meshtrio.config.shape import Means, Shaping

_Text = Annotated[str, Meta(pattern=r"^[^\x00-\x1f\x7f]{0,255}\Z", description="one line, up to 255 signs")]
_LabelName = Annotated[str, Meta(pattern=r"^[-._/A-Za-z0-9]{1,127}\Z")]
_Id = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9][-._:~@A-Za-z0-9]{0,127}\Z", description="an id, as in orders-1 or 10.0.0.1:80"
    ),
]


class RegistrationFault(Exception):
    """What was sent is no registration. The message is a sentence that names each wrong field."""


class Name(NamedTuple):
    """Which registration: the key of the service, and an id that is unique in it."""

    key: str
    id: str


class Where(NamedTuple):
    """What the path and the query of a request say; an empty namespace: nothing."""

    service: str
    id: str
    namespace: str = ""


class Registrant(msgspec.Struct, frozen=True):
    """What an endpoint says of itself."""

    name: Name
    endpoint: Endpoint
    port: int
    """What callers dial."""
    port_name: str = ""
    ttl_s: int = 30
    """How long it holds without a heartbeat; 0: for ever."""
    udp: bool = False
    """Its port is one of UDP."""


class _Path(msgspec.Struct, frozen=True):
    service: Label
    id: _Id
    namespace: Label = "default"


class _Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    address: Annotated[
        str, Meta(description="ip:port, as in 10.0.0.1:8080 or [fd00::1]:8080"), Means(Address.parse)
    ]
    namespace: Annotated[Label | None, Meta(description="a DNS label, as in shop-2")] = None
    port_name: Annotated[str, Meta(pattern=r"^[-a-z0-9]{0,63}\Z", description="a short name, as in http")] = (
        ""
    )
    port: Annotated[int, Meta(ge=0, le=65535, description="a port, 1 to 65535, or 0 for the endpoint's")] = 0
    protocol: Literal["tcp", "udp"] = "tcp"
    weight: Annotated[int, Meta(ge=0, le=1000, description="a weight, 0 to 1000")] = 1
    zone: _Text = ""
    version: _Text = ""
    labels: Annotated[
        dict[_LabelName, _Text],
        Meta(max_length=32, description="up to 32 names of letters, digits and -._/, each with one line"),
    ] = {}
    meshed: bool = False
    identity: Annotated[
        str,
        Meta(pattern=r"^(spiffe://[!-~]{1,2039})?\Z", description="a SPIFFE ID, as in spiffe://a.org/b"),
    ] = ""
    draining: bool = False
    health: Literal["healthy", "warning", "unhealthy", "unknown"] = "healthy"
    ttl_s: Annotated[int, Meta(ge=0, le=86_400, description="whole seconds, 1 to 86400, or 0 for no end")] = (
        30
    )


# msgspec's own errors are ValueErrors; brackets by the thousand end in the other.
_UNREADABLE = (ValueError, RecursionError)
_body = msgspec.json.Decoder(_Body)


def name_of(where: Where) -> Name:
    """Say which registration a request is about. RegistrationFault if its names are none."""
    given = {"service": where.service, "id": where.id, "namespace": where.namespace or "default"}
    try:
        path: _Path | None = msgspec.convert(given, _Path)
    except msgspec.ValidationError:
        shaping = Shaping({})
        path = shaping.struct(_Path, given)
        if path is None or shaping.faults:
            raise _fault(shaping) from None
    assert path is not None
    return Name(f"{path.namespace}/{path.service}", path.id)


def read_registrant(where: Where, text: bytes) -> Registrant:
    """Read what a client sent (JSON). RegistrationFault says all that is wrong with it."""
    body, address = _read(text)
    if body.namespace and where.namespace and body.namespace != where.namespace:
        raise RegistrationFault(
            f"namespace is {body.namespace} in the body and {where.namespace} in the query (want one of them)"
        )
    name = name_of(where._replace(namespace=body.namespace or where.namespace))
    why_not = why_undiallable(address)
    if why_not:
        raise RegistrationFault(
            f"address is {address}, {why_not} (want the address that the endpoint listens on)"
        )
    endpoint = Endpoint(
        id=name.id,
        address=address,
        weight=body.weight,
        zone=body.zone,
        health=Health(body.health),
        draining=body.draining,
        version=body.version,
        labels=tuple(sorted(body.labels.items())),
        meshed=body.meshed,
        identity=body.identity,
    )
    port = body.port or address.port
    return Registrant(name, endpoint, port, body.port_name, body.ttl_s, body.protocol == UDP)


def described(one: Registrant) -> dict[str, object]:
    """Give the fields that `read_registrant` would make the same registrant of."""
    said = one.endpoint
    return {
        "address": str(said.address),
        "namespace": one.name.key.partition("/")[0],
        "port_name": one.port_name,
        "port": one.port,
        "protocol": UDP if one.udp else "tcp",
        "weight": said.weight,
        "zone": said.zone,
        "version": said.version,
        "labels": dict(said.labels),
        "meshed": said.meshed,
        "identity": said.identity,
        "draining": said.draining,
        "health": said.health.value,
        "ttl_s": one.ttl_s,
    }


def _read(text: bytes) -> tuple[_Body, Address]:
    with contextlib.suppress(*_UNREADABLE):
        quickly = _body.decode(text)
        return quickly, Address.parse(quickly.address)
    # msgspec is fast and stops at the first fault; now there is time to find all, and words for them.
    try:
        tree = msgspec.json.decode(text)
    except _UNREADABLE as wrong:
        raise RegistrationFault(f"the body is not JSON: {wrong}") from None
    shaping = Shaping({})
    body = shaping.struct(_Body, {} if tree is None else tree)
    if body is None or shaping.faults:
        raise _fault(shaping)
    return body, Address.parse(body.address)


def _fault(shaping: Shaping) -> RegistrationFault:
    return RegistrationFault(
        "; ".join(f"{fault.path or 'the body'} {fault.says}" for fault in shaping.faults)
    )
