"""Shell. The bpf(2) system call through ctypes: maps, programs, links, pins. Knows nothing of meshes.

Every function raises OSError with the kernel's errno; loading raises `ProgramRefused` with the
verifier's log. File descriptors are plain ints, close-on-exec, owned by the caller. The attribute
layouts are those of `union bpf_attr` in include/uapi/linux/bpf.h.
"""

import ctypes
import errno
import os
import struct
from collections.abc import Iterator, Sequence

_SYSCALL_NUMBERS = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "s390x": 351, "ppc64le": 361}
BPF_NUMBER = _SYSCALL_NUMBERS.get(os.uname().machine, 280)
_libc = ctypes.CDLL(None, use_errno=True)
raw_syscall = _libc.syscall
raw_syscall.restype = ctypes.c_long
raw_syscall.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_uint]

MAP_CREATE, MAP_LOOKUP, MAP_UPDATE, MAP_DELETE, MAP_NEXT_KEY, PROG_LOAD = 0, 1, 2, 3, 4, 5
OBJ_PIN, OBJ_GET, PROG_TEST_RUN, INFO_BY_FD, PROG_QUERY, BTF_LOAD = 6, 7, 10, 15, 16, 18
LINK_CREATE, LINK_UPDATE, LINK_DETACH = 28, 29, 34
MAP_LOOKUP_AND_DELETE, MAP_UPDATE_BATCH = 21, 26

MAP_PERCPU_ARRAY, MAP_SK_STORAGE, MAP_CGROUP_STORAGE = 6, 24, 19
QUERY_EFFECTIVE = 1
ALLOW_OVERRIDE, ALLOW_MULTI = 1, 2
CANNOT = frozenset((errno.EINVAL, errno.EOPNOTSUPP, 524))
"""How a kernel says that it has no such call for such a map. 524 is its ENOTSUPP: C has no name for it."""
_LOG_BYTES = 256 * 1024
_LINK_BYTES, _LINK_OF_NETNS = 64, 5


class ProgramRefused(OSError):
    """The kernel did not load a program; `log` is the verifier's last words."""

    def __init__(self, number: int, name: str, log: str) -> None:
        """Keep the end of the log, where the reason stands."""
        tail = "\n".join(log.strip().splitlines()[-12:])
        super().__init__(number, f"program {name}: {os.strerror(number)}\n{tail}".rstrip())
        self.log = log


def call(command: int, attributes: bytes | bytearray) -> int:
    """Make one bpf(2) call. A bytearray is written back into."""
    raw = attributes if isinstance(attributes, bytearray) else bytearray(attributes)
    buffer = (ctypes.c_char * len(raw)).from_buffer(raw)
    result = int(raw_syscall(BPF_NUMBER, command, ctypes.addressof(buffer), len(raw)))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _address(buffer: ctypes.Array[ctypes.c_char]) -> int:
    return ctypes.addressof(buffer)


def create_map(kind: int, name: str, sizes: tuple[int, int, int], flags: int = 0) -> int:
    """Create a map; `sizes` are key bytes, value bytes, entries. Socket storage gets the BTF it must have."""
    key_bytes, value_bytes, entries = sizes
    btf = key_type = value_type = 0
    if kind == MAP_SK_STORAGE:
        btf, key_type, value_type = _load_storage_btf(value_bytes), 1, 3
    attributes = struct.pack("<5I", kind, key_bytes, value_bytes, entries, flags)
    attributes += struct.pack("<II16sI", 0, 0, name[:15].encode(), 0)
    attributes += struct.pack("<4I", btf, key_type, value_type, 0)
    try:
        return call(MAP_CREATE, attributes)
    finally:
        if btf:
            os.close(btf)


def _load_storage_btf(value_bytes: int) -> int:
    """Load the smallest BTF that socket storage accepts: an int key, and an array of bytes as value."""
    strings = b"\0int\0byte\0"
    integer = struct.pack("<4I", 1, 1 << 24, 4, 1 << 24 | 32)
    byte = struct.pack("<4I", 5, 1 << 24, 1, 8)
    array = struct.pack("<3I", 0, 3 << 24, 0) + struct.pack("<3I", 2, 1, value_bytes)
    types = integer + byte + array
    header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings))
    raw = ctypes.create_string_buffer(header + types + strings, 24 + len(types) + len(strings))
    return call(BTF_LOAD, struct.pack("<QQIIII", _address(raw), 0, len(raw), 0, 0, 0))


def load_program(kind: int, attach: int, name: str, code: bytes) -> int:
    """Load a program. ProgramRefused has the verifier's log; it is asked for only after a refusal."""
    license_text = ctypes.create_string_buffer(b"GPL")
    instructions = ctypes.create_string_buffer(code, len(code))

    def load(log: ctypes.Array[ctypes.c_char] | None) -> int:
        attributes = struct.pack(
            "<IIQQIIQII16sII",
            kind,
            len(code) // 8,
            _address(instructions),
            _address(license_text),
            1 if log else 0,
            len(log) if log else 0,
            _address(log) if log else 0,
            0,
            0,
            name[:15].encode(),
            0,
            attach,
        )
        return call(PROG_LOAD, attributes)

    try:
        return load(None)
    except OSError as refused:
        log = ctypes.create_string_buffer(_LOG_BYTES)
        try:
            return load(log)
        except OSError:
            words = log.value.decode(errors="replace")
            raise ProgramRefused(refused.errno or errno.EINVAL, name, words) from None


