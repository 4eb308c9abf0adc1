"""Core. When the Kubernetes streams try again, and how long they wait for what. Does not wait itself."""

import msgspec


class Pace(msgspec.Struct, frozen=True):
    """All times of the streams, in seconds. `luck` is from 0 to 1 everywhere."""

    connect_s: float = 5.0
    list_s: float = 30.0
    """How long a list may be silent."""
    watch_s: tuple[float, float] = (30.0, 60.0)
    """How long the server is asked to let a watch last. Short, so that a dead one is noticed and cancelling
    is quick, and spread, so that the streams of many nodes do not come at once."""
    grace_s: float = 10.0
    """How much longer than asked for a watch may be silent."""
    first_s: float = 1.0
    """The first wait after a failure; it doubles."""
    most_s: float = 30.0
    forgotten_s: float = 3.5
    """The longest wait of those that were forgotten: the server is well, and all it costs is a list."""
    refused_s: float = 5.0
    """The first wait after a refusal that fresh credentials did not help."""
    patience_s: float = 60.0
    """How long we let a server ask us to wait."""
    look_s: float = 2.0
    """How often a server that was out of reach is looked for, whatever the back-off says."""
    lasting_s: float = 5.0
    """A watch that lasted so long was well, even if it brought nothing."""
    least_s: float = 0.5
    """A watch that is ended sooner, and brought nothing, is a failure."""
    soon_s: float = 0.008
    """How long news of a stream are gathered just after a silence. The hub gathers longer, and must see
    meanwhile whether a burst begins."""
    gather_s: float = 0.055
    """How long they are gathered while they go on. Each turn costs 1 to 2 ms."""
    begin_s: float = 8.0
    """How long the first word waits for what only adds to it."""

    def after_failure(self, failures: int, luck: float) -> float:
        """Say how long to wait after so many failures in a row: 0 the first time if all was well before."""
        return 0.0 if failures <= 0 else self._spread(self.first_s, failures - 1, luck)

    def after_forgetting(self, times: int, luck: float) -> float:
        """Say how long to wait after so many fresh lists in a row whose version was forgotten at once."""
        return min(self.after_failure(times - 1, luck), self._spread(self.forgotten_s, 0, luck))

    def after_refusal(self, refusals: int, luck: float) -> float:
        """Say how long to wait after so many refusals in a row: to the first, fresh credentials answer."""
        return 0.0 if refusals <= 1 else self._spread(self.refused_s, refusals - 2, luck)

    def after_plea(self, wanted_s: float, luck: float) -> float:
        """Say how long to wait for a server that asked us to: no less than it said, if it can be borne."""
        return min(wanted_s, self.patience_s) * (1 + 0.2 * luck)

    def watch_for(self, until_resync_s: float, luck: float) -> int:
        """Say for how many whole seconds a watch shall last. Never 0, which would be for ever."""
        shortest, longest = self.watch_s
        return max(1, round(min(shortest + (longest - shortest) * luck, until_resync_s)))

    def resync_in(self, resync_s: float, luck: float) -> float:
        """Say when everything is listed anew: 20 % sooner or later than configured."""
        return resync_s * (0.8 + 0.4 * luck)

    def _spread(self, base_s: float, doublings: int, luck: float) -> float:
        return min(base_s * 2.0 ** min(doublings, 16), self.most_s) * (0.8 + 0.4 * luck)
