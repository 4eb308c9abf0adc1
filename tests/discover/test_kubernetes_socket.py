"""Ring 2, real sockets. Whatever a thread waits for on a socket, another thread ends it, and no descriptor
stays."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import urllib3

from meshtrio.discover.kubernetes_socket import CutError, Sockets, make_cuttable
from tests.support.certificate import make_certificate
from tests.support.kubernetes import ApiServer
from tests.support.leaks import descriptors


@pytest.fixture
def sockets() -> Sockets:
    return Sockets()


@pytest.fixture
def manager(sockets: Sockets, tmp_path: Path) -> Iterator[urllib3.PoolManager]:
    made = urllib3.PoolManager(retries=False, cert_reqs="CERT_NONE")
    make_cuttable(made, sockets)
    before = set(descriptors().values())
    yield made
    made.clear()
    assert sockets._twins == set()
    assert set(descriptors().values()) - before == set()


@contextmanager
def silent_server(backlog: int = 5) -> Iterator[socket.socket]:
    """Listen, and never accept."""
    with socket.create_server(("127.0.0.1", 0), backlog=backlog) as listener:
        yield listener


def at(scheme: str, listener: socket.socket) -> str:
    return f"{scheme}://127.0.0.1:{listener.getsockname()[1]}/"


def ask(manager: urllib3.PoolManager, url: str) -> Any:
    return manager.request("GET", url, preload_content=False, timeout=urllib3.Timeout(20), redirect=False)


def read(manager: urllib3.PoolManager, url: str) -> bytes:
    with ask(manager, url) as response:
        return b"".join(iter(lambda: response.read1(1000), b""))


def cut_in_the_midst_of(sockets: Sockets, call: Callable[[], object], after_s: float = 0.1) -> float:
    """Say how long the call took to end once it was cut."""
    moments: list[float] = []

    def cut() -> None:
        moments.append(time.perf_counter())
        sockets.cut()

    timer = threading.Timer(after_s, cut)
    timer.start()
    with pytest.raises(CutError), sockets.call():
        call()
    took_s = time.perf_counter() - moments[0]
    timer.join()
    return took_s


def test_cut_while_connecting(sockets: Sockets, manager: urllib3.PoolManager) -> None:
    # Full is the queue, and so a SYN has no answer.
    with silent_server(0) as listener, socket.socket() as first, socket.socket() as second:
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        url = at("http", listener)
        assert cut_in_the_midst_of(sockets, lambda: ask(manager, url)) < 2


def test_cut_in_the_handshake(sockets: Sockets, manager: urllib3.PoolManager) -> None:
    with silent_server() as listener:
        url = at("https", listener)
        assert cut_in_the_midst_of(sockets, lambda: ask(manager, url)) < 2


def test_cut_while_waiting_for_an_answer(sockets: Sockets, manager: urllib3.PoolManager) -> None:
    with silent_server() as listener:
        url = at("http", listener)
        assert cut_in_the_midst_of(sockets, lambda: ask(manager, url)) < 2


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
@pytest.mark.parametrize("tls", [False, True])
def test_cut_while_reading(sockets: Sockets, manager: urllib3.PoolManager, tmp_path: Path, tls: bool) -> None:
    context = make_certificate(tmp_path).server() if tls else None
    with ApiServer(tls=context) as api:
        url = f"{api.url}/api/v1/services?watch=1"
        assert cut_in_the_midst_of(sockets, lambda: read(manager, url), 0.3) < 2
        assert api.requests


def test_cut_while_reading_an_answer_that_ends_with_its_connection(
    sockets: Sockets, manager: urllib3.PoolManager
) -> None:
    """http.client closes such a connection before its answer is read."""
    with silent_server() as listener:

        def serve() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.recv(1000)
                peer.sendall(b"HTTP/1.0 200 OK\r\n\r\nbegun")
                peer.settimeout(5)
                peer.recv(1000)  # until it is cut

        server = threading.Thread(target=serve)
        server.start()
        url = at("http", listener)
        assert cut_in_the_midst_of(sockets, lambda: read(manager, url)) < 2
        server.join()


def test_what_is_cut_stays_cut(sockets: Sockets, manager: urllib3.PoolManager) -> None:
    sockets.cut()
    sockets.cut()
    with ApiServer() as api:
        with pytest.raises(CutError), sockets.call():
            ask(manager, api.url)
        assert not api.requests
    assert sockets.is_cut


def test_connections_are_used_again(sockets: Sockets, manager: urllib3.PoolManager) -> None:
    with ApiServer() as api:
        for _ in range(3):
            with sockets.call():
                read(manager, f"{api.url}/api/v1/services")
        assert len(sockets._twins) == 1
        manager.clear()
        assert not sockets._twins


def test_the_server_hears_that_a_connection_was_closed(
    sockets: Sockets, manager: urllib3.PoolManager
) -> None:
    with ApiServer() as api:
        with sockets.call():
            response = ask(manager, f"{api.url}/api/v1/services?watch=1")
            response.close()
        assert not sockets._twins


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_refused_and_found(sockets: Sockets, manager: urllib3.PoolManager, name: str) -> None:
    with ApiServer() as api:
        assert b"items" in read(manager, f"http://{name}:{api.port}/api/v1/services")
        port = api.port
        manager.clear()
    with pytest.raises(urllib3.exceptions.NewConnectionError) as raised:
        ask(manager, f"http://{name}:{port}/")
    assert isinstance(raised.value.__cause__, ConnectionRefusedError)
    assert not sockets._twins


def test_a_name_that_nobody_knows(manager: urllib3.PoolManager) -> None:
    with pytest.raises(urllib3.exceptions.NameResolutionError):
        ask(manager, "http://does-not-exist.invalid/")


def test_an_ipv6_address(sockets: Sockets) -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        sock, twin = sockets.connect(("::1", listener.getsockname()[1]), 1)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 7000
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        sock.close()
        sockets.let_go(twin)
