"""Core. How far up the ladder of rungs connections may go, and why no further. Does not know who goes there.

r1 is a relay that copies, r1d adds direct services, r2 splices much between plain sockets, r3 and r4 are
sk_msg (hazards.py), and r5 goes from program to program within the node, where the agent has granted it. A
wish that cannot be met stops nothing: a lower rung is used, and the reason is told.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from meshtrio.accelerate.hazards import Finding, Rung, verdicts
from meshtrio.config.kinds import Acceleration, RungMax

if TYPE_CHECKING:
    # A command that names rungs does not pay for the whole configuration.
    from meshtrio.config.schema import Config

RUNGS: tuple[RungMax, ...] = ("r1", "r1d", "r2", "r3", "r4", "r5")
HIGHEST: RungMax = "r2"
"""What all have that ask for nothing."""
BY_SK_MSG: Acceleration = "r4"
GRANTED: RungMax = "r5"
OPT_IN: tuple[Acceleration, ...] = (BY_SK_MSG, "r5")
"""What a workload must ask for, because its own sockets are meant."""
SPLICE, DIRECT = "r2", "r1d"

_BY_SK_MSG: Mapping[Rung, RungMax] = {Rung.OURS: "r3", Rung.DOOR: "r4"}
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
        rung = _BY_SK_MSG.get(one.rung)
        if rung is None:
            continue  # r5 is there, in another way
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


def why_no_grants(config: "Config") -> str:
    """Say why no workload is granted to go to another one itself; empty: it may be."""
    if config.identity.source == "off":
        return "r5 needs identities, and identity.source is off"
    return "" if config.mtls.same_node == "kernel" else "r5 needs mtls.same_node: kernel"


def workload(
    rung_max: RungMax, acceleration: str, *, hooks: bool, refused: Mapping[RungMax, str], ungranted: str
) -> Standing:
    """Say where the connections of a workload stand, and why lower than it asks for.

    `hooks`: it has them. `ungranted`: why nobody may go to another workload itself.
    """
    if acceleration == "off":
        return Standing("r1", "acceleration is off")
    rung = rung_max if not allows(rung_max, HIGHEST) else HIGHEST
    why = "" if rung == HIGHEST else f"rung_max is {rung_max}"
    if acceleration in OPT_IN:
        asked: RungMax = "r4" if acceleration == BY_SK_MSG else GRANTED
        if not allows(rung_max, asked):
            why = f"{asked} is asked for, and rung_max is {rung_max}"
        elif asked == GRANTED:
            why = ungranted if hooks else "r5 needs hooks, and it has none"
        else:
            why = refused[asked]
        if not why:
            return Standing(asked, "")
    if rung == DIRECT and not hooks:
        return Standing("r1", why if acceleration in OPT_IN else "r1d needs hooks, and it has none")
    return Standing(rung, why)
