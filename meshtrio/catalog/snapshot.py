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
    """An immutable catalog. Readers hold the old one until they are done; `version` grows by each change.

    `moved` is how many addresses came, went or became different when it was made of another one.
    """

    __slots__ = ("_claims", "_services", "moved", "version")

    def __init__(self) -> None:
        self.version = self.moved = 0
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

    def with_services(
        self, changed: Iterable[Service], *, removed: Collection[str] = (), since: "Snapshot | None" = None
    ) -> "Snapshot":
        """Make a snapshot with these services put in or replaced, and the removed keys left out.

        The same object comes back if nothing changes. Takes time by the size of what is given. A key that is
        both changed and removed is removed. `since`: what this is made from in steps, all of one version.
        """
        wanted: dict[str, Service | None] = {service.key: service for service in changed}
        wanted.update(dict.fromkeys(removed))
        since = self if since is None else since
        services = self._services.changed(wanted, since=since._services)
        if services is self._services:
            return self
        made = Snapshot()
        made.version = since.version + 1
        made._services = services
        claims = self._reclaimed(wanted)
        made._claims, made.moved = self._claims.changed(claims, since=since._claims), len(claims)
        return made

    def with_only(self, services: Collection[Service]) -> "Snapshot":
        """Make a snapshot of exactly these services: as `with_services`, and all others are removed."""
        kept = {service.key for service in services}
        return self.with_services(services, removed=[key for key in self._services if key not in kept])

    def _reclaimed(self, wanted: dict[str, Service | None]) -> dict[Address, tuple[_Claim, ...] | None]:
        gone: dict[Address, set[_Rank]] = {}
        come: dict[Address, list[_Claim]] = {}
        for key, service in wanted.items():
            held = self._services.get(key)
            before, after = _claims_of(held, beside=service), _claims_of(service, beside=held)
            for at, claim in before.items():
                if after.get(at) != claim:
                    gone.setdefault(at[0], set()).add(at[1])
            for at, claim in after.items():
                if before.get(at) != claim:
                    come.setdefault(at[0], []).append(claim)
        # Each address once, however many services share it: an ingress can stand behind thousands.
        claims: dict[Address, tuple[_Claim, ...] | None] = {}
        for address, coming in come.items():
            left_out = gone.pop(address, ())
            known = self._claims.get(address) or ()
            standing = [one for one in known if _rank(one) not in left_out]
            both = standing + coming
            claims[address] = tuple(sorted(both, key=_rank) if len(both) > 1 else both)
        for address, left_out in gone.items():
            known = self._claims.get(address) or ()
            claims[address] = tuple(one for one in known if _rank(one) not in left_out) or None
        return claims


def changes(old: Snapshot, new: Snapshot) -> Changes:
    """Say what differs. Where one snapshot came from the other, only what they do not share is looked at."""
    return Changes(changed_services(old, new), frozenset(new._claims.differing(old._claims)))


def changed_services(old: Snapshot, new: Snapshot) -> frozenset[str]:
    """Say whose services differ, by key: what `changes` says of them, which costs least."""
    return frozenset(new._services.differing(old._services))


def _rank(claim: _Claim) -> _Rank:
    """Order claims to one address; the least is believed: virtual IPs first, then by name."""
    endpoint = claim.endpoint
    return endpoint is not None, claim.key, claim.port_name, endpoint.id if endpoint else ""


def _claims_of(service: Service | None, *, beside: Service | None) -> dict[tuple[Address, _Rank], _Claim]:
    """List what a service claims, but for the endpoints that it has in common with what it is beside of."""
    # By rank and not in a set: to hash a claim is to hash all that its endpoint says.
    claims: dict[tuple[Address, _Rank], _Claim] = {}
    if service is None:
        return claims
    key = service.key
    # Those of one port that did not change are the same objects, if whoever made them is thrifty.
    common = {port.name: {*map(id, port.endpoints)} for port in beside.ports} if beside else {}
    for port in service.ports:
        claim = _Claim(key, port.name, None)
        for vip in service.vips:
            claims[Address(vip, port.port), _rank(claim)] = claim
        same = common.get(port.name, ())
        for endpoint in port.endpoints:
            if id(endpoint) not in same:
                claims[endpoint.address, (True, key, port.name, endpoint.id)] = _Claim(
                    key, port.name, endpoint
                )
    return claims
