"""Shell. Real programs over mutual TLS between two workloads, and direct: those that ask most of a socket."""

from collections.abc import Iterator

import pytest

from tests.programs.table import PROGRAMS
from tests.support.programs import Program
from tests.support.wired import HOSTS, PORTS, WAYS, Wired, wired
from tests.support.world import VIP

pytestmark = pytest.mark.world

USUAL = ("nginx", "node", "haproxy-splice")


@pytest.fixture(scope="module", params=WAYS)
def ends(request: pytest.FixtureRequest) -> Iterator[Wired]:
    """Both ends of a way, which all programs share."""
    with wired(request.param) as made:
        yield made


@pytest.mark.parametrize(
    "vip", [VIP, *(pytest.param(vip, marks=pytest.mark.soak) for vip in HOSTS if vip != VIP)]
)
@pytest.mark.parametrize(
    "program",
    [pytest.param(one, id=one.name, marks=() if one.name in USUAL else pytest.mark.soak) for one in PROGRAMS],
)
def test_program_works_over_the_wire(ends: Wired, program: Program, vip: str) -> None:
    if program.skip_reason:
        pytest.skip(program.skip_reason)
    direct = ends.mesh.hooks().get("direct", 0)
    with program.serving((HOSTS[vip], PORTS[0]), prefix=ends.server):
        program.try_out((vip, PORTS[0]), prefix=ends.client)
    ended = ends.mesh.wait(lambda: [one for one in ends.mesh.ended() if one["outcome"] == "carried"])
    if ends.mesh.hooks().get("direct", 0) == direct:
        assert {one["tls"] for one in ended} == {"TLSv1.3"}
