"""Shell. Direct connections of workloads that have been revoked are ended, as workers end theirs.

Only those that were granted: for the others nobody has proved to be anybody. Has no clock of its own.
"""

from collections.abc import Set

from meshtrio.direct_book import DirectBook
from meshtrio.granting import Grantor
from meshtrio.intercept.followed_layout import DirectLive
from meshtrio.observe import log

REVOKED = "a workload of it has been revoked"


class DirectRevoking:
    """Ends what is left of revoked workloads."""

    def __init__(self, grantor: Grantor, book: DirectBook) -> None:
        """Begin with nobody revoked."""
        self._grantor = grantor
        self._book = book
        self._since: dict[str, float] = {}

    def end(self, now: float, wall_now: float, drain_s: float) -> int:
        """End the connections of whoever has been revoked for so long; 0: none. Say how many."""
        revoked = self._grantor.revoked(wall_now)
        self._since = {id_: self._since.get(id_, now) for id_ in revoked}
        due = {id_ for id_, since in self._since.items() if drain_s and now >= since + drain_s}
        who = self._grantor.numbers(due) if due else frozenset[int]()
        if not who:
            return 0
        try:
            return self._book.close(lambda service, one: _is_of(one, who), REVOKED)
        except OSError as refused:
            log.rarely("direct connections of a revoked workload cannot be ended", why=str(refused))
            return 0


def _is_of(one: DirectLive, who: Set[int]) -> bool:
    return one.called != 0 and (one.workload in who or one.called in who)
