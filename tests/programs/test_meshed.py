"""Shell. Real programs, unmodified, through the mesh: each client dials a virtual IP, on all rungs."""

import socket
from typing import Any

import pytest

from tests.programs.table import PROGRAMS
from tests.support.granted_outing import granted_prefixes
from tests.support.outing import VIP, VIP6, mesh_prefix
from tests.support.programs import Program
from tests.support.world import RIGHT

HOSTS = {VIP: "127.0.0.1", VIP6: "::1"}


def free_address(host: str) -> tuple[str, int]:
    with socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as sock:
        return host, sock.getsockname()[1]


def through_the_mesh(program: Program, rung: str, vip: str) -> None:
    if program.skip_reason:
        pytest.skip(program.skip_reason)
    address = free_address(HOSTS[vip])
    dialled = (vip, address[1])
    with program.serving(address), mesh_prefix(rung, {dialled: address}) as prefix:
        program.try_out(dialled, prefix=prefix)


def past_the_mesh(program: Program) -> None:
    """Run server and client as workloads of one agent; all that the client opens is granted."""
    if program.skip_reason:
        pytest.skip(program.skip_reason)
    address, dialled = (RIGHT, 9000), (VIP, 9000)
    with (
        granted_prefixes({dialled: address}, apart=True) as granted,
        program.serving(address, prefix=granted.called),
    ):
        granted.serve()
        program.try_out(dialled, prefix=granted.caller)
        assert granted.passed()


def marks(program: Program, *always: str) -> Any:
    """Those that differ most in how they speak are always run, the others in the soak."""
    return () if program.name in always else pytest.mark.soak


def on_both_rungs(program: Program) -> list[Any]:
    return [
        pytest.param(program, "ebpf", id=f"{program.name}-ebpf"),
        pytest.param(
            program, "nft", id=f"{program.name}-nft", marks=marks(program, "curl", "nginx", "mariadb")
        ),
    ]


@pytest.mark.world
@pytest.mark.parametrize(("program", "rung"), [one for program in PROGRAMS for one in on_both_rungs(program)])
def test_program_works_through_the_mesh(program: Program, rung: str) -> None:
    through_the_mesh(program, rung, VIP)


@pytest.mark.world
@pytest.mark.rung("r5")
@pytest.mark.parametrize(
    "program",
    # Not curl: its server asks for its own name first, and in a namespace nobody answers.
    [pytest.param(one, id=one.name, marks=marks(one, "nginx", "mariadb")) for one in PROGRAMS],
)
def test_program_works_past_the_mesh(program: Program) -> None:
    past_the_mesh(program)


@pytest.mark.world
@pytest.mark.soak
@pytest.mark.parametrize("rung", ["ebpf", "nft"])
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_program_works_through_the_mesh_by_ipv6(program: Program, rung: str) -> None:
    through_the_mesh(program, rung, VIP6)
