"""Ring 2, real sockets. What a call gives, and in which words it fails."""

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshtrio.config.discovery import Kubernetes
from meshtrio.discover.kubernetes_access import Access
from meshtrio.discover.kubernetes_call import CallError, Fault
from meshtrio.discover.kubernetes_client import Line
from meshtrio.discover.kubernetes_socket import CutError
from tests.support.kubernetes import ApiServer, Wrong
from tests.support.kubernetes_side import kubeconfig


@pytest.fixture
def line(config: Path) -> Iterator[Line]:
    made = Line(Access(Kubernetes(kubeconfig=str(config))))
    yield made
    made.close()


def get(line: Line, path: str = "/api/v1/services", silent_s: float = 1.0, **query: str) -> bytes:
    with line.get(path, query, 1.0, silent_s) as body:
        return b"".join(body)


def failing(line: Line, path: str = "/api/v1/services", silent_s: float = 1.0) -> CallError:
    with pytest.raises(CallError) as raised:
        get(line, path, silent_s)
    return raised.value


def test_it_asks_as_ourselves(api: ApiServer, tmp_path: Path) -> None:
    line = Line(Access(Kubernetes(kubeconfig=str(kubeconfig(tmp_path / "c", api.url, {"token": "abc"})))))
    assert b'"items":[]' in get(line, limit="5")
    (request,) = api.requests
    assert (request.token, request.query) == ("abc", {"limit": "5"})
    line.close()


def test_basic_authentication(api: ApiServer, tmp_path: Path) -> None:
    user = {"username": "u", "password": "p"}
    line = Line(Access(Kubernetes(kubeconfig=str(kubeconfig(tmp_path / "c", api.url, user)))))
    get(line)
    assert api.requests[0].token == "dTpw"
    line.close()


@pytest.mark.parametrize(
    ("status", "fault", "words"),
    [
        (401, Fault.REFUSED, "401 Unauthorized: a test wants it so"),
        (403, Fault.FORBIDDEN, "403 Forbidden: a test wants it so"),
        (410, Fault.GONE, "410 Expired: a test wants it so"),
        (429, Fault.FAILED, "429 TooManyRequests: a test wants it so"),
        (500, Fault.FAILED, "500 InternalError: a test wants it so"),
        (302, Fault.FAILED, "302 InternalError: a test wants it so"),
        (204, Fault.FAILED, "204"),
    ],
)
def test_statuses(api: ApiServer, line: Line, status: int, fault: Fault, words: str) -> None:
    raw = b"" if status == 204 else None
    api.fail(Wrong(status, raw=raw, headers=(("Location", "http://127.0.0.1:1/"),)))
    error = failing(line)
    assert (error.fault, str(error), error.after_s) == (fault, words, None)
    assert b"items" in get(line)


def test_what_is_not_served_is_missing(line: Line) -> None:
    error = failing(line, "/apis/discovery.k8s.io/v7/endpointslices")
    assert (error.fault, str(error)) == (Fault.MISSING, "404")


@pytest.mark.parametrize(
    ("header", "after_s"),
    [
        ("7", 7),
        ("0", 0),
        ("soon", None),
        ("-1", None),
        ("9" * 40, None),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
    ],
)
def test_a_plea(api: ApiServer, line: Line, header: str, after_s: float | None) -> None:
    api.fail(Wrong(503, headers=(("Retry-After", header),)))
    assert failing(line).after_s == after_s


def test_a_long_complaint_is_not_read_whole(api: ApiServer, line: Line) -> None:
    api.fail(Wrong(500, raw=b"x" * 50_000_000))
    assert str(failing(line)) == "500"


def test_nobody_there(api: ApiServer, line: Line) -> None:
    api.stop()
    error = failing(line)
    assert (error.fault, str(error)) == (Fault.UNREACHABLE, "no connection: Connection refused")


def test_silence(api: ApiServer, line: Line) -> None:
    api.freeze()
    error = failing(line, silent_s=0.1)
    assert (error.fault, str(error)) == (Fault.UNREACHABLE, "the server is silent")


def test_silence_in_the_midst_of_an_answer(api: ApiServer, line: Line) -> None:
    with pytest.raises(CallError, match="the server is silent"):
        get(line, silent_s=0.1, watch="1")


def test_torn(api: ApiServer, line: Line) -> None:
    threading.Timer(0.2, api.tear).start()
    with pytest.raises(CallError, match="the connection broke off"):
        get(line, silent_s=5, watch="1")


def test_a_server_that_speaks_something_else(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.recv(1000)
                peer.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        config = kubeconfig(tmp_path / "c", f"http://127.0.0.1:{listener.getsockname()[1]}")
        line = Line(Access(Kubernetes(kubeconfig=str(config))))
        assert str(failing(line)) == "the connection broke off"
        thread.join()
        line.close()


def test_a_name_that_nobody_knows(tmp_path: Path) -> None:
    config = kubeconfig(tmp_path / "c", "http://does-not-exist.invalid")
    line = Line(Access(Kubernetes(kubeconfig=str(config))))
    assert str(failing(line)) == "the server's name cannot be resolved"


@pytest.mark.parametrize("token", ["ab\x07cd", "ab\ncd"])
def test_a_token_that_cannot_be_sent_is_not_shown(api: ApiServer, tmp_path: Path, token: str) -> None:
    line = Line(Access(Kubernetes(kubeconfig=str(kubeconfig(tmp_path / "c", api.url, {"token": token})))))
    error = failing(line)
    assert error.fault is Fault.REFUSED
    assert "cd" not in str(error)
    assert not api.requests


def test_it_goes_where_the_configuration_leads_now(api: ApiServer, config: Path, line: Line) -> None:
    get(line)
    with ApiServer() as other:
        time.sleep(0.01)  # the file's time stamp
        kubeconfig(config, other.url, {"token": "new"})
        get(line)
        assert other.requests[0].token == "new"
        line.close()


def test_cut(api: ApiServer, line: Line) -> None:
    threading.Timer(0.2, line.cut).start()
    began = time.perf_counter()
    with pytest.raises(CutError):
        get(line, silent_s=20, watch="1")
    assert time.perf_counter() - began < 1
    assert line.is_cut
    with pytest.raises(CutError):
        get(line)
