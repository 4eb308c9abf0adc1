"""Shell. One run of `meshtrio exec`, from the first signal that may come to the last process that ends."""

from collections.abc import Sequence
from typing import Any

import trio

from meshtrio.cli.child import Child, caught_signals, emptied, populated
from meshtrio.cli.membership import Membership, Way
from meshtrio.cli.screen import note
from meshtrio.intercept import cgroup


class Outing:
    """A command, on its way through the mesh."""

    def __init__(self, command: Sequence[str], user: str, soft_limit: int, *, wait: bool) -> None:
        """Prepare. `wait`: serve what the command leaves behind until it ends."""
        self.child = Child(command, user, soft_limit)
        self._name = command[0]
        self._wait = wait

    async def run(self, place: Way) -> tuple[int, list[dict[str, Any]]]:
        """Run the command in a mesh; return its exit code and what was caught of it.

        When this returns nothing is caught any more. A signal before the command has started ends it at once.
        """
        code = 0
        member: Membership | None = None
        with trio.open_signal_receiver(*caught_signals()) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.child.forward, signals)
                async with place() as member:
                    if not self.child.interrupted.is_set():
                        code = await self.child.run(member.cgroup)
                        await self._see_to_those_left(member)
                nursery.cancel_scope.cancel()
        if not self.child.ended:
            code = 128 + self.child.signal
        return code, member.connections

    async def _see_to_those_left(self, member: Membership) -> None:
        """Serve processes that the command left behind, or say that nobody will."""
        # One that was killed with the command needs a moment to be gone.
        with trio.move_on_after(0.1):
            await emptied(member.cgroup)
            return
        left = cgroup.processes(member.cgroup)
        if not left:
            return
        who = f"what it left behind (process {', '.join(map(str, left[:5]))})"
        if not self._wait:
            note(f"{self._name} has ended; {who} goes on without the mesh")
            return
        note(f"{self._name} has ended; serving {who} until that ends (^C stops serving)")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._interrupted, nursery)
            await emptied(member.cgroup)
            nursery.cancel_scope.cancel()
        if populated(member.cgroup):
            note("it goes on without the mesh")

    async def _interrupted(self, nursery: trio.Nursery) -> None:
        await self.child.interrupted.wait()
        nursery.cancel_scope.cancel()
