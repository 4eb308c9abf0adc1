"""World. Programs at their places: replaced without a gap, pinned or gone with their process."""

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from meshtrio.intercept.attachment import CgroupHooks, NetnsHook, remove_pins
from meshtrio.intercept.kernel import CGROUP_HOOKS, Kernel
from meshtrio.intercept.layout import Reason, WorkloadWords
from meshtrio.intercept.netns import Netns
from meshtrio.intercept.tables import Destinations, Heartbeat
from tests.bpf.app import App, Failed, app_in
from tests.bpf.pod import HERE, VIP, Pod, accept, pod_in, waiting
from tests.intercept.hooks import another, attached, lookups, opened_netns, vanished
from tests.support.namespace import Namespace
from tests.support.namespace_door import cgroup

pytestmark = [pytest.mark.world, pytest.mark.kernel]


def test_a_hundred_replacements_leave_no_gap(kernel: Kernel, bpffs: Path) -> None:
    """Nothing leads to VIP but the hooks, so a connect in a gap fails at once."""
    with (
        another(kernel, bpffs) as one,
        another(kernel, bpffs) as other,
        Namespace() as space,
        pod_in(one, space) as pod,
    ):
        pod.hooks.detach()
        pod.hooks = CgroupHooks(one, pod.group, bpffs / "shop")
        pod.describe()
        pod.app.do(
            """
made, failed, stop = 0, [], threading.Event()
def loop():
    global made
    while not stop.is_set():
        try:
            dial(host, 80).close()
            made += 1
        except OSError as error:
            failed.append(repr(error))
        time.sleep(0.0005)
thread = threading.Thread(target=loop)
thread.start()
""",
            host=VIP,
        )
        programs = set()
        came = 0
        turn = 0
        while turn < 100 or came < 50:  # until there were enough of both
            turn += 1
            pod.hooks.let_go()
            pod.hooks = CgroupHooks((other, one)[turn % 2], pod.group, bpffs / "shop")
            programs.update(attached(pod.group)["connect4"])
            came += drained(pod)
        made, failed = pod.app.do("stop.set(); thread.join(); said = [made, failed]")
        came += drained(pod)
        assert failed == []
        assert made == came
        assert len(programs) == 2, "they were replaced"
        assert pod.counted() == {Reason.REDIRECTED: made}
        pod.hooks.detach()
    assert [path.name for path in bpffs.iterdir()] == ["maps"]


def drained(pod: Pod) -> int:
    """Accept all that waits at the IPv4 door, each with its destination."""
    door = pod.outbound.by_family(socket.AF_INET)
    assert door
    count = 0
    while waiting(door, 0):
        assert pod.at_door().origin is not None
        count += 1
    return count


def ends_at_once(what: Callable[[], object]) -> None:
    """Run it in a process of its own that then ends without any clean-up, as if it was killed."""
    pid = os.fork()
    if pid == 0:
        try:
            what()
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0


@contextlib.contextmanager
def bare() -> Iterator[tuple[Netns, Path, App, socket.socket]]:
    """A process in a namespace and a cgroup, and a door; no hooks."""
    with (
        Namespace() as space,
        cgroup() as group,
        app_in(space, group) as app,
        opened_netns(space) as netns,
        space.bound("127.0.0.1", 0) as door,
    ):
        yield netns, group, app, door


def words(netns: Netns, door: socket.socket, *, closed: bool = False) -> WorkloadWords:
    port = door.getsockname()[1]
    return WorkloadWords(netns=netns.id, id=9, closed=closed, check_netns=True, door4=port, door6=0)


