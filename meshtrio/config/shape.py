"""Core. Put a tree of plain values into typed structs, and say all that does not fit. Does not know the
structs.

msgspec would stop at the first fault. Here every leaf is converted by itself, by msgspec, and what is wanted
is said in the words of the field: the description in its `Meta`.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin

import msgspec

from meshtrio.config.fault import Fault, meant, shown

S = TypeVar("S", bound=msgspec.Struct)

_BROKEN: Any = object()


class Means(NamedTuple):
    """Stands in an `Annotated`: the value must mean something to `read`, or that raises ValueError."""

    read: Callable[[Any], object]


class Shaping:
    """Collects what is wrong while trees become structs.

    `origins` says for a path where its value came from. Paths in `loose` hold text from outside of the file
    (an environment variable, a flag), where "30" may mean a number and "22,80" a list.
    """

    def __init__(self, origins: Mapping[str, str], loose: frozenset[str] = frozenset()) -> None:
        self._origins = origins
        self._loose = loose
        self.faults: list[Fault] = []

    def blame(self, path: str, says: str) -> None:
        """Note a fault at this path, with the origin of what stands there, or else of what it stands in."""
        self.faults.append(Fault(path, says, origin_of(path, self._origins)))

    def struct(self, kind: type[S], tree: object, path: str = "") -> S | None:
        """Make a struct of this kind from a mapping. What is missing or faulty gets its default.

        None if a field without default is missing or faulty, or if there is no mapping at all; then there is
        at least one fault more. Nothing in the place of a mapping is an empty one.
        """
        if tree is None:
            tree = {}
        fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
        if not isinstance(tree, dict):
            self.blame(path, f"is {shown(tree)} (want a mapping of {', '.join(fields)})")
            return None
        for key in tree:
            if key not in fields:
                self.blame(_join(path, key), f"is not known ({meant(key, tuple(fields))})")
        made = {}
        whole = True
        for name, field in fields.items():
            if name in tree:
                value = self._value(field.type, tree[name], _join(path, name))
            elif field.required:
                self.blame(_join(path, name), f"is missing{_want(field.type)}")
                value = _BROKEN
            else:
                continue
            if value is not _BROKEN:
                made[field.name] = value
            else:
                whole = whole and not field.required
        return kind(**made) if whole else None

    def _value(self, kind: Any, value: object, path: str) -> Any:
        kind = _once_set(kind)
        bare = get_args(kind)[0] if get_origin(kind) is Annotated else kind
        if get_origin(bare) is Union and is_struct(get_args(bare)[1]):
            # A short form and a long one: a text, or a mapping for who has more to say.
            short, long = get_args(bare)
            return self._value(long if isinstance(value, dict) else short, value, path)
        if is_struct(bare):
            made = self.struct(bare, value, path)
            return _BROKEN if made is None else made
        if get_origin(bare) is tuple:
            return self._tuple(get_args(bare)[0], value, path)
        return self._leaf(kind, value, path, loose=path in self._loose)

    def _tuple(self, kind: Any, value: object, path: str) -> Any:
        loose = path in self._loose
        if loose and isinstance(value, str):
            value = [part.strip() for part in value.split(",") if part.strip()]
        if value is None:
            value = []
        if not isinstance(value, list | tuple):
            self.blame(path, f"is {shown(value)} (want a list)")
            return _BROKEN
        made = []
        for at, one in enumerate(value):
            here = f"{path}[{at}]"
            converted = self._leaf(kind, one, here, loose=True) if loose else self._value(kind, one, here)
            if converted is not _BROKEN:
                made.append(converted)
        return tuple(made) if len(made) == len(value) else _BROKEN

    def _leaf(self, kind: Any, value: object, path: str, *, loose: bool) -> Any:
        try:
            made = msgspec.convert(value, kind, strict=not loose)
            for meta in getattr(kind, "__metadata__", ()):
                if isinstance(meta, Means):
                    meta.read(made)
        except ValueError:  # msgspec.ValidationError is one
            self.blame(path, f"is {shown(value)}{_want(kind)}")
            return _BROKEN
        return made


def is_struct(kind: Any) -> bool:
    """Say whether this type is a struct, and so a mapping in a text."""
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _once_set(kind: Any) -> Any:
    """Give the type of what may be left unset, without that: whoever writes it down sets it."""
    set_kinds = [one for one in get_args(kind) if one is not msgspec.UnsetType]
    return set_kinds[0] if len(set_kinds) == 1 and msgspec.UnsetType in get_args(kind) else kind


def origin_of(path: str, origins: Mapping[str, str]) -> str:
    """Say where the value at this path came from, or else the nearest thing around it; empty if nowhere."""
    while path and path not in origins:
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    return origins.get(path, "")


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _want(kind: Any) -> str:
    """Say what a field wants, by its description; by its type if it has none."""
    bare = kind
    if get_origin(kind) is Annotated:
        for meta in kind.__metadata__:
            if isinstance(meta, msgspec.Meta) and meta.description:
                return f" (want {meta.description})"
        bare = get_args(kind)[0]
    if get_origin(bare) is Literal:
        return f" (want {' or '.join(map(str, get_args(bare)))})"
    return f" (want {_TYPES.get(get_origin(bare) or bare, 'a mapping')})"


_TYPES = {bool: "true or false", str: "text", int: "a whole number", float: "a number", tuple: "a list"}
