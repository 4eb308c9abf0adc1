"""Core. What the compiler hands over."""

import struct

import msgspec
import pytest

from meshtrio.intercept.object import CompiledMap, CompiledObject, CompiledProgram

PORTS = CompiledMap(name="ports", type=1, key_bytes=16, value_bytes=8, max_entries=65536, flags=1)
CODE = b"".join(struct.pack("<BBhi", 0x18, 0x11, at, 0) for at in range(4))
PROGRAM = CompiledProgram(name="inbound", code=CODE, uses=[(0, "ports"), (2, "here")])


def test_linked_puts_descriptors_where_maps_are_named_and_nowhere_else() -> None:
    linked = PROGRAM.linked({"ports": 11, "here": 0x01020304, "more": 9})
    immediates = [struct.unpack_from("<i", linked, at * 8 + 4)[0] for at in range(4)]
    assert immediates == [11, 0, 0x01020304, 0]
    assert [linked[at * 8 : at * 8 + 4] for at in range(4)] == [CODE[at * 8 : at * 8 + 4] for at in range(4)]
    assert PROGRAM.code == CODE, "the same program can be linked again"


def test_a_missing_map_is_named() -> None:
    with pytest.raises(KeyError, match="here"):
        PROGRAM.linked({"ports": 11})


def test_a_program_is_found_by_name() -> None:
    whole = CompiledObject(maps=[PORTS], programs=[PROGRAM])
    assert whole.program("inbound") is PROGRAM
    with pytest.raises(KeyError, match="outbound"):
        whole.program("outbound")


def test_it_travels() -> None:
    whole = CompiledObject(maps=[PORTS], programs=[PROGRAM])
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(whole), type=CompiledObject) == whole
