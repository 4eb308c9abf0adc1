"""Shell. Programs that serve and fetch pages (tests/e2e/pages.py), and what a load of fetches saw.

Does not know the mesh.
"""

import contextlib
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.namespace import Namespace
from tests.support.world import ROOT, App


class Fetch(NamedTuple):
    """One page that was fetched, or not: `who` is the address that served it, or what went wrong."""

    began: float
    who: str
    took_s: float


class Load:
    """One program that fetches pages from one place all the time."""

    def __init__(self, program: App, name: str) -> None:
        self._program = program
        self._name = name
        self.seen: list[Fetch] = []
        """All that have ended by the last look."""

    def look(self, *, end: bool = False) -> list[Fetch]:
        """Take in what has ended since, and give it all."""
        seen = self._program.tell("fetched", name=self._name, end=end)["seen"]
        self.seen += [Fetch(*one) for one in seen]
        return self.seen

    def who(self, since: float = 0.0) -> Counter[str]:
        """Count who served the fetches that began after this moment."""
        return Counter(one.who for one in self.look() if one.began >= since)

    def last_at(self, who: str) -> float:
        """Say when the last fetch began that was served there; 0: none was."""
        return max((one.began for one in self.look() if one.who == who), default=0.0)


@contextlib.contextmanager
def fetching(program: App, host: str, *, every: float = 0.04) -> Iterator[Load]:
    """Fetch pages from there while the block lasts, and then see that not one failed."""
    name = f"{host} {time.monotonic()}"
    program.tell("keep_fetching", name=name, host=host, every=every)
    load = Load(program, name)
    try:
        yield load
    finally:
        load.look(end=True)
    failed = [one for one in load.seen if not one.who[:1].isdigit()]
    assert not failed, f"{host}: {len(failed)} of {len(load.seen)} failed: {failed[:5]}"
    assert len(load.seen) > 5


@contextlib.contextmanager
def pages(space: Namespace, group: Path | str = "", *, resolv_conf: Path | None = None) -> Iterator[App]:
    """Run a program in this namespace and cgroup ("": none of its own) until the block ends.

    `resolv_conf` stands in the place of the machine's for it.
    """
    words = [sys.executable, "-S", "-E", "tests/e2e/pages.py", str(group)]
    with popen(space, [*with_resolv_conf(resolv_conf), *words]) as process:
        assert process.stdout
        assert process.stdout.readline(), "the program did not start"
        yield App(process)


@contextlib.contextmanager
def popen(space: Namespace, words: Sequence[str]) -> Iterator["subprocess.Popen[str]"]:
    """Run a process that reads and writes lines, and kill it when the block ends."""

    def start() -> "subprocess.Popen[str]":
        return subprocess.Popen(
            words, text=True, bufsize=1, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
        )

    with space.run(start) as process:
        try:
            yield process
        finally:
            process.kill()


def with_resolv_conf(path: Path | None) -> list[str]:
    """Give the words that let a command see this file as /etc/resolv.conf."""
    if path is None:
        return []
    return ["unshare", "-m", "sh", "-c", 'mount --bind "$0" /etc/resolv.conf && exec "$@"', str(path)]


def answer(program: App, host: str, **how: Any) -> str:
    """Fetch one page, and say who served it or what went wrong."""
    who: str = program.tell("fetch", host=host, **how)["who"]
    return who
