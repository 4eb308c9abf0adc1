"""World. Names in the whole mesh: what the catalog knows is answered by us, the rest by whom it was asked of.

A real resolver stands in the same namespace and answers every name, with its own address: so it can be seen
whether a query was caught (a virtual IP) or left alone.
"""

import contextlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.bpf.app import App, app_in
from tests.bpf.names import ASK, REAL, Resolver, real_resolver
from tests.support.mesh import Mesh, service
from tests.support.namespace import Namespace
from tests.support.world import VIP, island, our_cgroup, unique

pytestmark = [pytest.mark.world, pytest.mark.slow]

HERE, THERE, HERE6 = "10.5.0.1", "10.5.0.2", "fd05::1"
STUB = "127.0.0.53"
WAYS = [(HERE, "connect"), (HERE, "sendto"), (f"::ffff:{HERE}", "connect"), (f"::ffff:{HERE}", "sendmsg")]
WAYS += [(HERE6, "connect"), (HERE6, "sendto"), (STUB, "connect"), (STUB, "sendmsg")]
LOST_S = 4.5
"""A little more than the hooks' patience."""


class Scene(NamedTuple):
    mesh: Mesh
    process: App
    real: Resolver
    other: Resolver

    def ask(self, host: str, how: str = "sendto", name: str = "web.default.svc.cluster.local") -> str:
        """Ask for the address of a name, and return it."""
        question = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
        said = self.process.do(
            "QUERY = QUERY[:12] + bytes.fromhex(question) + b'\\0\\0\\1\\0\\1'\n"
            "said = ask_tcp(host) if how == 'tcp' else ask(host, how)",
            question=question.hex(),
            host=host,
            how=how,
        )
        assert said.get("from", [host, 53]) == said.get("peer", [host, 53]) == [host, 53]
        answer: str = said["answer"]
        return answer


def home() -> "contextlib.AbstractContextManager[Namespace]":
    @contextlib.contextmanager
    def made() -> Iterator[Namespace]:
        with island() as space:
            for address in (f"{HERE}/32", f"{THERE}/32", f"{HERE6}/128"):
                space.add_address(address, "lo")
            yield space

    return made()


@contextlib.contextmanager
def a_scene(rung: str) -> Iterator[Scene]:
    with contextlib.ExitStack() as stack:
        space = stack.enter_context(home())
        real = stack.enter_context(real_resolver(space, HERE, HERE6, STUB))
        other = stack.enter_context(real_resolver(space, THERE))
        mesh = stack.enter_context(Mesh(space, rung=rung, services=[service("web", "127.0.0.1:9080")]))
        name = unique("shop")
        assert mesh.add(name).status == 201
        process = stack.enter_context(app_in(space, our_cgroup(name)))
        process.do(ASK)
        yield Scene(mesh, process, real, other)


@pytest.fixture(scope="module")
def scene(rung: str) -> Iterator[Scene]:
    with a_scene(rung) as made:
        yield made


def test_a_name_of_the_catalog_is_its_virtual_ip_whoever_is_asked(scene: Scene) -> None:
    for host, how in (*WAYS, (HERE, "tcp"), (HERE6, "tcp"), (STUB, "tcp")):
        assert scene.ask(host, how) == VIP, (host, how)
    assert scene.real.heard == scene.other.heard == []


def test_another_name_is_asked_of_the_resolver_that_was_meant(scene: Scene) -> None:
    """Each a name of its own, for answers may be kept."""
    for number, (host, how) in enumerate((*WAYS, (HERE, "tcp"), (HERE6, "tcp"))):
        assert scene.ask(host, how, f"other-{number}.example.com") == REAL, (host, how)
        assert len(scene.real.heard) == 1, (host, how)
        scene.real.heard.clear()
        assert scene.other.heard == []
    assert scene.ask(THERE, "connect", "there.example.com") == REAL
    assert (len(scene.real.heard), len(scene.other.heard)) == (0, 1)
    scene.other.heard.clear()


def test_a_program_finds_the_service_by_its_name(scene: Scene) -> None:
    """As libc does it, whatever this machine's resolv.conf says."""
    said = scene.process.do("said = socket.gethostbyname('web.mesh')")
    assert said == VIP


@pytest.fixture
def mortal(rung: str) -> Iterator[Scene]:
    """A scene whose agent may be ended."""
    with a_scene(rung) as made:
        yield made


def answers(scene: Scene, wanted: str, wait_s: float) -> float:
    """Ask until this is the answer, and say how long that took. Queries to nobody count as no answer."""
    began = time.monotonic()
    while True:
        with contextlib.suppress(Exception):
            if {scene.ask(HERE, how) for how in ("connect", "sendto")} == {wanted}:
                return time.monotonic() - began
        assert time.monotonic() - began < wait_s, f"waited {wait_s} s in vain for {wanted}"
        time.sleep(0.05)


def test_names_outlive_the_agent(mortal: Scene) -> None:
    """On nf_tables there is no heartbeat: queries wait for a successor there."""
    mesh = mortal.mesh
    assert mortal.ask(HERE) == VIP
    if mesh.rung == "ebpf":
        assert mesh.agent is not None
        mesh.signal(signal.SIGSTOP, mesh.agent.pid)
        answers(mortal, REAL, LOST_S + 4)  # a query that is caught before that waits for two seconds
        mesh.signal(signal.SIGCONT, mesh.agent.pid)
        answers(mortal, VIP, LOST_S)
    mesh.kill_agent()
    if mesh.rung == "ebpf":
        assert answers(mortal, REAL, LOST_S) <= LOST_S
    mesh.start()
    answers(mortal, VIP, LOST_S)


def test_an_orderly_end_gives_names_back_at_once(mortal: Scene) -> None:
    assert mortal.ask(HERE) == VIP
    assert mortal.mesh.stop() == 0
    assert {mortal.ask(host, how) for host, how in (*WAYS, (HERE, "tcp"))} == {REAL}
    mortal.mesh.assert_nothing_left(but="cgroup")


def test_a_configured_exclusion_holds_for_names(rung: str) -> None:
    with contextlib.ExitStack() as stack:
        space = stack.enter_context(home())
        stack.enter_context(real_resolver(space, HERE, THERE))
        services = [service("web", "127.0.0.1:9080")]
        excluded = {"outbound_cidrs": [f"{HERE}/32"]}
        mesh = stack.enter_context(Mesh(space, rung=rung, services=services, exclude=excluded))
        name = unique("shop")
        assert mesh.add(name).status == 201
        process = stack.enter_context(app_in(space, Path(our_cgroup(name))))
        process.do(ASK)
        scene = Scene(mesh, process, None, None)  # type: ignore[arg-type]
        assert (scene.ask(HERE), scene.ask(THERE)) == (REAL, VIP)
