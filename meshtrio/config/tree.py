"""Core. YAML as people should write it: values and the line of each. Does not know what the values mean.

A narrower YAML than PyYAML's own, for safety and for fewer surprises:

- No aliases, no tags: a few hundred bytes of aliases can mean gigabytes, and a tag can name a Python class.
- Words mean what YAML 1.2 says (its core schema): `no` and `on` are words, not booleans, `010` and `12:30`
  are
  words, not numbers. PyYAML follows YAML 1.1.
- A key that comes twice is a fault; PyYAML would keep the last.
- Size and depth have bounds.
"""

import re
from collections.abc import Iterator

import msgspec
import yaml

from meshtrio.config.fault import Fault, Faults

TREE_BYTES = 1 << 20
DEPTH_BOUND = 32

# libyaml is about ten times as fast, and not everywhere.
_LOADER: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_WORDS: dict[str, bool | None] = dict.fromkeys(("", "~", "null", "Null", "NULL"))
_WORDS.update(dict.fromkeys(("true", "True", "TRUE"), True))
_WORDS.update(dict.fromkeys(("false", "False", "FALSE"), False))
# Each is a subset of what PyYAML takes for a number, so that whatever its dumper leaves unquoted stays a
# string.
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,18})")
_FLOAT = re.compile(r"[-+]?[0-9]{1,30}\.[0-9]{0,30}([eE][-+][0-9]{1,3})?")


class Tree(msgspec.Struct, frozen=True):
    """What a text holds: dicts, lists, strings, numbers, booleans and None, and where each stands."""

    value: object = None
    lines: dict[str, int] = {}
    """The line of each path, from 1; the paths are written as in `services[2].ports[0].name`."""
    faults: tuple[Fault, ...] = ()
    """What could be read past: keys that come twice."""


def read_tree(text: str, *, bound_bytes: int = TREE_BYTES) -> Tree:
    """Read one YAML document. An empty text is None.

    Raises Faults with a single fault, which says line and column, if there is no reading on.
    """
    try:
        if len(text.encode()) > bound_bytes:
            raise Faults([Fault("", f"is larger than {bound_bytes} bytes")])
        return _Reading(yaml.parse(text, Loader=_LOADER)).tree()
    except yaml.MarkedYAMLError as wrong:
        mark = wrong.problem_mark or wrong.context_mark
        raise Faults([Fault("", f"is not YAML: {wrong.problem}", _place(mark))]) from None
    except (yaml.YAMLError, UnicodeEncodeError) as wrong:
        raise Faults([Fault("", f"is not YAML: {' '.join(str(wrong).split())}")]) from None


class _Reading:
    def __init__(self, events: Iterator[yaml.Event]) -> None:
        self._events = events
        self._lines: dict[str, int] = {}
        self._faults: list[Fault] = []

    def tree(self) -> Tree:
        next(self._events)  # the stream begins
        event = next(self._events)
        if isinstance(event, yaml.StreamEndEvent):
            return Tree()
        value = self._value(next(self._events), "", 0)
        next(self._events)  # the document ends
        event = next(self._events)
        if not isinstance(event, yaml.StreamEndEvent):
            raise _stop("holds a second document", event)
        return Tree(value, self._lines, tuple(self._faults))

    def _value(self, event: yaml.Event, path: str, depth: int) -> object:
        if isinstance(event, yaml.AliasEvent):
            raise _stop(f"has the alias *{event.anchor} (aliases are not read here: write it out)", event)
        assert isinstance(event, yaml.ScalarEvent | yaml.MappingStartEvent | yaml.SequenceStartEvent)
        if event.tag is not None:
            raise _stop(f"has the tag {event.tag} (tags are not read here)", event)
        if depth > DEPTH_BOUND:
            raise _stop(f"is nested deeper than {DEPTH_BOUND}", event)
        self._lines.setdefault(path, _line(event))
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(path, depth)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(path, depth)
        # A scalar is plain, and may be more than a word, if it is neither quoted nor a block.
        return _scalar(event.value) if event.implicit[0] else event.value

    def _mapping(self, path: str, depth: int) -> dict[str, object]:
        made: dict[str, object] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                raise _stop("has a key that is not a word", event)
            key: str = event.value
            at = f"{path}.{key}" if path else key
            if key in made:
                says = f"is given twice, first in line {self._lines[at]}"
                self._faults.append(Fault(at, says, f"line {_line(event)}"))
            self._lines[at] = _line(event)
            made[key] = self._value(next(self._events), at, depth + 1)
        return made

    def _sequence(self, path: str, depth: int) -> list[object]:
        made: list[object] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            made.append(self._value(event, f"{path}[{len(made)}]", depth + 1))
        return made


def _scalar(text: str) -> object:
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text


def _line(event: yaml.Event) -> int:
    assert event.start_mark is not None, "the parser marks every event"
    return event.start_mark.line + 1


def _place(mark: "yaml.Mark | yaml._yaml.Mark | None") -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""


def _stop(says: str, event: yaml.Event) -> Faults:
    return Faults([Fault("", says, _place(event.start_mark))])
