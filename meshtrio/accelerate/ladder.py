"""Core. How far up the ladder of rungs connections may go, and why no further. Does not know who goes there.

r1 is a relay that copies, r1d adds direct services, r2 splices much between plain sockets, and r3 to r5 are
sk_msg (hazards.py). A wish that cannot be met stops nothing: a lower rung is used, and the reason is told.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from meshtrio.accelerate.hazards import Finding, Rung, verdicts
from meshtrio.config.kinds import Acceleration, RungMax

RUNGS: tuple[RungMax, ...] = ("r1", "r1d", "r2", "r3", "r4", "r5")
HIGHEST: RungMax = "r2"
"""What this version has."""
OPT_IN: tuple[Acceleration, ...] = ("r4", "r5")
"""What a workload must ask for, because its own sockets would be touched."""
SPLICE, DIRECT = "r2", "r1d"

_BY_SK_MSG: Mapping[Rung, RungMax] = {Rung.OURS: "r3", Rung.DOOR: "r4", Rung.APPS: "r5"}
UNKNOWN: Mapping[RungMax, str] = {
    rung: f"{rung} is not in this version; meshtrio check tries whether the kernel is fit for it"
    for rung in _BY_SK_MSG.values()
}
"""Why these rungs are not used, as long as no trial was held."""


class Standing(NamedTuple):
    """Where connections stand."""

    rung: RungMax
    """The highest rung that is used."""
    why: str
    """Why none that is higher, where one was to be expected."""


def allows(highest: RungMax, rung: str) -> bool:
    """Say whether one may go up to this rung, if that is the highest."""
    return rung in RUNGS[: RUNGS.index(highest) + 1]


def refusals(findings: Iterable[Finding]) -> Mapping[RungMax, str]:
    """Say of each rung by sk_msg why it is not used, now that this was found on this kernel."""
    said = {}
    for one in verdicts(findings):
        rung = _BY_SK_MSG[one.rung]
        names = ", ".join(hazard.value for hazard in one.refused_for)
        said[rung] = (
            f"{rung} is refused on this kernel for {names}" if names else f"{rung} is not in this version"
        )
    return said


def untried(why: str) -> Mapping[RungMax, str]:
    """Say of each rung by sk_msg why it is not used, if no trial could be held."""
    return {rung: f"{rung} could not be tried: {why}" for rung in _BY_SK_MSG.values()}


def node(rung_max: RungMax, refused: Mapping[RungMax, str]) -> Standing:
    """Say where the connections of all stand, and why not on the next rung."""
    if allows(rung_max, HIGHEST) and rung_max != HIGHEST:
        return Standing(HIGHEST, refused["r3"])
    return Standing(rung_max, f"rung_max is {rung_max}")


def workload(
    rung_max: RungMax, acceleration: str, *, hooks: bool, refused: Mapping[RungMax, str]
) -> Standing:
    """Say where the connections of a workload stand, and why lower than it asks for. `hooks`: it has them."""
    if acceleration == "off":
        return Standing("r1", "acceleration is off")
    rung = rung_max if not allows(rung_max, HIGHEST) else HIGHEST
    why = "" if rung == HIGHEST else f"rung_max is {rung_max}"
    if acceleration in OPT_IN:
        asked: RungMax = "r4" if acceleration == "r4" else "r5"
        why = (
            refused[asked] if allows(rung_max, asked) else f"{asked} is asked for, and rung_max is {rung_max}"
        )
    if rung == DIRECT and not hooks:
        return Standing("r1", why if acceleration in OPT_IN else "r1d needs hooks, and it has none")
    return Standing(rung, why)
