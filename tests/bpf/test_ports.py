"""World. post_bind and sock_release: which ports a workload listens on, counted by real binds and closes."""

import time

import pytest

from meshtrio.intercept.kernel import Kernel
from meshtrio.intercept.tables import Ports
from tests.bpf.app import BIND, Failed
from tests.bpf.pod import WORKLOAD, Pod, pod_in
from tests.support.namespace import Namespace

pytestmark = [pytest.mark.world, pytest.mark.kernel]

PORT = 8080


@pytest.fixture
def server(pod: Pod) -> Pod:
    """A pod whose process knows how to bind."""
    pod.app.do(BIND)
    return pod


def settles(pod: Pod, port: int, sockets: int) -> bool:
    """Say whether the count comes to this: a killed process's sockets go in the kernel's own time."""
    until = time.monotonic() + 3
    while pod.listeners(port) != (WORKLOAD, sockets):
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "10.1.2.3", "::1", "::", "fd00:1::3"])
def test_a_bound_port_counts_until_it_is_closed(server: Pod, host: str) -> None:
    assert server.listeners(PORT) is None
    server.app.do("one = bound(host)", host=host)
    assert server.listeners(PORT) == (WORKLOAD, 1), "bound and not listening counts too"
    server.app.do("one.listen()")
    assert server.listeners(PORT) == (WORKLOAD, 1)
    server.app.do("one.close()")
    assert server.listeners(PORT) == (WORKLOAD, 0)


def test_a_port_that_the_kernel_chose_counts(server: Pod) -> None:
    port = server.app.do("one = bound('127.0.0.1', 0); said = one.getsockname()[1]")
    assert server.listeners(port) == (WORKLOAD, 1)


def test_a_listen_without_bind_passes_no_hook(server: Pod) -> None:
    """The kernel picks a port in listen(), and no hook sees it: only `listening.py` can find it."""
    port = server.app.do("one = socket.socket(); one.listen(); said = one.getsockname()[1]")
    assert server.listeners(port) is None


def test_sockets_that_share_a_port_count_one_each(server: Pod) -> None:
    """As nginx does with `reuseport`, and with one socket a family."""
    server.app.do("a, b, c = bound('0.0.0.0'), bound('0.0.0.0'), bound('::')")
    assert server.listeners(PORT) == (WORKLOAD, 3)
    server.app.do("a.close()")
    assert server.listeners(PORT) == (WORKLOAD, 2)
    server.app.do("b.close(); c.close()")
    assert server.listeners(PORT) == (WORKLOAD, 0)


def test_a_bind_that_fails_does_not_count(server: Pod) -> None:
    server.app.do("one = socket.socket(); one.bind(('127.0.0.1', 8080)); one.listen()")
    with pytest.raises(Failed, match="EADDRINUSE"):
        server.app.do("two = socket.socket(); two.bind(('127.0.0.1', 8080))")
    server.app.do("two.close()")
    assert server.listeners(PORT) == (WORKLOAD, 1)


def test_accepted_sockets_do_not_count_when_they_close(server: Pod) -> None:
    server.app.do("one = bound('127.0.0.1'); one.listen()")
    for _ in range(3):
        with server.space.tcp_socket() as caller:
            caller.connect(("127.0.0.1", PORT))
            server.app.do("one.accept()[0].close()")
    assert server.listeners(PORT) == (WORKLOAD, 1)


def test_accepted_sockets_outlive_their_listener_without_counting(server: Pod) -> None:
    server.app.do("one = bound('127.0.0.1'); one.listen()")
    with server.space.tcp_socket() as caller:
        caller.connect(("127.0.0.1", PORT))
        server.app.do("peer = one.accept()[0]; one.close()")
        assert server.listeners(PORT) == (WORKLOAD, 0)
        server.app.do("peer.close()")
        assert server.listeners(PORT) == (WORKLOAD, 0)


def test_a_socket_that_a_child_holds_too_counts_once(server: Pod) -> None:
    """As a server that forks its workers: the port is served until the last of them closes."""
    server.app.do(
        """
one = bound('127.0.0.1'); one.listen()
r, w = os.pipe()
child = os.fork()
if not child:
    os.close(w); os.read(r, 1); os._exit(0)
os.close(r); one.close()
"""
    )
    assert server.listeners(PORT) == (WORKLOAD, 1)
    server.app.do("os.close(w); os.waitpid(child, 0)")
    assert settles(server, PORT, 0)


def test_a_killed_process_leaves_no_count(server: Pod) -> None:
    server.app.do("held = [bound('0.0.0.0'), bound('0.0.0.0'), bound('::')]\nfor one in held: one.listen()")
    assert server.listeners(PORT) == (WORKLOAD, 3)
    server.app.kill()
    assert settles(server, PORT, 0)


def test_udp_does_not_count(server: Pod) -> None:
    server.app.do("one = bound('0.0.0.0', kind=socket.SOCK_DGRAM)")
    assert server.listeners(PORT) is None


def test_a_bind_from_outside_does_not_count(server: Pod) -> None:
    with server.space.bound("127.0.0.1", PORT):
        assert server.listeners(PORT) is None


def test_a_workload_that_nobody_described_does_not_count(kernel: Kernel) -> None:
    with Namespace() as space, pod_in(kernel, space, described=False) as pod:
        pod.app.do(BIND + "one = bound('0.0.0.0')")
        assert pod.listeners(PORT) is None
        pod.app.do("one.close()")


def test_the_worker_reads_who_listens(server: Pod) -> None:
    ports = Ports(server.kernel.maps["ports"])
    assert ports.workload(server.netns.id, PORT) is None
    server.app.do("one = bound('0.0.0.0')")
    assert ports.workload(server.netns.id, PORT) == WORKLOAD
    assert ports.workload(server.netns.id + 1, PORT) is None


def test_the_count_is_right_after_many_at_once(server: Pod) -> None:
    server.app.do(
        """
held = [bound('0.0.0.0')]
def many():
    for _ in range(200): bound('0.0.0.0').close()
threads = [threading.Thread(target=many) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""
    )
    assert server.listeners(PORT) == (WORKLOAD, 1)
