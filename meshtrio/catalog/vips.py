"""Core. Virtual IPs for services that bring none. Does not know what keeps the allocations over a restart.

A service gets one number, and by it an address of each family: 240.240.x.y and fd6d:6573:68::x:y. The
number begins with a hash of the name, so most services have the same address on every node and after every
restart, even if what was kept is lost.
"""

from collections import OrderedDict
from collections.abc import Mapping
from hashlib import blake2b

from meshtrio.address import V4_PREFIX

NETWORKS = ("240.240.0.0/16", "fd6d:6573:68::/48")
NUMBERS = range(1, 65_535)
"""240.240.0.0 and 240.240.255.255 are left out: tools take them for a network and a broadcast address.
Full: the number of the service that went longest ago is taken; if none has gone, there is no virtual IP."""

_V4 = V4_PREFIX + bytes((240, 240))
_V6 = bytes.fromhex("fd6d65730068") + bytes(8)


class Vips:
    """Which service has which number. Never takes one away from a service that is there."""

    def __init__(self, kept: Mapping[str, int] | None = None) -> None:
        """Begin with what was kept; see `recall`."""
        self._numbers: dict[str, int] = {}
        self._owners: dict[int, str] = {}
        self._gone: OrderedDict[str, None] = OrderedDict()
        self.fresh: dict[str, int] = {}
        """What was allocated since somebody last emptied this, to be kept. A number here is nobody else's."""
        self.recall(kept or {})

    def recall(self, kept: Mapping[str, int]) -> None:
        """Take what was kept, all of it free to be taken when numbers run out. What is in use stays so."""
        for key, number in kept.items():
            if number in NUMBERS and number not in self._owners and key not in self._numbers:
                self._numbers[key], self._owners[number] = number, key
                self._gone[key] = None

    def of(self, key: str) -> tuple[bytes, ...]:
        """Give the virtual IPs of a service, always the same ones; none if every number is in use."""
        number = self._numbers.get(key)
        if number is None:
            number = self._free(key)
            if number is None:
                return ()
            self._numbers[key], self._owners[number] = number, key
            self.fresh[key] = number
        self._gone.pop(key, None)
        return addresses(number)

    def release(self, key: str) -> None:
        """Let a service go. It gets the same number if it comes back, unless numbers ran out meanwhile."""
        if key in self._numbers:
            self._gone[key] = None

    def _free(self, key: str) -> int | None:
        if len(self._owners) >= len(NUMBERS):
            if not self._gone:
                return None
            longest_gone = self._gone.popitem(last=False)[0]
            self.fresh.pop(longest_gone, None)
            number = self._numbers.pop(longest_gone)
            del self._owners[number]
            return number
        at = int.from_bytes(blake2b(key.encode(), digest_size=8).digest(), "big")
        while (number := NUMBERS[at % len(NUMBERS)]) in self._owners:
            at += 1
        return number


def addresses(number: int) -> tuple[bytes, bytes]:
    """Give both addresses of a number, as 16 bytes each."""
    low = number.to_bytes(2, "big")
    return _V4 + low, _V6 + low


def is_allocated(vip: bytes) -> bool:
    """Say whether this virtual IP comes from our own networks."""
    return vip.startswith((_V4, _V6[:6]))
