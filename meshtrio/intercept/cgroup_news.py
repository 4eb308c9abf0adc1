"""Shell. Hear at once that a control group is made (inotify). Does not know whose it is, nor what it is for.

Who starts a unit makes its group and runs its program at once, so who looks twice a second comes too late for
the first things that it dials.
"""

import ctypes
import os
import struct
from pathlib import Path
from typing import Self

import trio

IN_CREATE = 0x100
IN_IGNORED = 0x8000
IN_ONLYDIR = 0x01000000
EVENTS_BYTES = 16 * 1024
_EVENT = struct.Struct("iIII")

_libc = ctypes.CDLL(None, use_errno=True)


class CgroupNews:
    """A line to the kernel for as long as it is held: to close one takes the kernel up to 20 ms."""

    def __init__(self) -> None:
        """Open it. If others have all that there are (fs.inotify.max_user_instances), nothing is heard."""
        self._line: int = _libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        self._folders: dict[int, Path] = {}
        self._paths: list[Path] = []
        self._parents: set[Path] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._line >= 0:
            os.close(self._line)

    async def made(self, paths: list[Path]) -> None:
        """Return when a group is made at one of these paths, or was since they were first waited for.

        A folder that is not there, or for which there is no watch any more, is not watched.
        """
        if self._line < 0:
            await trio.sleep_forever()
        if paths != self._paths:  # of a thousand the parents take a millisecond
            self._paths, self._parents = paths, {path.parent for path in paths}
        self._watch(self._parents)
        while self._heard().isdisjoint(paths):
            await trio.lowlevel.wait_readable(self._line)

    def _watch(self, folders: set[Path]) -> None:
        for number in [number for number, folder in self._folders.items() if folder not in folders]:
            _libc.inotify_rm_watch(self._line, number)
        for folder in folders:
            # Again for one that is watched: it may have been made anew itself.
            number = _libc.inotify_add_watch(self._line, os.fsencode(folder), IN_CREATE | IN_ONLYDIR)
            if number >= 0:
                self._folders[number] = folder

    def _heard(self) -> set[Path]:
        """Take what there is to hear: which groups were made."""
        heard: set[Path] = set()
        try:
            raw = os.read(self._line, EVENTS_BYTES)
        except BlockingIOError:
            return heard
        at = 0
        while at < len(raw):
            number, mask, _, name_bytes = _EVENT.unpack_from(raw, at)
            at += _EVENT.size
            name = os.fsdecode(raw[at : at + name_bytes].rstrip(b"\0"))
            at += name_bytes
            if mask & IN_IGNORED:
                self._folders.pop(number, None)
            elif number in self._folders:
                heard.add(self._folders[number] / name)
        return heard
