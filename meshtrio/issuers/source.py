"""Shell. Which source of certificates the configuration wants. Imports none before it is wanted."""

from collections.abc import Callable

from meshtrio.config.identity import Identity
from meshtrio.issuers.issuer import IssueError, Issuer

Settings = Callable[[], Identity]
"""Gives what is configured whenever it is asked."""
WallNow = Callable[[], float]


def sources_of(node: str) -> Callable[[Settings, WallNow], Issuer]:
    """Give what makes the source that is configured, on the machine of this name. That raises IssueError if
    this version has no such source."""

    def open_issuer(settings: Settings, wall_now: WallNow) -> Issuer:
        source = settings().source
        if source == "embedded":
            from meshtrio.issuers.embedded import Embedded

            return Embedded(settings, wall_now)
        if source == "remote":
            from meshtrio.issuers.remote import Remote

            return Remote(settings, node, wall_now)
        if source == "spire":
            from meshtrio.issuers.spire import Spire

            return Spire(settings, wall_now)
        raise IssueError(f"identity.source {source} is not known here")

    return open_issuer
