"""Shell. Calls about single entries of one map, as a worker makes them for each connection: the buffers are
made once, for to make them takes most of a call's time. A part of bpf.py; for one thread.
"""

import ctypes
import errno
import os
import struct

from meshtrio.intercept import bpf

_SIZE = 32


class Cell:
    """Room for one key and one value of a map, filled anew by each call. OSError as of `bpf`."""

    __slots__ = ("_bare", "_full", "_kept", "_key", "_takes", "_value")

    def __init__(self, descriptor: int, key_bytes: int, value_bytes: int) -> None:
        """Borrow the descriptor of the map."""
        self._key = ctypes.create_string_buffer(key_bytes)
        self._value = ctypes.create_string_buffer(value_bytes)
        key, value = ctypes.addressof(self._key), ctypes.addressof(self._value)
        full = ctypes.create_string_buffer(struct.pack("<IIQQQ", descriptor, 0, key, value, 0), _SIZE)
        # Who deletes must not name a value.
        bare = ctypes.create_string_buffer(struct.pack("<IIQQQ", descriptor, 0, key, 0, 0), _SIZE)
        self._kept = full, bare
        self._full, self._bare = ctypes.addressof(full), ctypes.addressof(bare)
        self._takes = True
        """Whether the kernel looks up and deletes in one call, as far as is known (hash tables: 5.14)."""

    def look_up(self, key: bytes) -> bytes | None:
        """Return the value of a key, None if there is none."""
        self._key.raw = key
        return self._value.raw if self._did(bpf.MAP_LOOKUP, self._full) else None

    def take_out(self, key: bytes) -> bytes | None:
        """Take a key out and return its last value; None if there is none."""
        self._key.raw = key
        if self._takes:
            try:
                return self._value.raw if self._did(bpf.MAP_LOOKUP_AND_DELETE, self._full) else None
            except OSError as refused:
                if refused.errno not in bpf.CANNOT:
                    raise
                self._takes = False
        if not self._did(bpf.MAP_LOOKUP, self._full):
            return None
        self._did(bpf.MAP_DELETE, self._bare)
        return self._value.raw

    def update(self, key: bytes, value: bytes) -> None:
        """Set the value of a key. E2BIG or ENOMEM when the map is full."""
        self._key.raw, self._value.raw = key, value
        self._did(bpf.MAP_UPDATE, self._full)

    def delete(self, key: bytes) -> bool:
        """Take a key out; False if it was not there."""
        self._key.raw = key
        return self._did(bpf.MAP_DELETE, self._bare)

    def _did(self, command: int, attributes: int) -> bool:
        """Make the call. False: there is no such key."""
        if bpf.raw_syscall(bpf.BPF_NUMBER, command, attributes, _SIZE) < 0:
            number = ctypes.get_errno()
            if number == errno.ENOENT:
                return False
            raise OSError(number, os.strerror(number))
        return True
