"""Core. Where the members of the kernel's structs are, from its BTF, for what no header tells.

The format is that of Documentation/bpf/btf.rst. Members of anonymous structs inside are not found.
"""

import struct
from collections.abc import Iterator, Sequence

MAGIC = 0xEB9F
_STRUCT = 4
_WORDS_AFTER = {1: 1, 3: 3, 14: 1, 17: 1}
"""By kind, words that follow once: integer, array, variable, declaration tag."""
_WORDS_EACH = {4: 3, 5: 3, 6: 2, 13: 2, 15: 3, 19: 3}
"""By kind, words that follow for each member: struct, union, enum, parameter, section, 64-bit enum."""


def offsets_of(btf: bytes, wanted: Sequence[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """Give the offset in bytes of each (struct, member) that is there. ValueError if this is no BTF."""
    if len(btf) < 24:
        raise ValueError("BTF: no header")
    magic, _, _, header, types_at, types_size, names_at, names_size = struct.unpack_from("<HBBIIIII", btf)
    if magic != MAGIC or header + max(types_at + types_size, names_at + names_size) > len(btf):
        raise ValueError("BTF: not in this machine's byte order, or cut off")
    names = btf[header + names_at : header + names_at + names_size]
    # Every name stands there once, between zeros.
    at = {name: names.find(b"\0" + name.encode() + b"\0") + 1 for pair in wanted for name in pair}
    wanted_at = {(at[outer], at[member]): (outer, member) for outer, member in wanted}
    outers = {outer for outer, _ in wanted_at}
    found: dict[tuple[str, str], int] = {}
    types = btf[header + types_at : header + types_at + types_size]
    for name, first, count, is_bits in _structs(types):
        if name not in outers:
            continue
        for number in range(count):
            member, _, bits = struct.unpack_from("<3I", types, first + 12 * number)
            pair = wanted_at.get((name, member))
            if pair is not None and member:
                found.setdefault(pair, (bits & 0xFFFFFF if is_bits else bits) // 8)
    return found


def _structs(types: bytes) -> Iterator[tuple[int, int, int, bool]]:
    """Give for each struct its name, where its members begin, how many, and whether there are bit fields."""
    at = 0
    while at + 12 <= len(types):
        name, about, _ = struct.unpack_from("<3I", types, at)
        at += 12
        kind, count = about >> 24 & 0x1F, about & 0xFFFF
        if kind == _STRUCT:
            yield name, at, count, bool(about >> 31)
        at += 4 * (_WORDS_AFTER.get(kind, 0) + _WORDS_EACH.get(kind, 0) * count)
