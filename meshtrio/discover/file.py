"""Shell. Follow one file that people edit. Does not know what is in it, nor what becomes of the news.

The file is looked at every half second, and not watched through inotify: an editor that renames, a ConfigMap
that swaps a symbolic link, and a file that is not there yet would each need a watch of its own, on something
else. What is followed is the name, so all of these are one case here.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import msgspec
import trio

from meshtrio.config.environ import read_text
from meshtrio.config.fault import Fault, Faults

LOOK_EVERY_S = 0.5
SETTLE_S = 0.1
"""How long a file must stay as it is before it is read."""

SETTLE_LOOKS = 20
"""How often that is waited for. A file that changes for longer is read as it is, and read again later."""

T = TypeVar("T")


class Fresh(msgspec.Struct, Generic[T], frozen=True):
    """The file says something new, and it was understood."""

    value: T


class Spoilt(msgspec.Struct, frozen=True):
    """The file cannot be used now: it is missing, unreadable or faulty. What was known stays true."""

    faults: tuple[Fault, ...]

    def __str__(self) -> str:
        return "; ".join(map(str, self.faults))


class Followed(NamedTuple, Generic[T]):
    """What to follow: a path, and how to understand a text, raising Faults if it cannot be understood."""

    path: str
    understand: Callable[[str], T]
    bound_bytes: int = 1 << 20


class _Stamp(NamedTuple):
    device: int
    inode: int
    size: int
    changed_ns: int


async def follow(
    file: Followed[T], send: trio.MemorySendChannel[Fresh[T] | Spoilt], known: str | None = None
) -> None:
    """Send what the file says, at once and after every change, until cancelled or until nobody receives.

    A text is sent once, and a fault is sent once: a file that stays missing or faulty is no news, nor is one
    that is only touched, nor is the text in `known`, which the caller has read already. A file that is being
    written is waited for, two seconds at most. A full channel is waited for: the file keeps the news. Closes
    the channel when it returns, however it returns.
    """
    last: str | Spoilt | None = known
    seen = stamp = _stamp(file.path)
    # Two writes within one tick of the file system's clock (4 ms) have one stamp: what is new is read twice.
    reads = 2
    async with send:
        while True:
            if stamp != seen:
                seen, reads = await _settled(file.path, stamp), 2
            if reads:
                reads -= 1
                last, news = await trio.to_thread.run_sync(_read, file, last, abandon_on_cancel=True)
                if news is not None:
                    try:
                        await send.send(news)
                    except trio.BrokenResourceError:
                        return
            await trio.sleep(LOOK_EVERY_S)
            stamp = _stamp(file.path)


async def _settled(path: str, stamp: _Stamp | None) -> _Stamp | None:
    for _ in range(SETTLE_LOOKS):
        await trio.sleep(SETTLE_S)
        before, stamp = stamp, _stamp(path)
        if stamp == before:
            break
    return stamp


def _stamp(path: str) -> _Stamp | None:
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return _Stamp(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def _text(path: str, bound_bytes: int) -> str:
    if Path(path).exists() and not Path(path).is_file():
        # A pipe has its text once, and whoever opens one that nobody writes to waits for ever.
        raise Faults([Fault(path, "is no regular file, which could be read again")])
    return read_text(path, bound_bytes)


def _read(file: Followed[T], last: str | Spoilt | None) -> tuple[str | Spoilt, Fresh[T] | Spoilt | None]:
    """Read and understand, in a thread: a large file takes a second, and a dead disk takes for ever."""
    try:
        text = _text(file.path, file.bound_bytes)
    except Faults as unreadable:
        spoilt = Spoilt(unreadable.faults)
        return spoilt, None if spoilt == last else spoilt
    if text == last:
        return text, None
    try:
        return text, Fresh(file.understand(text))
    except Faults as faulty:
        return text, Spoilt(faulty.faults)
