"""Core. What is wrong with a text that a person wrote, and what is wanted. Does not know YAML."""

from collections.abc import Iterable, Sequence

import msgspec

SHOWN_CHARS = 60
"""How much of a wrong value is shown."""


class Fault(msgspec.Struct, frozen=True):
    """One thing that is wrong. `path` is empty where it is about the whole text."""

    path: str
    says: str
    origin: str = ""
    """Where the value came from: "line 12", "MESHTRIO_LOG__LEVEL", "flag"."""

    def __str__(self) -> str:
        origin = f" [{self.origin}]" if self.origin else ""
        return f"{self.path} {self.says}{origin}".lstrip()


class Faults(Exception):
    """All that is wrong with one text. `str` is one line for each."""

    subject = "file"

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__(self.faults)

    def __str__(self) -> str:
        return "\n".join(f"{self.subject}: {fault}" for fault in self.faults)


def shown(value: object) -> str:
    """Write a value as its author would know it again, not longer than SHOWN_CHARS."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    if len(text) > SHOWN_CHARS:
        text = text[:SHOWN_CHARS] + "..."
    return f'"{text}"' if isinstance(value, str) else text


def meant(word: str, known: Sequence[str]) -> str:
    """Say which of the known words was probably meant, or which there are."""
    near = nearest(word, known)
    return f"did you mean {near}?" if near else f"want one of {', '.join(sorted(known))}"


def nearest(word: str, known: Sequence[str], likeness: float = 0.6) -> str | None:
    """Find the known word that is most like this one, of a likeness up to 1; None: none is so like it."""
    # 0.2 MB that only a process with a fault has.
    import difflib

    return next(iter(difflib.get_close_matches(word, known, n=1, cutoff=likeness)), None)
