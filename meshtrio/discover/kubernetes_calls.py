"""Shell. What a stream asks of the API server: a page of a list, and a watch. Blocks, and runs in a thread.

The bound of memory is one page or one line. Does not know when to ask, nor what becomes of the answers.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from meshtrio.catalog.kubernetes_answer import Batch, GoneError, Lines, Page, read_lines, read_page
from meshtrio.catalog.kubernetes_topic import Api, Topic
from meshtrio.discover.kubernetes_call import CallError, Fault
from meshtrio.discover.kubernetes_pace import Pace

if TYPE_CHECKING:
    from meshtrio.discover.kubernetes_client import Line

PAGE_BYTES = 16 << 20
"""Full: the page must be asked for again, with fewer objects."""
LINE_BYTES = 8 << 20
"""Full: the event is thrown away as it comes, and counted. etcd holds no object of more than 1.5 MB."""


class TooLargeError(Exception):
    """A page was larger than PAGE_BYTES, and was not read to its end."""

    def __init__(self) -> None:
        """Say the bound."""
        super().__init__(f"a page of more than {PAGE_BYTES} bytes")


class WatchWish(NamedTuple):
    """From which version on to watch, and for how many seconds."""

    version: str
    for_s: int


class Calls:
    """The calls of one stream. CallError, or CutError, if one fails."""

    def __init__(self, line: "Line", topic: Topic, pace: Pace) -> None:
        """Ask nothing yet."""
        self._line = line
        self._topic = topic
        self._pace = pace

    def page(self, api: Api, objects: int, more: str) -> tuple[Page, bool]:
        """Read a page of so many objects, the first one or what `more` stands for, and say whether there is
        room for many more. AnswerError if it is no page. TooLargeError.
        """
        query = {"limit": str(objects), **self._topic.selection}
        if more:
            query["continue"] = more
        parts, size = [], 0
        path = api.path(self._topic.namespace)
        with self._line.get(path, query, self._pace.connect_s, self._pace.list_s) as body:
            for chunk in body:
                size += len(chunk)
                if size > PAGE_BYTES:
                    raise TooLargeError
                parts.append(chunk)
        return read_page(api.kind, b"".join(parts)), size < PAGE_BYTES // 8

    def watch(self, api: Api, wish: WatchWish, take: Callable[[Batch], None]) -> None:
        """Watch until the server ends it; `take` gets what comes, and at first an empty batch: it has begun.

        GoneError if the server has forgotten the version. AnswerError if something comes that is no event.
        """
        query = {"watch": "1", "allowWatchBookmarks": "true", "resourceVersion": wish.version}
        query |= {"timeoutSeconds": str(wish.for_s), **self._topic.selection}
        lines = Lines(LINE_BYTES)
        path, silent_s = api.path(self._topic.namespace), wish.for_s + self._pace.grace_s
        try:
            with self._line.get(path, query, self._pace.connect_s, silent_s) as body:
                take(Batch([]))
                for chunk in body:
                    whole = lines.feed(chunk)
                    if whole:
                        batch = read_lines(api.kind, whole)
                        take(batch)
                        if batch.trouble is not None:
                            raise batch.trouble
        except CallError as error:
            if error.fault is Fault.GONE:
                raise GoneError(str(error)) from None
            raise
