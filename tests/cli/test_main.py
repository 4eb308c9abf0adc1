"""The border: every failure is a sentence and a code, and help is there for everybody."""

import errno
import signal
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from meshtrio import __version__
from meshtrio.cli import main as module
from meshtrio.cli.complaint import Code, Complaint
from meshtrio.cli.main import Meshtrio, main
from tests.support.tree import TREE


@pytest.fixture
def failing() -> Iterator[click.Group]:
    @click.group(cls=Meshtrio)
    @click.option("--debug", is_flag=True)
    def group(debug: bool) -> None:
        pass

    @group.command()
    @click.argument("how")
    def fail(how: str) -> int:
        match how:
            case "bug":
                raise TypeError("not so")
            case "descriptors":
                raise OSError(errno.EMFILE, "Too many open files")
            case "bugs":
                raise ExceptionGroup("tasks", [TypeError("not so"), ExceptionGroup("more", [OSError("x")])])
            case "complaint":
                raise ExceptionGroup("tasks", [Complaint("one\ntwo", Code.UNREACHABLE)])
            case "interrupt":
                raise KeyboardInterrupt
            case "interrupt inside":
                raise BaseExceptionGroup("tasks", [KeyboardInterrupt()])
            case "full":
                raise OSError(errno.ENOSPC, "No space left on device")
        return int(how)

    yield group


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name)


@pytest.mark.parametrize("path", list(commands(main)), ids=lambda path: " ".join(path) or "meshtrio")
def test_every_command_has_help_and_most_have_an_example(path: tuple[str, ...]) -> None:
    done = CliRunner().invoke(main, [*path, "-h"], prog_name="meshtrio")
    assert done.exit_code == 0
    assert done.stderr == ""
    if path[-1:] not in ((), ("config",), ("default",), ("list",), ("remove",)):
        assert "meshtrio " + " ".join(path) in done.output.partition("Options:")[0].partition("\n")[2]


def test_help_names_every_command_and_every_exit_code() -> None:
    text = CliRunner().invoke(main, ["--help"]).output
    assert all(f"\n  {name} " in text for name in main.commands)
    assert all(f" {code.value} " in text for code in Code)


def test_version() -> None:
    assert CliRunner().invoke(main, ["-V"], prog_name="meshtrio").output == f"meshtrio {__version__}\n"


@pytest.mark.parametrize(
    "words", [["--nonsense"], ["nonsense"], ["exec", "--nonsense"], ["exec"], ["demo", "--rung", "x"]]
)
def test_wrong_usage_is_one_sentence_that_says_where_to_look(words: list[str]) -> None:
    done = CliRunner().invoke(main, words, prog_name="meshtrio")
    assert done.exit_code == Code.USAGE
    assert done.stdout == ""
    assert done.stderr.startswith("meshtrio: ") and done.stderr.count("\n") == 1
    assert "--help" in done.stderr


@pytest.mark.parametrize(
    ("how", "code", "said"),
    [
        ("0", 0, ""),
        ("1", 1, ""),
        ("complaint", 3, "meshtrio: one\nmeshtrio: two\n"),
        ("interrupt", 130, "meshtrio: interrupted\n"),
        ("interrupt inside", 130, "meshtrio: interrupted\n"),
        ("full", 1, "meshtrio: cannot write: No space left on device\n"),
        ("descriptors", 1, "meshtrio: Too many open files; raise the limit (ulimit -n)\n"),
        (
            "bugs",
            1,
            "meshtrio: a fault of ours: TypeError: not so; OSError: x (MESHTRIO_DEBUG=1 shows where)\n",
        ),
        ("bug", 1, "meshtrio: a fault of ours: TypeError: not so (MESHTRIO_DEBUG=1 shows where)\n"),
    ],
)
def test_how_failures_end(failing: click.Group, how: str, code: int, said: str) -> None:
    done = CliRunner().invoke(failing, ["fail", how])
    assert (done.exit_code, done.stderr.lstrip("\n")) == (code, said)


@pytest.mark.parametrize("asked", [["--debug"], []])
def test_a_trace_is_shown_to_those_who_ask(
    failing: click.Group, monkeypatch: pytest.MonkeyPatch, asked: list[str]
) -> None:
    if not asked:
        monkeypatch.setenv("MESHTRIO_DEBUG", "1")
    done = CliRunner().invoke(failing, [*asked, "fail", "bug"])
    assert "Traceback" in done.stderr and done.stderr.endswith(
        "meshtrio: a fault of ours: TypeError: not so\n"
    )


def test_debug_after_the_command_is_the_commands() -> None:
    assert module._debugging(["--debug", "exec"])
    assert not module._debugging(["exec", "--debug"])


def test_a_reader_who_has_enough_hears_no_complaint() -> None:
    command = f"{sys.executable} -m meshtrio config default | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=TREE, check=False)
    assert done.stdout == "node: ''\n"
    assert done.stderr == ""


@pytest.mark.parametrize(("words", "code"), [("config default", 0), ("--version", 0), ("nonsense", 2)])
def test_closed_streams_change_no_code(words: str, code: int) -> None:
    command = f"{sys.executable} -m meshtrio {words} <&- >&- 2>&-"
    assert subprocess.run(["bash", "-c", command], cwd=TREE, check=False).returncode == code


@pytest.mark.parametrize("words", [[], ["ca"], ["policy"]])
def test_a_group_alone_shows_its_help(words: list[str]) -> None:
    done = CliRunner().invoke(main, words, prog_name="meshtrio")
    assert (done.exit_code, done.stdout) == (Code.USAGE, "")
    assert done.stderr == CliRunner().invoke(main, [*words, "-h"], prog_name="meshtrio").output


def test_an_interrupt_before_the_command_stands_shows_no_trace() -> None:
    """As ^C while it is imported."""
    code = """
import os, signal, sys
class Interrupts:
    def find_spec(self, name, *_):
        if name == "meshtrio.cli.main":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupts())
from meshtrio.__main__ import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=TREE, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


@pytest.mark.parametrize(("given", "colours"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_no_color_is_honoured(given: dict[str, str], colours: bool) -> None:
    done = CliRunner(env=given).invoke(main, ["config", "show"], color=True)
    assert done.exit_code == 0
    assert ("\x1b[" in done.output) == colours


def test_help_needs_neither_trio_nor_rich() -> None:
    code = "import sys\nfrom meshtrio.cli.main import main\nprint({'rich', 'trio', 'bcc'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=TREE, check=True)
    assert done.stdout == "set()\n"
