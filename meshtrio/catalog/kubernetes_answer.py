"""Core. What a Kubernetes API server answers: pages of a list, lines of a watch, and why it will not.

A watch is JSON objects, one a line, cut into chunks wherever the network pleases. What comes out are changes
that the reducer can take as they are. Does not know connections, nor what the objects mean.
"""

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from meshtrio.catalog.kubernetes_objects import Kind, Object, PoisonError, decode

SHOWN = 200
"""How many characters of a server's complaint are shown."""


class AnswerError(Exception):
    """What came is not what an API server says."""


class GoneError(Exception):
    """The server has forgotten the version that we asked for: everything must be listed anew."""


class Put(NamedTuple):
    """An object is so now."""

    object: Object


class Deleted(NamedTuple):
    """An object is no more. `uid` and `version` say which one died, and when."""

    namespace: str
    name: str
    uid: str
    version: str


class Skipped(NamedTuple):
    """Something that cannot be understood. `key` is "namespace/name", empty where even that is unreadable."""

    why: str
    key: str = ""


Change = Put | Deleted | Skipped


class Batch(NamedTuple):
    """Changes in their order, and the version that is reached with them; empty: as before."""

    changes: list[Change]
    version: str = ""
    trouble: "AnswerError | GoneError | None" = None
    """Why nothing can come after these."""


class Page(NamedTuple):
    """One page of a list."""

    changes: list[Change]
    """Only Put and Skipped."""
    version: str
    more: str
    """What the next page is asked for with; empty: there is none."""


class _Named(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    name: str | None = None
    namespace: str | None = None
    uid: str | None = None
    resource_version: str | None = None


class _Object(msgspec.Struct, frozen=True, gc=False):
    metadata: _Named | None = None


class _ListMeta(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    resource_version: str | None = None
    more: str | None = msgspec.field(default=None, name="continue")


class _List(msgspec.Struct, frozen=True, gc=False):
    metadata: _ListMeta
    items: list[msgspec.Raw] | None


class _Event(msgspec.Struct, frozen=True, gc=False):
    type: str
    object: msgspec.Raw


class _Status(msgspec.Struct, frozen=True, gc=False):
    kind: str
    code: int | None = None
    reason: str | None = None
    message: str | None = None


_list = msgspec.json.Decoder(_List)
_event = msgspec.json.Decoder(_Event)
_object = msgspec.json.Decoder(_Object)
_status = msgspec.json.Decoder(_Status)

_NAMELESS = _Named()
_NONSENSE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def read_page(kind: Kind, body: bytes) -> Page:
    """Understand one page. AnswerError if it is none; an object that is poison is only skipped."""
    try:
        listed = _list.decode(body)
    except _NONSENSE:
        raise AnswerError(f"an answer of {len(body)} bytes that is no list") from None
    changes = [_put(kind, raw)[0] for raw in listed.items or ()]
    return Page(changes, listed.metadata.resource_version or "", listed.metadata.more or "")


def read_lines(kind: Kind, lines: "Iterable[bytes | TooLong]") -> Batch:
    """Understand lines of a watch, up to one that says that the watch is over, or that is no event at all."""
    changes: list[Change] = []
    version = ""
    trouble: AnswerError | GoneError | None = None
    for line in lines:
        if isinstance(line, TooLong):
            changes.append(Skipped(f"an event of {line.size} bytes (at most {line.bound} are read)"))
            continue
        try:
            event = _event.decode(line)
        except _NONSENSE:
            trouble = AnswerError(f"a line of {len(line)} bytes that is no event")
            break
        match event.type:
            case "ADDED" | "MODIFIED":
                change, reached = _put(kind, event.object)
            case "DELETED":
                change, reached = _deleted(event.object)
            case "BOOKMARK":
                version = named(event.object).resource_version or version
                continue
            case "ERROR":
                code, words = complaint(bytes(event.object))
                trouble = GoneError(words) if code == 410 else AnswerError(f"the watch ended: {words}")
                break
            case _:
                change, reached = Skipped(f"an event of type {event.type[:SHOWN]!r}"), ""
        changes.append(change)
        version = reached or version
    return Batch(changes, version, trouble)


def named(raw: msgspec.Raw) -> _Named:
    """Read how an object is called, empty where that is unreadable."""
    try:
        return _object.decode(raw).metadata or _NAMELESS
    except _NONSENSE:
        return _NAMELESS


def _put(kind: Kind, raw: msgspec.Raw) -> tuple[Change, str]:
    try:
        one = decode(kind, raw)
    except PoisonError as poison:
        return Skipped(str(poison), poison.name), named(raw).resource_version or ""
    return Put(one), one.version


def _deleted(raw: msgspec.Raw) -> tuple[Change, str]:
    """Understand a deletion by the name alone: what is wrong with the rest must not keep the object alive."""
    who = named(raw)
    version = who.resource_version or ""
    if not who.name:
        return Skipped("a deletion of an object without a name"), version
    return Deleted(who.namespace or "", who.name, who.uid or "", version), version


def complaint(body: bytes) -> tuple[int, str]:
    """Read a Status: its code and its words. Zero and nothing, if it is none."""
    try:
        status = _status.decode(body)
    except _NONSENSE:
        return 0, ""
    if status.kind != "Status":
        return 0, ""
    words = f"{status.reason or ''}: {status.message or ''}".strip(": ")
    # After etcd was restored from a backup, our version lies in the server's future. It says 504, for all
    # that it can think of is that it lags behind.
    code = 410 if "oo large resource version" in words else status.code or 0
    return code, "".join(char if char.isprintable() else " " for char in words[:SHOWN])


class TooLong(NamedTuple):
    """A line that was thrown away, for it was longer than the bound."""

    size: int
    bound: int


class Lines:
    """Bytes become lines, wherever they are cut. Holds `bound` bytes and one chunk at most."""

    def __init__(self, bound: int) -> None:
        """Begin at the beginning of a line."""
        self._bound = bound
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[bytes | TooLong]:
        """Take bytes, and give the lines that end in them. Empty lines are none."""
        *ends, rest = chunk.split(b"\n")
        lines: list[bytes | TooLong] = []
        for end in ends:
            self._keep(end)
            if self._size > self._bound:
                lines.append(TooLong(self._size, self._bound))
            elif self._size:
                lines.append(b"".join(self._parts))
            self._parts, self._size = [], 0
        self._keep(rest)
        return lines

    def _keep(self, part: bytes) -> None:
        self._size += len(part)
        if self._size > self._bound:
            self._parts.clear()
        elif part:
            self._parts.append(part)
