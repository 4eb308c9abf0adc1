"""The client against real sockets: good answers, refusals, and everything that is no agent."""

import contextlib
import json
import os
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from meshtrio.cli.complaint import Code, Complaint
from meshtrio.cli.control_client import Control, NoAgent

Answering = Callable[[bytes], Control]


@pytest.fixture
def asked() -> list[bytes]:
    return []


@pytest.fixture
def answering(tmp_path: Path, asked: list[bytes]) -> Iterator[Answering]:
    """Make a control socket that answers with these bytes, whatever it is asked."""
    path = tmp_path / "control.sock"
    with contextlib.ExitStack() as undo:

        def make(answer: bytes) -> Control:
            listening = socket.socket(socket.AF_UNIX)
            listening.bind(str(path))
            listening.listen()

            def serve() -> None:
                with listening, listening.accept()[0] as line:
                    asked.append(line.recv(65536))
                    if b"content-length" in asked[-1].lower() and not asked[-1].endswith(b"}"):
                        asked[-1] += line.recv(65536)
                    line.sendall(answer)

            thread = threading.Thread(target=serve)
            thread.start()
            undo.callback(thread.join)
            return Control(str(path), answer_s=5)

        yield make


def reply(status: str, body: bytes, kind: str = "application/json") -> bytes:
    return b"HTTP/1.1 %s\r\ncontent-type: %s\r\ncontent-length: %d\r\n\r\n%s" % (
        status.encode(),
        kind.encode(),
        len(body),
        body,
    )


def test_a_good_answer(answering: Answering, asked: list[bytes]) -> None:
    assert answering(reply("200 OK", b'{"ready": true}')).get("/readyz") == {"ready": True}
    assert asked[0].startswith(b"GET /readyz HTTP/1.1\r\n")


def test_not_ready_is_an_answer_and_no_failure(answering: Answering) -> None:
    assert answering(reply("503 Service Unavailable", b'{"ready": false}')).get("/readyz") == {"ready": False}


def test_what_is_asked_for_is_sent(answering: Answering, asked: list[bytes]) -> None:
    answering(reply("201 Created", b"{}")).add_workload("a b/c", {"pid": 7})
    head, _, body = asked[0].partition(b"\r\n\r\n")
    assert head.startswith(b"PUT /v1/workloads/a%20b%2Fc HTTP/1.1")
    assert json.loads(body) == {"pid": 7}


def test_the_agents_refusal_is_said_in_its_words(answering: Answering) -> None:
    control = answering(reply("409 Conflict", b'{"error": "workload a is here already"}'))
    with pytest.raises(Complaint, match=r"^workload a is here already$") as refused:
        control.remove_workload("a")
    assert refused.value.code is Code.FAILED


@pytest.mark.parametrize(
    "answer", [b"", b"garbage\r\n\r\n", b"HTTP/1.1 999999 x\r\n\r\n", reply("200 OK", b"{broken")]
)
def test_what_is_no_agent_is_told_apart(answering: Answering, answer: bytes) -> None:
    with pytest.raises(NoAgent, match=r"no agent|cannot ask") as refused:
        answering(answer).get("/v1/status")
    assert refused.value.code is Code.UNREACHABLE


def test_nobody_there(tmp_path: Path) -> None:
    control = Control(str(tmp_path / "none.sock"))
    assert not control.answers()
    with pytest.raises(NoAgent, match=r"there is no .*none.sock; start one with `meshtrio agent`"):
        control.get("/healthz")


def test_a_socket_whose_agent_was_killed(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    control = Control(str(path))
    assert not control.answers()
    with pytest.raises(NoAgent, match=r"has gone"):
        control.get("/healthz")


@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_is_no_socket_is_no_agent_that_has_gone(tmp_path: Path, what: str) -> None:
    path = tmp_path
    if what == "file":
        path = tmp_path / "file"
        path.touch()
    with pytest.raises(NoAgent, match=rf"{path} is no socket"):
        Control(str(path)).answers()


def test_an_agent_that_stands_still_is_not_absent(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as stopped:
        stopped.bind(str(path))
        stopped.listen()
        with pytest.raises(NoAgent, match=r"has not answered for 0.1 s; is it stopped"):
            Control(str(path), answer_s=0.1).answers()


def test_a_path_that_no_socket_can_have() -> None:
    with pytest.raises(NoAgent, match=r"cannot ask the agent"):
        Control("/" + "x" * 200).answers()


@pytest.mark.world
def test_the_socket_is_for_root() -> None:
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as guarded:
        Path(folder).chmod(0o711)
        path = Path(folder, "control.sock")
        guarded.bind(str(path))
        guarded.listen()
        path.chmod(0o600)
        pid = os.fork()
        if pid == 0:
            os.setresuid(65534, 65534, 65534)
            try:
                Control(str(path)).answers()
            except NoAgent as no:
                os._exit(0 if "for root alone" in str(no) else 1)
            os._exit(2)
        assert os.waitpid(pid, 0)[1] == 0
