"""Core. What one stream has been through, and what so follows for it: how long to wait, and what to ask next.

Does not wait itself, nor know luck.
"""

from typing import NamedTuple

from meshtrio.catalog.kubernetes_answer import AnswerError
from meshtrio.discover.kubernetes_call import REFUSALS, CallError, Fault
from meshtrio.discover.kubernetes_pace import Pace


class Wait(NamedTuple):
    """What to do after a failure."""

    delay_s: float
    looks_out: bool = False
    """Whether to go on sooner if the server, which was not there, is back."""
    was_out_of_reach: bool = False
    anew: bool = False
    """Whether where we were is of no use: everything is to be listed."""


class Patience:
    """Failures in a row, by what they ask for."""

    def __init__(self, pace: Pace) -> None:
        """Begin with all well."""
        self._pace = pace
        self._failures = self._refusals = self._forgotten = self._garbled = 0

    def well(self) -> None:
        """Note that news came, or that a watch lasted: what was before is over."""
        self._failures = self._refusals = self._forgotten = self._garbled = 0

    def listed(self) -> None:
        """Note that a list was taken. That does not end a row of forgotten versions: each makes a list."""
        self._failures = self._refusals = 0

    def forgotten(self, luck: float) -> float:
        """Say how long to wait before a new list: not at all, if the last one was not in vain."""
        self._forgotten += 1
        return self._pace.after_forgetting(self._forgotten, luck)

    def suffered(self, error: CallError | AnswerError, luck: float) -> Wait:
        """Say what to do after this failure."""
        pace = self._pace
        if isinstance(error, AnswerError):
            # The same event again tells whether it is broken, or was broken on its way.
            self._garbled += 1
            self._failures += 1
            return Wait(pace.after_failure(self._failures - 1, luck), looks_out=True, anew=self._garbled > 1)
        fault = error.fault
        if fault in REFUSALS:
            self._refusals += 1
            delay_s = pace.after_refusal(self._refusals, luck)
        else:
            self._failures += 1
            delay_s = pace.after_failure(self._failures - 1, luck)
        anew = fault is Fault.MISSING
        if error.after_s is not None:
            return Wait(pace.after_plea(error.after_s, luck), anew=anew)
        # While we are refused there is no looking out: it would run a failing plugin every other second.
        return Wait(delay_s, fault is not Fault.REFUSED, fault is Fault.UNREACHABLE, anew)
