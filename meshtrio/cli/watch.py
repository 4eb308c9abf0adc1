"""Shell. A view of the agent: shown once, or again and again until ^C. Does not know what is shown.

On a terminal each frame is written over the last one, in one write, so nothing flickers and nothing has to
be put back at the end. Elsewhere a block (or with --json a line) is written when something has changed.
"""

import datetime
import json
import re
import select
import shutil
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import click

from meshtrio.cli.columns import Line
from meshtrio.cli.complaint import Complaint
from meshtrio.cli.screen import note, show_json

EVERY_S = 2.0
"""How often it is looked, unless --watch says it."""
_SHORTEST_S, _LONGEST_S = 0.1, 3600.0
_HOME, _WIPE, _REST, _BELOW = "\x1b[H", "\x1b[2J", "\x1b[K", "\x1b[J"

F = TypeVar("F", bound=Callable[..., Any])


class View(NamedTuple):
    """What a command shows."""

    title: str
    ask: Callable[[int | None], Any]
    """Asks the agent; the number is how many rows there is room for."""
    lines: Callable[[Any, int | None], list[Line]]
    """Makes an answer into lines of about this width."""
    plain: Callable[[Any], Any]
    """Makes an answer into what --json prints."""
    settled: Callable[[Any], Any] = lambda told: told
    """Makes an answer into what must differ for something to have changed."""


class Watchable(click.Command):
    """A command with --watch, whose seconds may be left out before an argument: `--watch web`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Say the seconds where they were left out."""
        for at, word in enumerate(args):
            if word == "--":
                break
            if word == "--watch" and not re.fullmatch(r"[0-9.]+", "".join(args[at + 1 : at + 2])):
                args = [*args[:at], f"--watch={EVERY_S}", *args[at + 1 :]]
        return super().parse_args(ctx, args)


def _seconds(ctx: click.Context, param: click.Parameter, given: float | None) -> float | None:
    # Written so that nan is refused too.
    if given is not None and not _SHORTEST_S <= given <= _LONGEST_S:
        raise click.BadParameter(f"want {_SHORTEST_S:g} to {_LONGEST_S:g} seconds")
    return given


def watch_option(command: F) -> F:
    """Add --watch."""
    return click.option(
        "--watch",
        "every_s",
        type=float,
        callback=_seconds,
        metavar="[SECONDS]",
        help=f"Again every so many seconds ({EVERY_S:g}), until ^C; on a pipe only when something changed.",
    )(command)


def show(view: View, *, every_s: float | None, as_json: bool) -> None:
    """Show a view once, or (with seconds) until ^C, which is the orderly end of it.

    A complaint at first is a failure. Later it is shown, and the agent is asked again.
    """
    try:
        if every_s is not None:
            _watch(view, every_s, as_json=as_json)
        elif as_json:
            show_json(view.plain(view.ask(None)))
        else:
            for line in view.lines(view.ask(None), _width()):
                click.echo(_styled(line))
    except KeyboardInterrupt:
        if every_s is None:
            raise


def _watch(view: View, every_s: float, *, as_json: bool) -> None:
    painting = sys.stdout.isatty() and not as_json
    page = _Frames(view, every_s) if painting else _Blocks(view, as_json=as_json)
    page.show(view.ask(page.room()))
    while _still_read(every_s):
        try:
            told = view.ask(page.room())
        except Complaint as gone:
            page.miss(str(gone))
        else:
            page.show(told)


def _still_read(for_s: float) -> bool:
    """Wait; BrokenPipeError as soon as nobody reads what we write."""
    reader = select.poll()
    # No event is asked for: that the other side has closed is told anyway.
    reader.register(sys.stdout.fileno(), 0)
    if reader.poll(for_s * 1000):
        raise BrokenPipeError
    return True


class _Blocks:
    """Writes what changed below what was."""

    def __init__(self, view: View, *, as_json: bool) -> None:
        self._view = view
        self._as_json = as_json
        self._last: Any = None
        self._missing = ""

    def room(self) -> None:
        return None

    def show(self, told: Any) -> None:
        if self._missing:
            note("the agent answers again")
            self._missing = ""
        now = self._view.settled(told)
        if now == self._last:
            return
        if self._as_json:
            click.echo(json.dumps(self._view.plain(told), ensure_ascii=False, default=str))
        else:
            if self._last is not None:
                click.echo()
            for line in self._view.lines(told, None):
                click.echo(line.text)
        sys.stdout.flush()
        self._last = now

    def miss(self, why: str) -> None:
        if why != self._missing:
            note(f"{why}; trying again")
        self._missing = why


class _Frames:
    """Writes each answer over the one before."""

    def __init__(self, view: View, every_s: float) -> None:
        self._view = view
        self._every_s = every_s
        self._lines: Sequence[Line] = ()
        self._at = ""
        self._begun = False

    def room(self) -> int:
        # Title, empty line, head, "and 5 more", and the line in which the cursor stands.
        return max(1, shutil.get_terminal_size().lines - 5)

    def show(self, told: Any) -> None:
        self._at = _clock()
        self._lines = self._view.lines(told, _width())
        self._draw(Line(self._title(), bold=True))

    def miss(self, why: str) -> None:
        # What matters most comes first, for a narrow terminal cuts the line.
        said = f"trying again; this is from {self._at}: {' '.join(why.split())}"
        self._draw(Line(self._title(), bold=True), Line(said, "red"))

    def _title(self) -> str:
        return f"{_clock()}  {self._view.title}, every {self._every_s:g} s"

    def _draw(self, *above: Line) -> None:
        size = shutil.get_terminal_size()
        lines = [*above, Line(""), *self._lines][: max(1, size.lines - 1)]
        texts = [_styled(line._replace(text=line.text[: size.columns])) for line in lines]
        # click would take the cursor's orders out together with the colours, where those are not wanted.
        colours = click.get_current_context().color is not False
        shown = [text if colours else click.unstyle(text) for text in texts]
        begin = _HOME if self._begun else _WIPE + _HOME
        sys.stdout.write(begin + "".join(f"{text}{_REST}\n" for text in shown) + _BELOW)
        sys.stdout.flush()
        self._begun = True


def _styled(line: Line) -> str:
    return click.style(line.text, fg=line.colour or None, bold=line.bold or None)


def _width() -> int | None:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _clock() -> str:
    return datetime.datetime.now().astimezone().strftime("%H:%M:%S")
