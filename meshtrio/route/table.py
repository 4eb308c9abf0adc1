"""Core. The decisions of one worker, remembered until something changes. Does not know what changes it."""

from meshtrio.address import Address
from meshtrio.catalog.service import Found
from meshtrio.route.decision import Policy, Route, decide
from meshtrio.route.doors import Doors

ROUTES_BOUND = 4096
"""How many service routes are remembered. Full means: forget all; each costs one decision again."""


class RouteTable:
    """Answers with the same Route object for the same destination, until its port or endpoint is replaced.

    Made anew when the policy or the doors change. Pass-through is decided each time: it costs a microsecond,
    and remembering it would let anyone who dials around fill the table.
    """

    def __init__(self, *, policy: Policy = "allow", doors: Doors | None = None) -> None:
        self._policy: Policy = policy
        self._doors = Doors() if doors is None else doors
        self._routes: dict[Address, tuple[Found, Route]] = {}

    def route(self, destination: Address, found: Found | None) -> Route:
        """Decide what becomes of a connection, by what the catalog says of its destination."""
        if found is None:
            return decide(None, destination, policy=self._policy, doors=self._doors)
        remembered = self._routes.get(destination)
        if remembered is not None:
            before, route = remembered
            # Snapshots share what did not change, so identity is enough, and does not look at 1,000
            # endpoints.
            if found.port is before.port and found.endpoint is before.endpoint:
                return route
        elif len(self._routes) >= ROUTES_BOUND:
            self._routes.clear()
        route = decide(found, destination, policy=self._policy, doors=self._doors)
        self._routes[destination] = (found, route)
        return route
