"""Core. Who is no longer accepted though their certificate has not ended: by id, and by serial.

Short life is the first line of defence; this is the second. Does not know certificates.
"""

import math
from collections.abc import Mapping

import msgspec

from meshtrio.identity.spiffe import SpiffeFault, SpiffeId, parse_workload

REVOCATIONS_BOUND = 16_384
"""How many entries are kept, together. Full: no more are taken, for to forget one would let somebody in."""
SERIAL_BITS = 160
"""RFC 5280, 4.1.2.2: 20 octets at most."""


class RevocationFault(ValueError):
    """The list cannot be read, or is full."""


class Revocations(msgspec.Struct, frozen=True, gc=False):
    """A list as it is now. Every change makes a new one; the same object means that nothing changed.

    Each entry holds until a time. A serial's can be dropped when its certificate has ended (with tolerance).
    """

    serials: Mapping[int, float] = msgspec.field(default_factory=dict)
    ids: Mapping[SpiffeId, float] = msgspec.field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.serials) + len(self.ids)

    def has_serial(self, serial: int, wall_now: float) -> bool:
        """Say whether the certificate with this serial is revoked. Whoever issued it: serials are random."""
        return wall_now < self.serials.get(serial, -math.inf)

    def has_id(self, spiffe_id: SpiffeId, wall_now: float) -> bool:
        """Say whether all certificates of this id are revoked, also those yet to be issued."""
        return wall_now < self.ids.get(spiffe_id, -math.inf)

    def with_serial(self, serial: int, until: float = math.inf) -> "Revocations":
        """Add a serial. RevocationFault if the list is full."""
        if not 0 < serial < 1 << SERIAL_BITS:
            raise RevocationFault("a serial is positive and has 20 bytes at most")
        if self.serials.get(serial) == until:
            return self
        self._check_room(serial in self.serials)
        return Revocations({**self.serials, serial: until}, self.ids)

    def with_id(self, spiffe_id: SpiffeId, until: float = math.inf) -> "Revocations":
        """Add an id. RevocationFault if the list is full."""
        if self.ids.get(spiffe_id) == until:
            return self
        self._check_room(spiffe_id in self.ids)
        return Revocations(self.serials, {**self.ids, spiffe_id: until})

    def without(self, what: int | SpiffeId) -> "Revocations":
        """Take an entry out, if it is there."""
        if what not in self.serials and what not in self.ids:
            return self
        serials = {serial: until for serial, until in self.serials.items() if serial != what}
        return Revocations(serials, {one: until for one, until in self.ids.items() if one != what})

    def current(self, wall_now: float) -> "Revocations":
        """Drop what has ended."""
        serials = {serial: until for serial, until in self.serials.items() if wall_now < until}
        ids = {one: until for one, until in self.ids.items() if wall_now < until}
        if len(serials) + len(ids) == len(self):
            return self
        return Revocations(serials, ids)

    def _check_room(self, known: bool) -> None:
        if not known and len(self) >= REVOCATIONS_BOUND:
            raise RevocationFault(f"the revocation list is full ({REVOCATIONS_BOUND} entries)")


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    serial: str | None = None
    id: str | None = None
    until: float | None = None


class _List(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    revoked: list[_Entry]


def write(revocations: Revocations) -> bytes:
    """Write a list as JSON, in an order that depends on what is in it alone."""
    entries = [_Entry(serial=f"{one:x}", until=_kept(at)) for one, at in sorted(revocations.serials.items())]
    entries += [_Entry(id=str(one), until=_kept(at)) for one, at in sorted(revocations.ids.items())]
    return msgspec.json.encode(_List(entries))


def read(text: bytes) -> Revocations:
    """Read what `write` wrote, or a person: serials as openssl prints them. RevocationFault if it is wrong
    anywhere; half a list would let somebody in."""
    try:
        listed = msgspec.json.decode(text, type=_List)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as cause:
        raise RevocationFault(f"the revocation list cannot be read: {cause}") from cause
    if len(listed.revoked) > REVOCATIONS_BOUND:
        raise RevocationFault(f"the revocation list has more than {REVOCATIONS_BOUND} entries")
    serials: dict[int, float] = {}
    ids: dict[SpiffeId, float] = {}
    for place, entry in enumerate(listed.revoked):
        until = math.inf if entry.until is None else entry.until
        if (entry.serial is None) == (entry.id is None):
            raise RevocationFault(f"revoked[{place}] wants either a serial or an id")
        if entry.serial is not None:
            serials[_serial(entry.serial, place)] = until
        elif entry.id is not None:
            try:
                ids[parse_workload(entry.id)] = until
            except SpiffeFault as fault:
                raise RevocationFault(f"revoked[{place}]: {fault}") from fault
    return Revocations(serials, ids)


def _serial(text: str, place: int) -> int:
    digits = text.replace(":", "").lower()
    if not digits or len(digits) > SERIAL_BITS // 4 or set(digits) - set("0123456789abcdef"):
        raise RevocationFault(f"revoked[{place}] has a serial that is no hexadecimal number")
    return int(digits, 16)


def _kept(until: float) -> float | None:
    return None if until == math.inf else until
