"""What the catcher says, in the fleet's table."""

from typing import Any

import trio

from meshtrio.announcing import announce
from meshtrio.fleet import Fleet, Seat, Told
from meshtrio.messages import CloseDoor, KnowWorkload, OpenDoor, WorkloadName

OPENED = OpenDoor(4, "outbound", "nft", 1, WorkloadName(7, "shop"), 1)
SHOP, GONE = KnowWorkload(WorkloadName(7, "shop")), KnowWorkload(WorkloadName(7, ""))


async def hear(seat: Seat, message: Told) -> None:
    await trio.lowlevel.checkpoint()


def said(fleet: Fleet) -> list[Any]:
    """What a worker that has read nothing yet would be told next."""
    return [message for message, _ in fleet.seats[0].waiting.values()]


def test_doors_and_names_are_kept_for_later_workers_until_they_go() -> None:
    fleet = Fleet(1, hear)
    with open("/dev/null") as one:
        announce(fleet, OPENED, [one.fileno(), one.fileno()])
    announce(fleet, SHOP, [])
    assert [message for message, _ in fleet._table.values()] == said(fleet) == [OPENED, SHOP]
    announce(fleet, CloseDoor(4), [])
    announce(fleet, GONE, [])
    assert said(fleet) == [CloseDoor(4), GONE]
    assert not fleet._table
    fleet.close()
