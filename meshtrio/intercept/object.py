"""Core. What the compiler hands over: bytecode with maps by name. Does not know bcc, files or the kernel."""

import struct
from collections.abc import Mapping

import msgspec


class CompiledMap(msgspec.Struct, frozen=True):
    """A map as the C text declares it."""

    name: str
    type: int
    key_bytes: int
    value_bytes: int
    max_entries: int
    flags: int


class CompiledProgram(msgspec.Struct, frozen=True):
    """Bytecode, and at which instructions it names which map."""

    name: str
    code: bytes
    uses: list[tuple[int, str]]

    def linked(self, map_fds: Mapping[str, int]) -> bytes:
        """Return the bytecode with the file descriptors of these maps in it. KeyError names a missing one."""
        code = bytearray(self.code)
        for instruction, name in self.uses:
            struct.pack_into("<i", code, instruction * 8 + 4, map_fds[name])
        return bytes(code)


class CompiledObject(msgspec.Struct, frozen=True):
    """Everything that one compilation gave."""

    maps: list[CompiledMap]
    programs: list[CompiledProgram]

    def program(self, name: str) -> CompiledProgram:
        """Return the program of this name. KeyError if there is none."""
        for program in self.programs:
            if program.name == name:
                return program
        raise KeyError(name)
