"""Shell. What it costs the kernel to look a key up in a map: a program that does nothing else, run often.

Nothing of ours is attached. The program is of type sk_lookup, the only type of the hooks that the kernel
runs on request.
"""

import os
import struct

from meshtrio.intercept import bpf
from tests.support.progrun import lookup_context, run_lookup

SK_LOOKUP, ATTACH = 30, 36
TIMES = 256
"""How many look-ups one run makes: what a run costs besides vanishes."""
RUNS = 2000


def lookup_ns(descriptor: int, key: bytes) -> float:
    """Measure one look-up of a key that stays warm, in nanoseconds. KeyError if the map has it not."""
    program = bpf.load_program(SK_LOOKUP, ATTACH, "look_up", _code(descriptor, key))
    try:
        context = lookup_context(("192.0.2.9", 1), ("192.0.2.1", 1))
        ran = run_lookup(program, context, repeat=RUNS)
    finally:
        os.close(program)
    if not ran.verdict:
        raise KeyError(key.hex())
    return ran.duration_ns / TIMES


def _code(descriptor: int, key: bytes) -> bytes:
    padded = key.ljust(-(-len(key) // 8) * 8, b"\0")
    onto_stack = b"".join(
        # A constant of 64 bits takes two instructions, its halves being theirs.
        _instruction(0x18, into=1, value=low)
        + _instruction(0, value=high)
        + _instruction(0x7B, into=10, of=1, at=8 * number - len(padded))
        for number, (low, high) in enumerate(struct.iter_unpack("<ii", padded))
    )
    look_up = (
        _instruction(0x18, into=1, of=1, value=descriptor)
        + _instruction(0)
        + _instruction(0xBF, into=2, of=10)
        + _instruction(0x07, into=2, value=-len(padded))
        + _instruction(0x85, value=1)
    )
    say_whether = _instruction(0x15, at=1) + _instruction(0xB7, value=1) + _instruction(0x95)
    return onto_stack + look_up * TIMES + say_whether


def _instruction(code: int, *, into: int = 0, of: int = 0, at: int = 0, value: int = 0) -> bytes:
    return struct.pack("<BBhi", code, of << 4 | into, at, value)
