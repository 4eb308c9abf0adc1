"""World. A connect to a member that fails before it begins: no SYN left, so only the hooks know of it."""

import contextlib
from collections.abc import Iterator

import pytest

from meshtrio.address import Address
from meshtrio.intercept.direct_layout import Carried, Pick
from tests.bpf.direct import Direct, berths_taken, direct_in
from tests.bpf.pod import HERE, VIP, WORKLOAD, Pod, accept

pytestmark = [pytest.mark.world, pytest.mark.kernel]

MEMBER = Address.of("203.0.113.7", 80)
FAIL = """
kept = socket.socket()
try: kept.connect((host, 80))
except OSError as failed: said = errno.errorcode[failed.errno]
"""


@pytest.fixture(params=[False, True], ids=["berth", "crowded"])
def unreachable(pod: Pod, request: pytest.FixtureRequest) -> Iterator[Direct]:
    """Have a service to whose member there is no way, so that connects fail before they begin."""
    with (
        berths_taken(pod) if request.param else contextlib.nullcontext(),
        direct_in(pod, VIP, [HERE]) as made,
    ):
        made.maps.put(made.vip, Pick.TURNS, [MEMBER])
        yield made


def followed(direct: Direct) -> int:
    return sum(direct.followed())


def carried(direct: Direct) -> Carried:
    return direct.maps.carried()[direct.vip, MEMBER]


def test_a_connect_that_did_not_begin_leaves_nothing_behind(unreachable: Direct) -> None:
    assert unreachable.pod.app.do(FAIL, host=VIP) == "ENETUNREACH"
    assert followed(unreachable) == 1
    assert list(unreachable.maps.live()) == [], "it is not there for anybody"
    unreachable.pod.app.do("kept.close()")
    assert followed(unreachable) == 0
    assert unreachable.maps.ended(10) == []


def test_a_socket_whose_connect_did_not_begin_is_not_followed_elsewhere(unreachable: Direct) -> None:
    unreachable.pod.app.do(FAIL, host=VIP)
    with unreachable.pod.space.bound("127.0.0.1", 0) as there:
        unreachable.pod.app.do("kept.connect(('127.0.0.1', port))", port=there.getsockname()[1])
        accept(there)
    assert followed(unreachable) == 0
    assert carried(unreachable) == Carried()


def test_a_socket_whose_connect_did_not_begin_may_be_redirected(unreachable: Direct) -> None:
    unreachable.pod.app.do(FAIL, host=VIP)
    unreachable.pod.app.do("kept.connect((host, 81)); said = kept.getpeername()", host=VIP)
    origin = unreachable.pod.at_door().origin
    assert origin is not None and origin.destination == Address.of(VIP, 81)
    assert unreachable.pod.app.do("said = kept.getpeername()") == [VIP, 81]
    unreachable.pod.app.do("kept.close()")
    assert (followed(unreachable), carried(unreachable)) == (0, Carried())


def test_what_did_not_begin_goes_with_the_hooks(unreachable: Direct) -> None:
    unreachable.pod.app.do(FAIL, host=VIP)
    unreachable.pod.hooks.detach()
    assert unreachable.maps.lose(WORKLOAD + 1) == []
    assert followed(unreachable) == 1, "another workload's"
    assert unreachable.maps.lose(WORKLOAD) == [], "it was no connection"
    assert (followed(unreachable), carried(unreachable)) == (0, Carried())
