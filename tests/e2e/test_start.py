"""What an agent says when it cannot begin, or not as it should: one clear error, and nothing left behind."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.intercept.hooks import attached, foreign
from tests.support.mesh import SOAK_BOTH, START_S, Mesh, service, spawn
from tests.support.namespace import Namespace
from tests.support.namespace_door import cgroup
from tests.support.world import VIP, app, island, unique

pytestmark = pytest.mark.world


@pytest.fixture
def home() -> Iterator[Namespace]:
    with island() as space:
        yield space


@contextlib.contextmanager
def prepared(home: Namespace, rung: str = "ebpf", **settings: object) -> Iterator[Mesh]:
    """A mesh whose agent does not run yet; nothing of it may be left in the end."""
    services = [service("web", "127.0.0.1:9080", vips=[VIP])]
    with Mesh(home, rung=rung, services=services, begin=False, **settings) as mesh:
        yield mesh
        mesh.assert_nothing_left()


def one_error(told: tuple[int, str], *words: str) -> None:
    """The exit code says failure, and one line says all of these."""
    code, said = told
    assert code in (1, 2), told
    assert "Traceback" not in said, said
    errors = [line for line in said.splitlines() if line.startswith("meshtrio: ")]
    assert len(errors) == 1, said
    for word in words:
        assert word in errors[0], errors[0]


def test_the_admin_port_is_taken(home: Namespace) -> None:
    with home.bound("127.0.0.1", 15003), prepared(home) as mesh:
        one_error(mesh.fails_to_start(), "15003", "ports.admin")


def test_a_door_is_taken(home: Namespace, rung: str) -> None:
    """The agent begins, for it may have no workload there; the workload is refused."""
    with home.bound("127.0.0.1", 15002), prepared(home, rung) as mesh:
        mesh.start()
        answer = mesh.add(unique("shop"))
        assert answer.status == 409
        assert "15002" in answer.body["error"]
        assert mesh.stop() == 0


def test_a_configured_workload_that_cannot_be_leaves_nothing(home: Namespace, rung: str) -> None:
    with cgroup() as group:
        workloads = [
            {"name": unique("first"), "cgroup": str(group)},
            {"name": unique("second"), "cgroup": "/there-is-none"},
        ]
        with prepared(home, rung, workloads=workloads) as mesh:
            one_error(mesh.fails_to_start(), "second", "/there-is-none")
            assert attached(group) == {}


def test_a_configured_workload_is_there_at_once(home: Namespace, rung: str) -> None:
    with cgroup() as group:
        name = unique("fixed")
        with prepared(home, rung, workloads=[{"name": name, "cgroup": str(group)}]) as mesh:
            mesh.start()
            with app(home, group) as shop, app(home) as server:
                server.listen("127.0.0.1", 9080, "web")
                assert shop.burst(3, VIP, 80) == {"web": 3}
            assert [one["name"] for one in mesh.status()["workloads"]] == [name]
            assert mesh.stop() == 0
        assert attached(group) == {}


def test_a_second_agent_at_the_same_socket(home: Namespace) -> None:
    with prepared(home) as mesh:
        mesh.start()
        one_error(mesh.fails_to_start(), str(mesh.control), "another agent")
        assert mesh.is_ready()
        assert mesh.stop() == 0


def test_a_second_agent_at_the_same_doors(home: Namespace, rung: str) -> None:
    """It must not share them silently: connections would go to either."""
    with prepared(home, rung) as mesh, prepared(home, rung, ports={"admin": 16003}) as other:
        mesh.start()
        other.start()
        with mesh.workload("shop"):
            answer = other.add(unique("guest"))
            assert answer.status == 409, answer
            assert any(port in answer.body["error"] for port in ("15001", "15002", "15053"))
        assert mesh.stop() == 0
        assert other.stop() == 0


def test_without_root(home: Namespace, tmp_path: Path) -> None:
    with prepared(home) as mesh:
        mesh.folder.chmod(0o777)
        prefix = ["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups"]
        one_error(mesh.fails_to_start(*prefix), "root")


def test_faults_in_the_configuration_are_said_together(home: Namespace) -> None:
    with prepared(home, colour="red", passthrough="perhaps") as mesh:
        code, said = mesh.fails_to_start()
        assert code == 2
        assert "colour" in said
        assert "passthrough" in said
        assert "Traceback" not in said


def unshared(*commands: str) -> list[str]:
    """Words that run what follows in a mount namespace where these were done before."""
    script = " && ".join([*commands, 'exec "$@"'])
    return ["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh"]


def test_without_cgroup_v2(home: Namespace) -> None:
    with prepared(home, "auto") as mesh:
        mesh.agent = spawn(home, mesh.config_file, mesh.log_file, *unshared("umount -l -t cgroup2 -a"))
        mesh.wait(mesh.is_ready, START_S)
        answer = mesh.add(unique("shop"))
        assert answer.status == 409
        assert "cgroup v2 is not mounted" in answer.body["error"]
        assert mesh.stop() == 0


def test_without_a_bpffs_the_agent_mounts_one(home: Namespace) -> None:
    """In a mount namespace of its own here, so nobody else sees it."""
    with prepared(home, "auto") as mesh:
        mesh.agent = spawn(home, mesh.config_file, mesh.log_file, *unshared("umount /sys/fs/bpf"))
        mesh.wait(mesh.is_ready, START_S)
        assert mesh.status()["rung"]["pinned"] is True
        assert not mesh.pins.exists()
        assert mesh.stop() == 0


def test_pins_outside_a_bpffs(home: Namespace) -> None:
    with prepared(home, "auto") as mesh:
        paths = {**mesh.settings["paths"], "pins": str(mesh.folder / "pins")}
        mesh.write_config(paths=paths)
        mesh.start()
        status = mesh.status()["rung"]
        assert (status["in_use"], status["pinned"]) == ("ebpf", False)
        assert "bpffs" in status["pinning_fault"]
        with mesh.workload("shop") as shop, app(home) as server:
            server.listen("127.0.0.1", 9080, "web")
            assert shop.app.burst(3, VIP, 80) == {"web": 3}
            shop.app.process.kill()
        assert mesh.stop() == 0


def test_without_bcc(home: Namespace, tmp_path: Path) -> None:
    """A cold cache, and no compiler: rung R0 with the reason, or a refusal where only eBPF will do."""
    (tmp_path / "bcc.py").write_text("raise ModuleNotFoundError(\"No module named 'bcc'\", name='bcc')\n")
    blind = ["env", f"PYTHONPATH={tmp_path}"]
    for rung in ("ebpf", "auto"):
        with prepared(home, rung) as mesh:
            mesh.write_config(paths={**mesh.settings["paths"], "cache": str(mesh.folder / "cold")})
            if rung == "ebpf":
                one_error(mesh.fails_to_start(*blind), "bcc")
                continue
            mesh.agent = spawn(home, mesh.config_file, mesh.log_file, *blind)
            mesh.wait(mesh.is_ready, START_S)
            status = mesh.status()["rung"]
            assert status["in_use"] == "nft"
            assert "bcc" in status["why"]
            with mesh.workload("shop") as shop, app(home) as server:
                server.listen("127.0.0.1", 9080, "web")
                assert shop.app.burst(3, VIP, 80) == {"web": 3}
                shop.app.process.kill()
            assert mesh.stop() == 0


def test_an_exclusive_program_above_leads_to_nft(home: Namespace) -> None:
    with prepared(home, "auto") as mesh, cgroup() as group:
        inner = group / "inner"
        inner.mkdir()
        try:
            with foreign(group, 0):
                mesh.start()
                answer = mesh.add(unique("shop"), cgroup=str(inner))
                assert answer.status == 201
                assert answer.body["rung"] == "nft"
                assert "exclusively" in answer.body["why"]
                assert str(group) in answer.body["why"]
                with app(home, inner) as shop, app(home) as server:
                    server.listen("127.0.0.1", 9080, "web")
                    assert shop.burst(3, VIP, 80) == {"web": 3}
                assert mesh.stop() == 0
        finally:
            time.sleep(0.05)
            inner.rmdir()


@pytest.mark.parametrize("rung", SOAK_BOTH)
def test_the_cgroup_that_holds_the_agent_is_refused(home: Namespace, rung: str) -> None:
    with prepared(home, rung) as mesh, cgroup() as group:
        mesh.start()
        assert mesh.agent is not None
        (group / "cgroup.procs").write_text(str(mesh.agent.pid))
        answer = mesh.add(unique("own"), cgroup=str(group))
        assert answer.status == 409
        assert "holds meshtrio itself" in answer.body["error"]
        assert mesh.stop() == 0
