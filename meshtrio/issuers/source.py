"""Shell. Which source of certificates the configuration wants. Imports none before it is wanted."""

from collections.abc import Callable

from meshtrio.config.identity import Identity
from meshtrio.issuers.issuer import IssueError, Issuer


def open_issuer(settings: Callable[[], Identity], wall_now: Callable[[], float]) -> Issuer:
    """Make the source that is configured; `settings` gives what is configured whenever it is asked.

    IssueError if this version has none of that name.
    """
    source = settings().source
    if source == "embedded":
        from meshtrio.issuers.embedded import Embedded

        return Embedded(settings, wall_now)
    raise IssueError(f"identity.source {source} is not known here")
