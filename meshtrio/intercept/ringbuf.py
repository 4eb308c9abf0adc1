"""Shell. What hooks write into a BPF ring buffer, read without a system call an entry. One reader at a time.

The kernel shares three things with us: how far we have read (a page that we write), how far it has written (a
page that it writes), and the entries, mapped twice in a row so that none is ever cut. Each entry has a header
of eight bytes, whose first word is its length; the top two bits say that it is still being written, or is to
be passed over (kernel/bpf/ringbuf.c). How far was read outlives the reader: a successor goes on from there.
"""

import ctypes
import mmap
import os
import struct
import threading
import weakref

from meshtrio.intercept import bpf

_WORD, _LENGTH = struct.Struct("=Q"), struct.Struct("=I")
_BUSY, _DISCARD = 1 << 31, 1 << 30
_HEADER_BYTES = 8
_INFO_BYTES, _MAX_ENTRIES_AT = 80, 16
"""Of struct bpf_map_info (include/uapi/linux/bpf.h)."""
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype, _libc.munmap.argtypes = ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_size_t]
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
_FAILED = ctypes.c_void_p(-1).value


class RingBuffer:
    """One ring buffer, mapped until this is forgotten. The descriptor stays the caller's."""

    def __init__(self, descriptor: int) -> None:
        """Map it. OSError if it is no ring buffer, or was mapped for writing by another program."""
        self.descriptor = descriptor
        """Readable, to epoll and its like, while something is in it."""
        info = ctypes.create_string_buffer(_INFO_BYTES)
        bpf.call(bpf.INFO_BY_FD, struct.pack("<IIQ", descriptor, _INFO_BYTES, ctypes.addressof(info)))
        self._size = int(_LENGTH.unpack_from(info, _MAX_ENTRIES_AT)[0])
        both = mmap.PROT_READ | mmap.PROT_WRITE
        first = _map(descriptor, mmap.PAGESIZE, both, 0)
        weakref.finalize(self, _unmap, first, mmap.PAGESIZE)
        second = _map(descriptor, mmap.PAGESIZE + 2 * self._size, mmap.PROT_READ, mmap.PAGESIZE)
        weakref.finalize(self, _unmap, second, mmap.PAGESIZE + 2 * self._size)
        self._ours = _view(first, mmap.PAGESIZE)
        self._theirs = _view(second, mmap.PAGESIZE + 2 * self._size)
        self._barrier = threading.Lock()

    def take(self, most: int) -> list[bytes]:
        """Take out the oldest entries, so many at most; the room that they took is free again."""
        (at,) = _WORD.unpack_from(self._ours)
        (end,) = _WORD.unpack_from(self._theirs)
        if at == end:
            return []
        places: list[tuple[int, int]] = []
        with self._barrier:  # taking a lock orders what is read before and after, on any processor
            while at != end and len(places) < most:
                place = mmap.PAGESIZE + at % self._size
                (length,) = _LENGTH.unpack_from(self._theirs, place)
                if length & _BUSY:
                    break
                size = length & ~_DISCARD
                if not length & _DISCARD:
                    places.append((place + _HEADER_BYTES, size))
                at += _HEADER_BYTES + size + 7 & ~7
        with self._barrier:
            entries = [bytes(self._theirs[start : start + size]) for start, size in places]
        _WORD.pack_into(self._ours, 0, at)
        return entries


def _map(descriptor: int, size: int, protection: int, offset: int) -> int:
    # The mmap module would keep a descriptor of its own, which holds the map after its owner has closed it.
    at = _libc.mmap(None, size, protection, mmap.MAP_SHARED, descriptor, offset)
    if at == _FAILED:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return int(at)


def _view(at: int, size: int) -> memoryview:
    return memoryview((ctypes.c_ubyte * size).from_address(at)).cast("B")


def _unmap(at: int, size: int) -> None:
    _libc.munmap(at, size)
