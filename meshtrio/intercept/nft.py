"""Shell. The fallback rung: nf_tables catches a workload's connections. Does not know netlink (nft_child.py
does).

Every function runs one short-lived child in the given network namespace (None: our own), which takes
about 0.2 s, and is one transaction: done or not, never half, also when cancelled. All raise NftRefused,
which names what is missing.

Known limit: a socket tied to an interface (SO_BINDTODEVICE) cannot reach a door on loopback, and no
expression can see the tie: its connect() times out. Exclude what such programs dial.

To stop without cutting anyone: `release`, let the connections drain, then `remove`. When the last rule of
a network namespace that needs conntrack goes, the kernel stops translating, and connections that were
redirected before stand still (seen on 6.18).
"""

import os
from collections.abc import Collection

from meshtrio.intercept import nft_request as request
from meshtrio.intercept.nft_errand import Child
from meshtrio.intercept.nft_plan import Applied, Count, Feature, NftPlan, OwnedTable, Sets
from meshtrio.intercept.nft_request import NftRefused

_CHILD = Child("meshtrio.intercept.nft_child", NftRefused)


async def apply(plan: NftPlan, netns_fd: int | None = None) -> Applied:
    """Make the workload's table be exactly what the plan says, and verify it.

    Doing it again is harmless: the old rules catch until the new ones do, and counters begin at zero.
    """
    return await _CHILD.send(request.Apply(plan), netns_fd, answer=Applied)


async def update(sets: Sets, netns_fd: int | None = None) -> int:
    """Replace the contents of a workload's sets at once, rules untouched; say how many keys they have."""
    return await _CHILD.send(request.Update(sets), netns_fd, answer=int)


async def release(workload: str, netns_fd: int | None = None) -> bool:
    """Catch no new connection; established ones go on. False if the workload has no table."""
    return await _CHILD.send(request.Release(workload), netns_fd, answer=bool)


async def remove(workload: str, netns_fd: int | None = None) -> bool:
    """Delete the workload's table with all that is in it. False if there is none."""
    return await remove_all((workload,), netns_fd) > 0


async def remove_all(workloads: Collection[str], netns_fd: int | None = None) -> int:
    """Delete the tables of these workloads, all at once; say how many there were."""
    return await _CHILD.send(request.Remove(tuple(workloads)), netns_fd, answer=int)


async def counters(workload: str, netns_fd: int | None = None) -> dict[str, Count]:
    """Return the count of each rule, by "<chain>: <tag>".

    NftRefused with ENOENT if somebody took the table away.
    """
    return await _CHILD.send(request.Counters(workload), netns_fd, answer=dict[str, Count])


async def tables(netns_fd: int | None = None) -> list[OwnedTable]:
    """Return our tables, whoever of us made them."""
    return await _CHILD.send(request.Tables(), netns_fd, answer=list[OwnedTable])


async def cleanup(netns_fd: int | None = None, *, spare: Collection[str] = ()) -> list[str]:
    """Delete our tables but those of the owners to spare (agents that live), and return their names."""
    return await _CHILD.send(request.Cleanup(tuple(spare)), netns_fd, answer=list[str])


async def probe(netns_fd: int | None = None) -> list[Feature]:
    """Try each feature that this rung needs, without effect, and say which are missing."""
    return await _CHILD.send(request.Probe(), netns_fd, answer=list[Feature])


def owner() -> str:
    """Say who we are, for whoever finds our rules: process id and start time, since ids are used again."""
    with open("/proc/self/stat") as stat:
        began = stat.read().rpartition(")")[2].split()[19]
    return f"{os.getpid()}.{began}"
