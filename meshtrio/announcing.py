"""Shell. What the catcher says of doors and workloads, in the fleet's table under the subjects by which it is
replaced and forgotten. Does not know what workers do with it.
"""

from collections.abc import Sequence

from meshtrio.fleet import Fleet
from meshtrio.messages import CloseDoor, KnowWorkload, OpenDoor


def announce(fleet: Fleet, message: OpenDoor | CloseDoor | KnowWorkload, descriptors: Sequence[int]) -> None:
    """Let all workers know. Those that are started later hear of what is there then."""
    match message:
        case OpenDoor(door=door):
            fleet.tell(("door", door), message, descriptors)
        case CloseDoor(door=door):
            fleet.tell(("door", door), message)
            fleet.untell(("door", door))
        case KnowWorkload(workload=workload):
            fleet.tell(("workload", workload.id), message)
            if not workload.name:
                fleet.untell(("workload", workload.id))
