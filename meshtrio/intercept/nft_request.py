"""Core. The errands that the agent sends to the nf_tables child, and how it says no. Does not know pyroute2.

Errands and answers are JSON on the child's standard input and output (nft_errand.py).
"""

import msgspec

from meshtrio.intercept.nft_plan import NftPlan, Sets


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why the kernel (or a missing library) said no."""

    feature: str
    """What we wanted, in words."""
    errno_name: str = ""
    """"EPERM" and the like; empty if the kernel was never asked."""
    advice: str = ""
    """What to do about it."""

    def __str__(self) -> str:
        code = f" ({self.errno_name})" if self.errno_name else ""
        return f"{self.feature}{code}" + (f": {self.advice}" if self.advice else "")


class ErrandRefused(Exception):
    """The kernel did not take what we asked for; nothing of it was done."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal


class NftRefused(ErrandRefused):
    """The nf_tables rung cannot be used, or not in this way; the message names the feature."""


class Apply(msgspec.Struct, frozen=True, tag=True):
    """Make the workload's table be what the plan says."""

    plan: NftPlan


class Update(msgspec.Struct, frozen=True, tag=True):
    """Replace the contents of sets."""

    sets: Sets


class Release(msgspec.Struct, frozen=True, tag=True):
    """Catch nothing new, but keep translating what is established."""

    workload: str


class Remove(msgspec.Struct, frozen=True, tag=True):
    """Delete the tables of these workloads, those that there are."""

    workloads: tuple[str, ...]


class Counters(msgspec.Struct, frozen=True, tag=True):
    """Read the counters."""

    workload: str


class Tables(msgspec.Struct, frozen=True, tag=True):
    """List our tables."""


class Cleanup(msgspec.Struct, frozen=True, tag=True):
    """Delete our tables, but not those of the owners to spare."""

    spare: tuple[str, ...]


class Probe(msgspec.Struct, frozen=True, tag=True):
    """Try every feature that we need, without effect."""


Errand = Apply | Update | Release | Remove | Counters | Tables | Cleanup | Probe
