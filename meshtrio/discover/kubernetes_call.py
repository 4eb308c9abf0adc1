"""Core. Why a call to the API server failed, in the sorts that ask for different answers. Does not call."""

import enum


class Fault(enum.Enum):
    """What a failed call asks for."""

    REFUSED = "refused"
    """Nobody knows us: fresh credentials, then patience."""
    FORBIDDEN = "forbidden"
    """We are known, and may not: patience, unless something else will do."""
    MISSING = "missing"
    """There is no such API."""
    GONE = "gone"
    """A new list."""
    FAILED = "failed"
    """The server is there, and something is wrong."""
    UNREACHABLE = "unreachable"
    """Another attempt, as soon as the server can be reached."""


REFUSALS = frozenset((Fault.REFUSED, Fault.FORBIDDEN))


class CallError(Exception):
    """A call failed. The words hold no secret."""

    def __init__(self, words: str, fault: Fault, after_s: float | None = None) -> None:
        """`after_s`: the server asks us not to come back sooner."""
        super().__init__(words)
        self.fault = fault
        self.after_s = after_s
