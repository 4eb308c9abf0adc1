"""Shell. Compile one BPF text with bcc and print the result; a process of its own that then ends.

Importing bcc costs 72 MB and a compilation over 120 MB (measured), so the agent never does it: it
runs `python -m meshtrio.intercept.compiler`, sends the text on standard input and reads a
`CompiledObject` from standard output. Maps are named, not numbered, in what comes out, so the
result can be cached and loaded any number of times without bcc. Does not load any program.
"""

import contextlib
import ctypes
import os
import struct
import sys
from typing import Any

import msgspec

from meshtrio.intercept.object import CompiledMap, CompiledObject, CompiledProgram

LD_IMM64 = 0x18
PSEUDO_MAP_FD = 1


def compile_text(text: str, stub_headers: str) -> CompiledObject:
    """Compile a flattened BPF text. The compiler's own messages are in the RuntimeError."""
    os.environ["BCC_KERNEL_SOURCE"] = stub_headers  # noqa: TID251 (bcc takes it from nowhere else)
    from bcc import BPF, lib  # the 72 MB

    lib.bpf_table_name.restype = ctypes.c_char_p  # bcc declares all of this but the name
    module = BPF(text=text, allow_rlimit=True)
    count = lib.bpf_num_tables(module.module)
    maps = {
        lib.bpf_table_fd_id(module.module, index): CompiledMap(
            name=lib.bpf_table_name(module.module, index).decode(),
            type=lib.bpf_table_type_id(module.module, index),
            key_bytes=lib.bpf_table_key_size_id(module.module, index),
            value_bytes=lib.bpf_table_leaf_size_id(module.module, index),
            max_entries=lib.bpf_table_max_entries_id(module.module, index),
            flags=lib.bpf_table_flags_id(module.module, index),
        )
        for index in range(count)
    }
    names = [
        lib.bpf_function_name(module.module, index).decode()
        for index in range(lib.bpf_num_functions(module.module))
    ]
    return CompiledObject(
        maps=list(maps.values()),
        programs=[_program(name, bytes(module.dump_func(name)), maps) for name in names],
    )


def _program(name: str, code: bytes, maps: dict[int, CompiledMap]) -> CompiledProgram:
    """Replace the file descriptors of this process's maps by the maps' names."""
    uses = []
    plain = bytearray(code)
    for at in range(0, len(code), 8):
        opcode, registers, _, immediate = struct.unpack_from("<BBhi", code, at)
        if opcode == LD_IMM64 and registers >> 4 == PSEUDO_MAP_FD:
            uses.append((at // 8, maps[immediate].name))
            struct.pack_into("<i", plain, at + 4, 0)
    return CompiledProgram(name=name, code=bytes(plain), uses=uses)


@contextlib.contextmanager
def _standard_output_kept_clean() -> Any:
    """Send what bcc and LLVM print to standard error; only the object goes to standard output."""
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield kept
    finally:
        os.close(kept)


def main() -> int:
    """Read text from standard input, write the object to standard output. 1 and a message if it fails."""
    with _standard_output_kept_clean() as output:
        try:
            compiled = compile_text(sys.stdin.read(), sys.argv[1])
        except ImportError as missing:
            sys.stderr.write(
                f"cannot import bcc for {sys.executable}: {missing}\n"
                "install Debian's python3-bpfcc and use a venv made from /usr/bin/python3 with"
                " --system-site-packages (the PyPI package named bcc is something else)\n"
            )
            return 2
        except Exception as failed:  # noqa: BLE001 (bcc raises bare Exception; this is a process border)
            sys.stderr.write(f"{failed}\n")
            return 1
        with open(output, "wb", closefd=False) as stream:
            stream.write(msgspec.msgpack.encode(compiled))
    return 0


if __name__ == "__main__":
    sys.exit(main())
