"""Core. Members of the kernel's structs, against BTF written by hand and against this kernel's own."""

import struct
from pathlib import Path

import pytest

from tests.bench.kernel_types import offsets_of

NAMES = b"\0run_queue\0queue\0stolen\0flags\0"
INTEGER, POINTER, STRUCT = 1 << 24, 2 << 24, 4 << 24
BIT_FIELDS = 1 << 31


def at(name: str) -> int:
    return NAMES.index(b"\0" + name.encode() + b"\0") + 1


def btf(types: bytes) -> bytes:
    header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(NAMES))
    return header + types + NAMES


def made(flags: int = 0, bits: int = 128) -> bytes:
    integer = struct.pack("<4I", 0, INTEGER, 8, 64)
    pointer = struct.pack("<3I", 0, POINTER, 3)
    members = struct.pack("<6I", at("flags"), 1, 0, at("stolen"), 1, bits)
    return btf(integer + pointer + struct.pack("<3I", at("run_queue"), STRUCT | flags | 2, 24) + members)


def test_a_member_is_found_by_struct_and_name() -> None:
    assert offsets_of(made(), [("run_queue", "stolen")]) == {("run_queue", "stolen"): 16}


def test_beside_bit_fields_only_the_lower_bits_are_the_offset() -> None:
    found = offsets_of(made(BIT_FIELDS, 64 << 24 | 128), [("run_queue", "stolen")])
    assert found == {("run_queue", "stolen"): 16}


@pytest.mark.parametrize("wanted", [("run_queue", "absent"), ("queue", "stolen"), ("absent", "stolen")])
def test_what_is_not_there_is_left_out(wanted: tuple[str, str]) -> None:
    assert offsets_of(made(), [wanted]) == {}


@pytest.mark.parametrize("wrong", [b"", b"\0" * 64, made()[:-1], made()[::-1]])
def test_what_is_no_btf_is_refused(wrong: bytes) -> None:
    with pytest.raises(ValueError, match="BTF: "):
        offsets_of(wrong, [("run_queue", "stolen")])


def test_this_kernel_says_where_things_are() -> None:
    vmlinux = Path("/sys/kernel/btf/vmlinux")
    if not vmlinux.exists():
        pytest.skip("this kernel has no BTF")
    # Fixed by the interface to programs.
    wanted = {("sockaddr_in", "sin_addr"): 4, ("sockaddr_in6", "sin6_scope_id"): 24}
    assert offsets_of(vmlinux.read_bytes(), list(wanted)) == wanted
