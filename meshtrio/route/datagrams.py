"""Core. Whom may the kernel pick for datagrams to a service, and if nobody, why? Does not know maps.

Workers carry no datagrams. So whatever is asked for beside the endpoint (retries, limits, breakers) does not
apply to UDP, and an algorithm that the kernel has not gives way to one that it has.
"""

import enum
from collections.abc import Collection, Sequence

import msgspec

from meshtrio.balance.slots import MEMBERS_BOUND, PICKS
from meshtrio.catalog.service import Endpoint, Health
from meshtrio.config.schema import Config
from meshtrio.route.directness import Relayed, Way


class Unpicked(enum.Enum):
    """Why the kernel picks nobody. The value is what `meshtrio services` shows."""

    OFF = Relayed.OFF.value
    NO_HOOKS = Relayed.NO_HOOKS.value
    NO_ADDRESS = Relayed.NO_ADDRESS.value
    TOO_MANY = Relayed.TOO_MANY.value
    FULL = Relayed.FULL.value
    OTHER_OWNER = Relayed.OTHER_OWNER.value
    NO_ENDPOINT = "no endpoint is well"
    FAMILY = "no endpoint that is well has an address of its family"
    STRICT = "mtls is strict and an endpoint is in the mesh, but datagrams are never encrypted"

    @property
    def refuses(self) -> bool:
        """Say whether the caller is told so (EPERM). Else its datagrams go where it sends them."""
        return self in _REFUSING


_REFUSING = (Unpicked.NO_ENDPOINT, Unpicked.FAMILY, Unpicked.STRICT)

_INSTEAD = {"consistent_hash": "maglev", "least_connections": "random", "peak_ewma": "random"}
"""What the kernel does for flows, of which it does not know when they end, or how long answers take."""


class Choice(msgspec.Struct, frozen=True):
    """How the kernel picks, and in words what it does instead of what was asked for."""

    algorithm: str
    note: str = ""


def choice_of(algorithm: str, hash_key: str) -> Choice:
    """Say which of the kernel's algorithms stands for this one."""
    does = _INSTEAD.get(algorithm, algorithm)
    if does not in PICKS:
        does = "random"
    if does != algorithm:
        return Choice(does, f"{does} instead of {algorithm}, which the kernel has not for it")
    if does == "maglev" and hash_key != "source_ip":
        return Choice(does, f"maglev by the caller instead of {hash_key}, which the kernel does not see")
    return Choice(does)


def members(usable: Sequence[Endpoint], *, v4: bool, strict: bool) -> tuple[Endpoint, ...] | Unpicked:
    """Return the endpoints that may serve an address of this family, or why there are none.

    `strict`: no endpoint in the mesh may be called without mutual TLS.
    """
    well = [endpoint for endpoint in usable if endpoint.health is not Health.UNHEALTHY]
    if not well:
        return Unpicked.NO_ENDPOINT
    if strict and any(endpoint.meshed for endpoint in well):
        return Unpicked.STRICT
    fitting = tuple(endpoint for endpoint in well if endpoint.address.is_v4 == v4)
    if not fitting:
        return Unpicked.FAMILY
    return fitting if len(fitting) <= MEMBERS_BOUND else Unpicked.TOO_MANY


def is_strict(config: Config) -> bool:
    """Say whether mutual TLS is demanded anywhere: then nothing plain goes to an endpoint in the mesh."""
    return "strict" in {config.mtls.mode, *(rule.mode for rule in config.mtls.rules)}


def udp_way(judged: Collection[Unpicked | None], note: str = "") -> Way:
    """Say how datagrams to a port go, by what was found for each of its addresses (None: one is picked).

    `direct`: to an endpoint that the kernel picks; `refuse`: nowhere, and the caller is told; `pass`: where
    the caller sends them; `both`: it depends on the address.
    """
    paths = {_path(one) for one in judged} or {"pass"}
    whys = [one.value for one in dict.fromkeys(judged) if one is not None]
    if not judged:
        whys = [Unpicked.NO_ADDRESS.value]
    if whys == [Unpicked.OFF.value]:
        return Way("pass", Unpicked.OFF.value)
    picked = [note] if note and None in judged else []
    return Way(paths.pop() if len(paths) == 1 else "both", "; ".join(("udp", *picked, *whys)))


def _path(one: Unpicked | None) -> str:
    if one is None:
        return "direct"
    return "refuse" if one.refuses else "pass"
