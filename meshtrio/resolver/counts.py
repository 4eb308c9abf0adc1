"""Core. How queries ended, counted. Does not know what a metric is."""


class Counts:
    """Plain numbers that only grow. A query ends in exactly one of them, unless its door is closed first."""

    def __init__(self) -> None:
        """Begin with zeros."""
        self.answered = 0
        """From the catalog; refusals of what cannot be answered count as well."""
        self.remembered = 0
        """With a reply of "there is none" that another query got a moment ago."""
        self.forwarded = 0
        """With what another resolver replied."""
        self.failed = 0
        """With SERVFAIL: nobody could be asked."""
        self.unsent = 0
        """Answers, counted above, that the network did not take."""
        self.dropped: dict[str, int] = {}
        """Not at all, by reason; the reasons are words in our code, so they are few."""

    def drop(self, reason: str) -> None:
        """Count a query that gets no answer."""
        self.dropped[reason] = self.dropped.get(reason, 0) + 1
