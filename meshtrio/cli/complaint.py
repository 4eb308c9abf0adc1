"""Core. What a user is told when a command fails: one sentence, and an exit code. Does not know who fails."""

import enum
from collections.abc import Iterator

from meshtrio.config.fault import Faults


class Code(enum.IntEnum):
    """How a command ends. `exec` ends as its command did: its code, or 128 and the signal's number."""

    OK = 0
    FAILED = 1
    """It was tried, and did not work."""
    USAGE = 2
    """A flag, an argument or the configuration is wrong; nothing was tried."""
    UNREACHABLE = 3
    """No agent answers."""
    NOT_EXECUTABLE = 126
    NOT_FOUND = 127
    INTERRUPTED = 130


class Complaint(Exception):
    """A failure that a user can do something about. `str` is the sentence, or several lines of them."""

    def __init__(self, sentence: str, code: Code = Code.FAILED) -> None:
        super().__init__(sentence)
        self.code = code


def leaves(failure: BaseException) -> Iterator[BaseException]:
    """Walk over the exceptions in a group, and in the groups in it; one that is no group is its only leaf."""
    if isinstance(failure, BaseExceptionGroup):
        for inner in failure.exceptions:
            yield from leaves(inner)
    else:
        yield failure


def complaint_of(failure: BaseException, known: tuple[type[BaseException], ...]) -> Complaint | None:
    """Turn a failure into a complaint if all of it is of the known kinds, else None.

    A complaint among them is the one, and so are faults of a text, which keep their lines and are wrong
    usage. What failed in several tasks for one reason is said once.
    """
    found = list(leaves(failure))
    if not all(isinstance(one, (*known, Complaint)) for one in found):
        return None
    for one in found:
        if isinstance(one, Complaint):
            return one
        if isinstance(one, Faults):
            return Complaint(str(one), Code.USAGE)
    return Complaint("; ".join(dict.fromkeys(" ".join(str(one).split()) for one in found)))


def error_lines(text: str) -> list[str]:
    """Write a complaint as it is printed: every line says who speaks."""
    return [f"meshtrio: {line}" for line in text.splitlines() if line.strip()] or ["meshtrio: failed"]
