"""Shell. The bench's end of the launcher: runs load commands inside the mesh and reads what they print."""

import contextlib
import io
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from tests.bench.launcher import ENOUGH
from tests.bench.process import tail
from tests.bench.windows import Window

LAUNCHER = Path(__file__).with_name("launcher.py")


class Held(NamedTuple):
    """A load command that has said its first line and waits."""

    first_line: dict[str, float]


class Loaded(NamedTuple):
    """What a load command printed."""

    numbers: dict[str, float]
    windows: tuple[Window, ...] = ()


class Conversation:
    """A load command that answers."""

    def __init__(self, name: str, questions: IO[bytes] | io.FileIO, answers: IO[bytes]) -> None:
        self._name = name
        self._questions = questions
        self._answers = answers

    def ask(self, line: str) -> dict[str, float]:
        """Say a line, and give the answer. RuntimeError if it has ended."""
        with contextlib.suppress(BrokenPipeError):
            self._questions.write(line.encode() + b"\n")
        return self.hear()

    def hear(self) -> dict[str, float]:
        """Give what it says next. RuntimeError if it has ended."""
        line = self._answers.readline().decode()
        if not line:
            raise RuntimeError(f"{self._name} printed nothing")
        return loaded(line).numbers


class Workload:
    """A process in the mesh that runs what we say, on the client's core."""

    def __init__(self, bench: socket.socket, core: int) -> None:
        self._bench = bench
        self._core = core
        raw = bench.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        self.pid: int = struct.unpack("3i", raw)[0]

    def run(self, words: Sequence[str], *, within_s: float) -> Loaded:
        """Run a command to its end and give its last line, which is JSON. RuntimeError if it fails."""
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as wrong:
            with open(os.devnull) as nothing:
                self._begin(words, [nothing, out, wrong])
            self._finish(words, wrong, within_s=within_s)
            out.seek(0)
            lines = out.read().strip().splitlines()
        if not lines:
            raise RuntimeError(f"{words[0]} printed nothing")
        return loaded(lines[-1])

    @contextlib.contextmanager
    def hold(self, words: Sequence[str], *, within_s: float) -> Iterator[Held]:
        """Run a command that prints a line of JSON and then waits for the end of its standard input.

        The block runs while it waits. Afterwards it has ended.
        """
        with self.converse(words, within_s=within_s) as command:
            yield Held(command.hear())

    @contextlib.contextmanager
    def converse(self, words: Sequence[str], *, within_s: float) -> Iterator["Conversation"]:
        """Run a command that answers lines until the end of its standard input.

        The block runs while it waits. Afterwards it has ended. RuntimeError if it failed.
        """
        down_read, down_write = os.pipe()
        up_read, up_write = os.pipe()
        with (
            open(down_write, "wb", buffering=0) as lifeline,
            open(up_read, "rb") as said,
            tempfile.TemporaryFile("w+") as wrong,
        ):
            with open(down_read, "rb") as stdin, open(up_write, "wb") as stdout:
                self._begin(words, [stdin, stdout, wrong])
            try:
                yield Conversation(words[0], lifeline, said)
            finally:
                lifeline.close()
                self._finish(words, wrong, within_s=within_s)

    def _begin(self, words: Sequence[str], streams: Sequence[IO[str] | IO[bytes]]) -> None:
        order = json.dumps({"words": list(words), "core": self._core}).encode()
        socket.send_fds(self._bench, [order], [stream.fileno() for stream in streams])
        self._bench.settimeout(10)
        answer = json.loads(self._bench.recv(4096) or b'{"failed": "the launcher is gone"}')
        if "failed" in answer:
            raise RuntimeError(f"{words[0]}: {answer['failed']}")

    def _finish(self, words: Sequence[str], wrong: IO[str], *, within_s: float) -> None:
        self._bench.settimeout(within_s)
        try:
            answer = json.loads(self._bench.recv(4096) or b'{"code": -1}')
        except TimeoutError:
            self._bench.send(ENOUGH)
            self._bench.settimeout(10)
            answer = json.loads(self._bench.recv(4096) or b'{"code": -1}')
        if answer["code"]:
            wrong.seek(0)
            raise RuntimeError(
                f"{' '.join(words)} ended with {answer['code']}: {wrong.read()[-400:].strip()}"
            )


class Entrance:
    """Where the launcher of one peer will knock, and the command that makes it do so."""

    def __init__(self, folder: Path) -> None:
        self._stamp = folder / "ready"
        self._path = folder / "launcher.sock"
        self._began = time.time()

    @property
    def command(self) -> list[str]:
        """The command to run inside the mesh. Writes down when it began: then the mesh was ready for it."""
        script = 'date +%s.%N >"$0"; exec "$@"'
        python = [sys.executable, "-I", str(LAUNCHER), str(self._path)]
        return ["sh", "-c", script, str(self._stamp), *python]

    @contextlib.contextmanager
    def open(self) -> Iterator[socket.socket]:
        """Listen; the time to ready runs from here."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as door:
            door.bind(str(self._path))
            door.listen(1)
            self._began = time.time()
            try:
                yield door
            finally:
                self._path.unlink()
                self._stamp.unlink(missing_ok=True)

    @contextlib.contextmanager
    def admit(
        self, door: socket.socket, owner: subprocess.Popen[str], core: int, *, log: Path
    ) -> Iterator[Workload]:
        """Wait for the launcher and talk to it while the block lasts; afterwards it is told to end."""
        door.settimeout(0.2)
        for _ in range(150):
            try:
                bench, _ = door.accept()
            except TimeoutError:
                if owner.poll() is not None:
                    break
                continue
            with bench:
                yield Workload(bench, core)
            return
        raise RuntimeError(f"the launcher did not come up: {tail(log)}")

    @property
    def ready_s(self) -> float:
        """How long it took from `open` until the command began."""
        return float(self._stamp.read_text()) - self._began


def loaded(line: str) -> Loaded:
    """Read what a load command prints: numbers, and windows where there are some."""
    said = json.loads(line)
    windows = tuple(
        Window(float(one["stolen_us"]), tuple(trip / 1000 for trip in one["trips_ns"]))
        for one in said.pop("windows", ())
    )
    return Loaded({key: float(value) for key, value in said.items()}, windows)
