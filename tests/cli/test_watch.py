"""--watch, on a real terminal and on a pipe: what is drawn, what ends it, and what it outlives."""

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from meshtrio.cli.watch import EVERY_S, Watchable, watch_option
from tests.cli.conftest import Run
from tests.support.catalog_desk import Desk, Served, endpoint, served, service, shop

PATIENCE_S = 20.0
Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def desk() -> Desk:
    return shop()


@pytest.fixture
def there(desk: Desk, tmp_path: Path) -> Iterator[Served]:
    with served(desk, tmp_path / "control.sock") as made:
        yield made


class Terminal:
    """A pseudo terminal with a command in it, and a small screen that obeys what the command writes."""

    def __init__(self, command: list[str], environment: dict[str, str], size: tuple[int, int]) -> None:
        self.size = size
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
        self.settings = termios.tcgetattr(theirs)
        self.process = subprocess.Popen(
            command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment | {"TERM": "xterm"},
            # A session of its own, whose terminal this is: so ^C is a key and no signal of ours.
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        self._theirs = theirs
        self.raw = b""

    def read(self, for_s: float) -> None:
        if select.select([self._ours], [], [], for_s)[0]:
            self.raw += os.read(self._ours, 65536)

    def screen(self) -> list[str]:
        """What stands on it now: frames begin at home, and are whole."""
        frame = self.raw.decode().rpartition("\x1b[H")[2]
        text = re.sub(r"\x1b\[[0-9;]*[a-zA-Z]", "", frame)
        return text.replace("\r\n", "\n").split("\n")

    def until(self, found: Callable[[list[str]], bool]) -> list[str]:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            if self.raw.endswith(b"\x1b[J") and found(self.screen()):
                return self.screen()
            self.read(0.05)
        raise AssertionError(f"this never came; on the screen: {self.screen()}")

    def press(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def end(self) -> int:
        deadline = time.monotonic() + PATIENCE_S
        while self.process.poll() is None and time.monotonic() < deadline:
            self.read(0.05)
        return self.process.wait(1)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._ours)
        os.close(self._theirs)


OpenTerminal = Callable[..., Terminal]


@pytest.fixture
def terminal(settings: dict[str, str]) -> Iterator[OpenTerminal]:
    with contextlib.ExitStack() as undo:

        def make(*words: str, size: tuple[int, int] = (24, 80), **environment: str) -> Terminal:
            plain = {name: word for name, word in settings.items() if name not in ("LINES", "COLUMNS")}
            made = Terminal([sys.executable, "-m", "meshtrio", *words], plain | environment, size)
            undo.callback(made.close)
            return made

        yield make


def test_a_terminal_is_drawn_over_and_left_as_it_was(
    terminal: OpenTerminal, there: Served, desk: Desk
) -> None:
    view = terminal("services", "--watch=0.1", "--control", str(there.path))
    screen = view.until(lambda lines: any("orders" in line for line in lines))
    assert re.fullmatch(r"\d\d:\d\d:\d\d  services, every 0.1 s", screen[0])
    assert screen[1] == ""
    assert screen[2].startswith("NAMESPACE")
    there.change(lambda: desk.say("file", service("scanner", endpoint("192.0.2.1"))))
    screen = view.until(lambda lines: any("scanner" in line for line in lines))
    assert not any("printer" in line for line in screen)
    # It is cleared once; then each frame is written over the last one, line by line.
    assert view.raw.count(b"\x1b[2J") == 1
    assert view.raw.count(b"\x1b[H") > 1
    assert b"\x1b[?" not in view.raw  # no alternate screen, no hidden cursor: nothing to put back
    view.press(b"\x03")
    assert view.end() == 0
    assert b"Traceback" not in view.raw
    assert b"interrupted" not in view.raw
    assert termios.tcgetattr(view._theirs) == view.settings


def test_only_what_fits_is_asked_for_and_drawn(terminal: OpenTerminal, tmp_path: Path) -> None:
    desk = Desk()
    many = (
        service(f"service-with-a-name-{at:05}", endpoint(f"10.0.{at >> 8}.{at & 255}")) for at in range(2000)
    )
    desk.say("kubernetes", *many)
    with served(desk, tmp_path / "control.sock") as there:
        view = terminal("services", "--watch", "0.1", "--control", str(there.path), size=(10, 40))
        screen = view.until(lambda lines: any("more" in line for line in lines))
        view.press(b"\x03")
        assert view.end() == 0
    assert max(map(len, screen)) <= 40
    assert len(screen) == 10  # nine lines, and the one in which the cursor stands
    assert screen[3].startswith("default    service-with-a-name-00000")
    assert "and 1995 more" in screen


@pytest.mark.parametrize("colours", [True, False])
def test_colours_are_left_out_where_nobody_wants_them(
    terminal: OpenTerminal, there: Served, colours: bool
) -> None:
    unwanted = {} if colours else {"NO_COLOR": "1"}
    view = terminal("endpoints", "--watch", "orders", "--control", str(there.path), **unwanted)
    view.until(lambda lines: any("unhealthy" in line for line in lines))
    assert (b"\x1b[31m" in view.raw) is colours
    assert b"\x1b[H" in view.raw
    view.press(b"\x03")
    assert view.end() == 0


def test_an_agent_that_goes_is_waited_for(terminal: OpenTerminal, there: Served) -> None:
    view = terminal("services", "--watch=0.1", "--control", str(there.path))
    view.until(lambda lines: any("orders" in line for line in lines))
    there.stop()
    screen = view.until(lambda lines: "no agent answers" in "".join(lines))
    assert re.match(r"trying again; this is from \d\d:\d\d:\d\d: no agent answers", screen[1])
    assert any("orders" in line for line in screen), "what was known last stays"
    there.start()
    view.until(lambda lines: "trying" not in "".join(lines) and any("orders" in line for line in lines))
    assert view.process.poll() is None


def test_a_terminal_that_is_closed_ends_it(terminal: OpenTerminal, there: Served) -> None:
    view = terminal("discovery", "--watch=0.1", "--control", str(there.path))
    view.until(lambda lines: any("kubernetes" in line for line in lines))
    os.close(view._ours)
    view._ours = os.dup(view._theirs)
    assert view.process.wait(PATIENCE_S) != 0


def test_a_pipe_gets_a_block_a_change(start: Start, there: Served, desk: Desk) -> None:
    watching = start("services", "--watch=0.1", "-n", "default", "--control", str(there.path))
    assert watching.stdout is not None
    first = [watching.stdout.readline() for _ in range(3)]
    assert first[0].startswith(b"NAMESPACE")
    time.sleep(0.5)  # nothing has changed: nothing is written
    there.change(lambda: desk.say("file", service("scanner", endpoint("192.0.2.1"))))
    second = [watching.stdout.readline() for _ in range(4)]
    assert second[0] == b"\n"
    assert b"scanner" in second[2]
    assert b"\x1b" not in b"".join(first + second)
    watching.send_signal(signal.SIGINT)
    rest, err = watching.communicate(timeout=PATIENCE_S)
    assert (watching.returncode, rest, err) == (0, b"", b"")


@pytest.mark.parametrize("command", ["services", "endpoints", "discovery"])
def test_json_is_a_line_a_change(start: Start, there: Served, desk: Desk, command: str) -> None:
    watching = start(command, "--json", "--watch", "0.1", "--control", str(there.path))
    assert watching.stdout is not None
    before = json.loads(watching.stdout.readline())
    there.change(lambda: desk.say("file", service("scanner", endpoint("192.0.2.1"), endpoint("192.0.2.2"))))
    after = json.loads(watching.stdout.readline())
    assert before != after
    watching.send_signal(signal.SIGINT)
    assert (watching.communicate(timeout=PATIENCE_S)[0], watching.returncode) == (b"", 0)


def test_on_a_pipe_the_missing_agent_is_said_once(start: Start, there: Served) -> None:
    watching = start("services", "--watch=0.1", "--json", "--control", str(there.path))
    assert watching.stdout is not None
    assert watching.stderr is not None
    watching.stdout.readline()
    there.stop()
    assert b"no agent answers" in watching.stderr.readline()
    time.sleep(0.4)
    there.start()
    assert watching.stderr.readline() == b"meshtrio: the agent answers again\n"
    watching.send_signal(signal.SIGINT)
    assert watching.communicate(timeout=PATIENCE_S) == (b"", b"")


def test_a_reader_that_has_enough_ends_it_at_once(start: Start, there: Served) -> None:
    watching = start("services", "--watch", "60", "--control", str(there.path))
    assert watching.stdout is not None
    watching.stdout.readline()
    watching.stdout.close()
    assert watching.wait(PATIENCE_S) == 1
    assert watching.stderr is not None
    assert watching.stderr.read() == b""


def test_what_fails_at_first_is_a_failure(run: Run, there: Served) -> None:
    assert run("services", "--watch", "--control", str(there.path.with_name("none.sock"))).returncode == 3
    assert run("endpoints", "--watch", "nobody", "--control", str(there.path)).returncode == 1


@pytest.mark.parametrize("word", ["0", "0.05", "3601", "nan", "inf", "soon", "-1"])
def test_seconds_that_are_none(run: Run, word: str) -> None:
    done = run("services", f"--watch={word}")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"--watch" in done.stderr


@pytest.mark.parametrize(
    ("words", "every_s", "name"),
    [
        ([], None, ""),
        (["--watch"], EVERY_S, ""),
        (["--watch", "web"], EVERY_S, "web"),
        (["web", "--watch"], EVERY_S, "web"),
        (["--watch", "5", "web"], 5.0, "web"),
        (["--watch=0.5", "web"], 0.5, "web"),
        (["--watch", "--", "7"], EVERY_S, "7"),
        (["--", "--watch"], None, "--watch"),
    ],
)
def test_the_seconds_may_be_left_out(words: list[str], every_s: float | None, name: str) -> None:
    seen = []

    @click.command(cls=Watchable)
    @click.argument("name", default="")
    @watch_option
    def command(name: str, every_s: float | None) -> None:
        seen.append((every_s, name))

    command(words, standalone_mode=False)
    assert seen == [(every_s, name)]


def test_a_small_terminal_does_not_scroll(terminal: OpenTerminal, there: Served) -> None:
    view = terminal("discovery", "--watch=0.1", "--control", str(there.path), size=(6, 80))
    screen = view.until(lambda lines: any("kubernetes" in line for line in lines))
    assert len(screen) == 6
    assert screen[-1] == ""