def create_link(program: int, target: int, attach: int) -> int:
    """Attach a program to a cgroup or network namespace; detached when the last descriptor or pin goes."""
    return call(LINK_CREATE, struct.pack("<4I", program, target, attach, 0))


def update_link(link: int, program: int) -> None:
    """Replace the program of a link without a moment in which none is attached."""
    call(LINK_UPDATE, struct.pack("<4I", link, program, 0, 0))


def link_target(link: int) -> int:
    """Return the id of the cgroup, or the inode of the namespace, that a link is attached to; 0: gone."""
    raw = ctypes.create_string_buffer(_LINK_BYTES)
    call(INFO_BY_FD, struct.pack("<IIQ", link, len(raw), _address(raw)))
    kind = struct.unpack_from("<I", raw.raw)[0]
    return int(struct.unpack_from("<I" if kind == _LINK_OF_NETNS else "<Q", raw.raw, 16)[0])


def detach_link(link: int) -> None:
    """Detach the program of a link, whoever else holds it."""
    call(LINK_DETACH, struct.pack("<I", link))


def pin(descriptor: int, path: str) -> None:
    """Pin a map, program or link in bpffs. EEXIST if the name is taken."""
    name = ctypes.create_string_buffer(path.encode())
    call(OBJ_PIN, struct.pack("<QII", _address(name), descriptor, 0))


def open_pinned(path: str) -> int:
    """Open what is pinned. ENOENT if nothing is."""
    name = ctypes.create_string_buffer(path.encode())
    return call(OBJ_GET, struct.pack("<QII", _address(name), 0, 0))


def attached(target: int, attach: int, *, effective: bool = False) -> tuple[list[int], int]:
    """Return the ids of the programs attached to a cgroup and its attach flags (0: exclusive, if any)."""
    ids = (ctypes.c_uint32 * 64)()
    attributes = bytearray(
        struct.pack("<IIIIQII", target, attach, QUERY_EFFECTIVE if effective else 0, 0, 0, 64, 0)
    )
    struct.pack_into("<Q", attributes, 16, ctypes.addressof(ids))
    call(PROG_QUERY, attributes)
    return list(ids[: struct.unpack_from("<I", attributes, 24)[0]]), struct.unpack_from("<I", attributes, 12)[
        0
    ]


def look_up(descriptor: int, key: bytes, value_bytes: int) -> bytes | None:
    """Return the value of a key, None if there is none."""
    key_buffer = ctypes.create_string_buffer(key, len(key))
    value = ctypes.create_string_buffer(value_bytes)
    try:
        call(MAP_LOOKUP, struct.pack("<IIQQQ", descriptor, 0, _address(key_buffer), _address(value), 0))
    except OSError as missing:
        if missing.errno == errno.ENOENT:
            return None
        raise
    return value.raw


def update(descriptor: int, key: bytes, value: bytes) -> None:
    """Set the value of a key. E2BIG or ENOMEM when the map is full."""
    key_buffer = ctypes.create_string_buffer(key, len(key))
    raw = ctypes.create_string_buffer(value, len(value))
    call(MAP_UPDATE, struct.pack("<IIQQQ", descriptor, 0, _address(key_buffer), _address(raw), 0))


def update_many(descriptor: int, keys: Sequence[bytes], value: bytes) -> int:
    """Give keys of one length the same value, in one call (Linux 5.6). Returns how many fit."""
    key_buffer = ctypes.create_string_buffer(b"".join(keys))
    values = ctypes.create_string_buffer(value * len(keys))
    at = bytearray(
        struct.pack("<QQQQIIQQ", 0, 0, _address(key_buffer), _address(values), len(keys), descriptor, 0, 0)
    )
    try:
        call(MAP_UPDATE_BATCH, at)
    except OSError as stopped:
        if stopped.errno not in (errno.E2BIG, errno.ENOMEM):
            raise
        return int(struct.unpack_from("<I", at, 32)[0])
    return len(keys)


def delete(descriptor: int, key: bytes) -> bool:
    """Take a key out; False if it was not there."""
    key_buffer = ctypes.create_string_buffer(key, len(key))
    try:
        call(MAP_DELETE, struct.pack("<IIQQQ", descriptor, 0, _address(key_buffer), 0, 0))
    except OSError as missing:
        if missing.errno == errno.ENOENT:
            return False
        raise
    return True


def take_out(descriptor: int, key: bytes, value_bytes: int) -> bytes | None:
    """Take a key out and return its last value, in one step where the kernel can (5.14); None: not there."""
    key_buffer = ctypes.create_string_buffer(key, len(key))
    value = ctypes.create_string_buffer(value_bytes)
    try:
        at = struct.pack("<IIQQQ", descriptor, 0, _address(key_buffer), _address(value), 0)
        call(MAP_LOOKUP_AND_DELETE, at)
    except OSError as refused:
        if refused.errno == errno.ENOENT:
            return None
        if refused.errno not in CANNOT:
            raise
        last = look_up(descriptor, key, value_bytes)
        delete(descriptor, key)
        return last
    return value.raw


def keys(descriptor: int, key_bytes: int) -> Iterator[bytes]:
    """Walk over the keys. A map that changes meanwhile may show a key twice or not at all."""
    following = ctypes.create_string_buffer(key_bytes)
    current: ctypes.Array[ctypes.c_char] | None = None
    while True:
        try:
            at = _address(current) if current else 0
            call(MAP_NEXT_KEY, struct.pack("<IIQQQ", descriptor, 0, at, _address(following), 0))
        except OSError as end:
            if end.errno == errno.ENOENT:
                return
            raise
        current = ctypes.create_string_buffer(following.raw, key_bytes)
        yield following.raw
