"""Core. What becomes of a connection to this destination? Does not know how endpoints are picked."""

import enum
from typing import Literal

import msgspec

from meshtrio.address import Address
from meshtrio.catalog.service import Endpoint, Found
from meshtrio.outcome import Outcome
from meshtrio.route.doors import Doors

Policy = Literal["allow", "deny"]
"""What becomes of a destination that is no service."""


class Kind(enum.Enum):
    """The four things a connection can be told. The value is the word in logs."""

    SERVICE = "service"
    """To one of the endpoints of a service, in balanced order."""
    ENDPOINT = "endpoint"
    """To the very endpoint that was dialled, and to no other."""
    PASSTHROUGH = "passthrough"
    """To the dialled address itself, for it is no service of ours."""
    REFUSED = "refused"
    """To nowhere; `refusal` says why."""


class Route(msgspec.Struct, frozen=True, gc=False):
    """Where a connection may go.

    `candidates` are all places that may be dialled for it: several for a service, one for an endpoint and
    for pass-through, none for a refusal, so that picking and dialling are the same code for all kinds.
    `service` is the key ("namespace/name") and `port` the name of the port; both are empty where there is no
    service.
    """

    kind: Kind
    destination: Address
    service: str = ""
    port: str = ""
    candidates: tuple[Endpoint, ...] = ()
    refusal: Outcome | None = None


def decide(found: Found | None, destination: Address, *, policy: Policy, doors: Doors) -> Route:
    """Decide by values alone. Takes time by the number of endpoints; RouteTable remembers the answer.

    A destination that is a door is a loop, whatever the catalog says. Endpoints that are doors are left out;
    if no others are left, that is a loop, too. A service without endpoints is refused, never passed through:
    its virtual IP leads nowhere.
    """
    if destination in doors:
        return Route(Kind.REFUSED, destination, refusal=Outcome.LOOP)
    if found is None:
        if policy == "deny":
            return Route(Kind.REFUSED, destination, refusal=Outcome.NO_ROUTE)
        itself = Endpoint(id=str(destination), address=destination)
        return Route(Kind.PASSTHROUGH, destination, candidates=(itself,))
    kind, claimed = Kind.SERVICE, found.port.endpoints
    if found.endpoint is not None:
        kind, claimed = Kind.ENDPOINT, (found.endpoint,)
    # The tuple itself is kept where nothing is left out: a picker knows it again by identity.
    looping = any(endpoint.address in doors for endpoint in claimed)
    candidates = tuple(e for e in claimed if e.address not in doors) if looping else claimed
    service, port = found.service.key, found.port.name
    if not candidates:
        refusal = Outcome.LOOP if looping else Outcome.NO_ENDPOINT
        return Route(Kind.REFUSED, destination, service, port, refusal=refusal)
    return Route(kind, destination, service, port, candidates=candidates)