def test_pinned_hooks_survive_their_process_and_are_adopted(kernel: Kernel, bpffs: Path) -> None:
    pins = bpffs / "links" / "shop"
    with bare() as (netns, group, app, door):

        def agent() -> None:
            with another(kernel, bpffs) as mine:
                CgroupHooks(mine, group, pins).describe(words(netns, door))
                Heartbeat(mine.maps["heartbeat"]).beat()
                os._exit(0)

        ends_at_once(agent)
        app.do("one = dial(host, 80)", host=VIP)
        source, _ = accept(door)
        before = attached(group)
        assert set(before) == set(CGROUP_HOOKS)

        with another(kernel, bpffs) as successor:
            assert successor.adopted
            hooks = CgroupHooks(successor, group, pins)
            after = attached(group)
            assert set(after) == set(CGROUP_HOOKS)
            assert all(len(ids) == 1 and ids != before[name] for name, ids in after.items()), "new programs"

            # What the dead agent's hooks remembered is found, and what it described still holds.
            origin = Destinations(successor.maps["destinations"]).take(
                netns.id, source, door.getsockname()[1]
            )
            assert origin is not None
            assert (str(origin.destination), origin.workload) == (f"{VIP}:80", 9)
            Heartbeat(successor.maps["heartbeat"]).beat()
            app.do("two = dial(host, 81)", host=VIP)
            accept(door)
            hooks.detach()
            assert attached(group) == {}
            assert not pins.exists()


def test_held_hooks_vanish_with_their_process(kernel: Kernel) -> None:
    with bare() as (netns, group, app, door):

        def short() -> None:
            with another(kernel, None) as mine:
                CgroupHooks(mine, group, None).describe(words(netns, door, closed=True))
                NetnsHook(mine, netns, None, closed=True)
                os._exit(0 if set(attached(group)) == set(CGROUP_HOOKS) else 1)

        ends_at_once(short)
        assert vanished(group)
        assert lookups(netns.descriptor) == []
        with pytest.raises(Failed, match="ENETUNREACH"):  # closed would have been EPERM
            app.do("dial(host, 80)", host=VIP)


def test_letting_go_keeps_what_is_pinned_and_drops_what_is_held(kernel: Kernel, bpffs: Path) -> None:
    with cgroup() as group:
        pinned = CgroupHooks(kernel, group, bpffs / "shop")
        pinned.let_go()
        assert set(attached(group)) == set(CGROUP_HOOKS)
        remove_pins(bpffs / "shop")
        assert vanished(group)
        held = CgroupHooks(kernel, group, None)
        held.let_go()
        assert vanished(group)


def test_pins_of_a_cgroup_that_is_gone_are_made_anew(kernel: Kernel, bpffs: Path) -> None:
    with cgroup() as group:
        CgroupHooks(kernel, group, bpffs / "shop").let_go()
    with cgroup() as group:
        hooks = CgroupHooks(kernel, group, bpffs / "shop")
        assert set(attached(group)) == set(CGROUP_HOOKS)
        hooks.detach()


def test_pins_of_a_cgroup_that_is_another_now_move_to_it(kernel: Kernel, bpffs: Path) -> None:
    """A workload of the same name came back in another cgroup, and its old one still lives."""
    with cgroup() as old, cgroup() as new:
        CgroupHooks(kernel, old, bpffs / "shop").let_go()
        hooks = CgroupHooks(kernel, new, bpffs / "shop")
        assert set(attached(new)) == set(CGROUP_HOOKS)
        assert attached(old) == {}
        hooks.detach()


def test_the_hook_of_a_namespace_is_pinned_adopted_and_removed(pod: Pod, bpffs: Path) -> None:
    pins = bpffs / "netns" / "1"
    pod.app.do("app = socket.create_server((host, 8080)); app.settimeout(2)", host=HERE)
    with pod.space.bound("127.0.0.1", 0) as door:
        first = NetnsHook(pod.kernel, pod.netns, pins, closed=False)
        first.install(door)
        before = lookups(pod.space.fd)
        first.let_go()
        assert lookups(pod.space.fd) == before

        second = NetnsHook(pod.kernel, pod.netns, pins, closed=False)
        after = lookups(pod.space.fd)
        assert len(after) == 1
        assert after != before
        with pod.space.tcp_socket() as caller:  # the door of the predecessor is still in its map
            caller.connect((HERE, 8080))
            accept(door)
    second.detach()
    assert lookups(pod.space.fd) == []
    assert not pins.exists()


def test_pins_of_another_namespace_move_to_this_one(kernel: Kernel, bpffs: Path) -> None:
    with Namespace() as old, Namespace() as new:
        for space in (old, new):
            with opened_netns(space) as netns:
                NetnsHook(kernel, netns, bpffs / "netns", closed=False).let_go()
        assert lookups(old.fd) == []
        assert len(lookups(new.fd)) == 1
        remove_pins(bpffs / "netns")
