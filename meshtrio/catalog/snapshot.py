"""Core. All services at one moment, found by name and by address. Does not know who changes them, or when.

The address index holds claims, not services: a claim names the service and the port, and looking up follows
the names. So a change of one endpoint among a thousand touches one claim, and the thousand others stay
shared.
"""

from collections.abc import Collection, Iterable, Iterator

import msgspec

from meshtrio.address import Address
from meshtrio.catalog.service import Endpoint, Found, Service
from meshtrio.catalog.shards import Shards


class _Claim(msgspec.Struct, frozen=True, gc=False):
    """Who says that an address is theirs."""

    key: str
    port_name: str
    endpoint: Endpoint | None


_Rank = tuple[bool, str, str, str]


class Changes(msgspec.Struct, frozen=True):
    """What differs between two snapshots: service keys, and addresses whose lookup now says something else.

    An address is named if its owner or its own endpoint changed. A virtual IP whose service got other
    endpoints is not: the key of the service says that.
    """

    services: frozenset[str]
    addresses: frozenset[Address]


class Snapshot:
    """An immutable catalog. Readers hold the old one until they are done; `version` grows by each change."""

    __slots__ = ("_claims", "_services", "version")

    def __init__(self) -> None:
        self.version = 0
        self._services: Shards[str, Service] = Shards()
        self._claims: Shards[Address, tuple[_Claim, ...]] = Shards()

    def __len__(self) -> int:
        return len(self._services)

    def __iter__(self) -> Iterator[Service]:
        """Give the services, ordered by key."""
        for key in sorted(self._services):
            service = self._services.get(key)
            assert service is not None
            yield service

    def unordered(self) -> Iterator[Service]:
        """Give the services in no particular order, which costs no sorting."""
        return self._services.values()

    def service(self, key: str) -> Service | None:
        """Find a service by its key, "namespace/name"."""
        return self._services.get(key)

    def has(self, address: Address) -> bool:
        """Say whether an address belongs to a service."""
        return self._claims.get(address) is not None

    def lookup(self, address: Address) -> Found | None:
        """Say which service an address belongs to; None if to no one.

        A virtual IP wins over an endpoint. Of several equal claims that of the least key wins, so that the
        answer does not depend on who came first. Takes constant time.
        """
        claims = self._claims.get(address)
        if claims is None:
            return None
        claim = claims[0]
        service = self._services.get(claim.key)
        assert service is not None, "a claim never outlives its service"
        return Found(service, service.port_named(claim.port_name), claim.endpoint)

    def with_services(self, changed: Iterable[Service], *, removed: Collection[str] = ()) -> "Snapshot":
        """Make a snapshot with these services put in or replaced, and the removed keys left out.

        The same object comes back if nothing changes. Takes time by the size of what is given. A key that is
        both changed and removed is removed.
        """
        wanted: dict[str, Service | None] = {service.key: service for service in changed}
        wanted.update(dict.fromkeys(removed))
        services = self._services.changed(wanted)
        if services is self._services:
            return self
        made = Snapshot()
        made.version = self.version + 1
        made._services = services
        made._claims = self._claims.changed(self._reclaimed(wanted))
        return made

    def with_only(self, services: Collection[Service]) -> "Snapshot":
        """Make a snapshot of exactly these services: as `with_services`, and all others are removed."""
        kept = {service.key for service in services}
        return self.with_services(services, removed=[key for key in self._services if key not in kept])

    def _reclaimed(self, wanted: dict[str, Service | None]) -> dict[Address, tuple[_Claim, ...] | None]:
        gone: dict[Address, set[_Rank]] = {}
        come: dict[Address, list[_Claim]] = {}
        for key, service in wanted.items():
            before, after = _claims_of(self._services.get(key)), _claims_of(service)
            for at, claim in before.items():
                if after.get(at) != claim:
                    gone.setdefault(at[0], set()).add(at[1])
            for at, claim in after.items():
                if before.get(at) != claim:
                    come.setdefault(at[0], []).append(claim)
        # Each address once, however many services share it: an ingress can stand behind thousands.
        claims: dict[Address, tuple[_Claim, ...] | None] = {}
        for address in gone.keys() | come.keys():
            left_out = gone.get(address, ())
            standing = [one for one in self._claims.get(address) or () if _rank(one) not in left_out]
            claims[address] = tuple(sorted(standing + come.get(address, []), key=_rank)) or None
        return claims


def changes(old: Snapshot, new: Snapshot) -> Changes:
    """Say what differs. Where one snapshot came from the other, only what they do not share is looked at."""
    return Changes(
        frozenset(new._services.differing(old._services)),
        frozenset(new._claims.differing(old._claims)),
    )


def _rank(claim: _Claim) -> _Rank:
    """Order claims to one address; the least is believed: virtual IPs first, then by name."""
    endpoint = claim.endpoint
    return endpoint is not None, claim.key, claim.port_name, endpoint.id if endpoint else ""


def _claims_of(service: Service | None) -> dict[tuple[Address, _Rank], _Claim]:
    # By rank and not in a set: to hash a claim is to hash all that its endpoint says.
    claims: dict[tuple[Address, _Rank], _Claim] = {}
    if service is None:
        return claims
    key = service.key
    for port in service.ports:
        claim = _Claim(key, port.name, None)
        for vip in service.vips:
            claims[Address(vip, port.port), _rank(claim)] = claim
        for endpoint in port.endpoints:
            claims[endpoint.address, (True, key, port.name, endpoint.id)] = _Claim(key, port.name, endpoint)
    return claims
