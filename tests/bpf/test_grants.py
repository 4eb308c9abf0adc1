"""World. A workload that has a grant goes to another one itself, past both doors; others do not."""

import socket
from collections.abc import Iterator

import pytest

from meshtrio.intercept import bpf
from meshtrio.intercept.kernel import Kernel
from meshtrio.intercept.layout import EXCLUDED_INBOUND, Reason, excluded_port_key, listener, port_key
from tests.bpf.app import Failed
from tests.bpf.direct import berths_taken, soon
from tests.bpf.neighbours import CALLED, CALLER, SERVED, Neighbours, neighbours_in

pytestmark = [pytest.mark.world, pytest.mark.kernel]

PASSED = {Reason.DIRECT: 1, Reason.PASSED_GRANTED: 1}
SOMEBODY = 9


@pytest.fixture(params=["apart", "together"])
def pair(kernel: Kernel, request: pytest.FixtureRequest) -> Iterator[Neighbours]:
    with neighbours_in(kernel, apart=request.param == "apart") as made:
        yield made


@pytest.fixture
def apart(kernel: Kernel) -> Iterator[Neighbours]:
    with neighbours_in(kernel, apart=True) as made:
        made.serve()
        made.grant(CALLER)
        yield made


def test_a_socket_of_ipv6_that_dials_a_mapped_address_passes_too(pair: Neighbours) -> None:
    pair.serve()
    pair.grant(CALLER)
    mine, peer = pair.caller.dial(f"::ffff:{pair.vip.host}", 80)
    assert pair.arrived() == mine
    assert peer == pair.vip
    assert pair.caller.counted() == PASSED


@pytest.mark.parametrize("v6", [False, True])
@pytest.mark.parametrize("is_apart", [False, True])
def test_who_has_a_grant_passes_both_doors(kernel: Kernel, v6: bool, is_apart: bool) -> None:
    with neighbours_in(kernel, apart=is_apart, v6=v6) as pair:
        pair.serve()
        pair.grant(CALLER)
        mine, peer = pair.dial()
        assert pair.arrived() == mine, "the called process sees the caller itself"
        assert peer == pair.vip, "and the caller what it dialled"
        assert pair.caller.counted() == PASSED
        pair.caller.app.do("kept.sendall(b'question'); said = 1")
        assert pair.called.app.do("said = got.recv(99).decode(); got.sendall(b'answer')") == "question"
        assert pair.caller.app.do("said = kept.recv(99).decode()") == "answer"
        ((_, live),) = pair.maps.live()
        assert (live.workload, live.called, live.member) == (CALLER, CALLED, pair.member)
        assert pair.passages() == 1, "as long as it lives"
        pair.caller.app.do("kept.close()")
        pair.called.app.do("got.close()")
        assert soon(lambda: pair.passages() == 0)


def test_who_has_none_goes_to_the_worker(pair: Neighbours) -> None:
    pair.serve()
    pair.grant(SOMEBODY)
    pair.dial()
    assert pair.at_outbound_door()
    pair.grant(SOMEBODY, CALLER)
    pair.dial()
    pair.arrived()
    pair.caller.app.do("standing = kept")
    pair.grant()
    pair.dial()
    assert pair.at_outbound_door()
    assert pair.passages() == 1, "the one that stands goes on"
    pair.caller.app.do("standing.sendall(b'question'); kept.close()")
    assert pair.called.app.do("said = got.recv(99).decode()") == "question"


def test_a_grant_ends_by_itself(apart: Neighbours) -> None:
    apart.grant(CALLER, for_s=-2)
    apart.dial()
    assert apart.at_outbound_door()
    apart.grant(CALLER, for_s=2)
    apart.dial()
    apart.arrived()


def test_a_grant_is_for_the_members_of_which_it_was_said(apart: Neighbours) -> None:
    apart.serve()
    apart.dial()
    assert apart.at_outbound_door(), "the slots were written anew since"
    apart.grant(CALLER)
    apart.dial()
    apart.arrived()


def test_whoever_is_not_granted_is_caught_at_the_same_port_meanwhile(pair: Neighbours) -> None:
    """Not the address passes, nor the source alone, but this one connection."""
    pair.serve()
    pair.grant(CALLER)
    mine, _ = pair.dial()
    pair.arrived()
    with pair.caller.space.tcp_socket(pair.family) as stranger:
        stranger.settimeout(3)
        stranger.connect((pair.member.host, SERVED))
        assert pair.at_inbound_door()
    with pair.caller.space.tcp_socket(pair.family) as other:
        # The same source, to another port of the same workload.
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.settimeout(3)
        pair.called.app.do("second = socket.create_server((host, 8081))", host=pair.member.host)
        pair.caller.app.do("kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)")
        other.bind((mine.host, mine.port))
        other.connect((pair.member.host, 8081))
        assert pair.at_inbound_door()


WAYS_TO_SEND = (
    "kept.sendall(b'secret')",
    "kept.send(b's', socket.MSG_OOB)",
    "import os; file = os.memfd_create('x'); os.write(file, b'secret')"
    "; os.sendfile(kept.fileno(), file, 0, 6)",
    "import os; read, write = os.pipe(); os.write(write, b'secret'); libc.splice.restype = ctypes.c_ssize_t"
    "\nif libc.splice(read, None, kept.fileno(), None, 6, 0) < 0: raise OSError(ctypes.get_errno(), '')",
)


def stopped(pair: Neighbours) -> None:
    """Dial, and see that nothing leaves."""
    pair.dial()
    for way in WAYS_TO_SEND:
        with pytest.raises(Failed, match="EACCES"):
            pair.caller.app.do(way)
    assert pair.caller.counted()[Reason.STOPPED_ASTRAY] == 1
    assert pair.passages() == 0
    assert list(pair.maps.live()) == []
    (ended,) = pair.maps.ended(10)
    assert (ended.astray, ended.called, ended.sent) == (True, CALLED, 0)


def test_what_comes_to_another_workload_is_stopped(pair: Neighbours) -> None:
    """As when a port has been taken over."""
    pair.serve()
    pair.grant(CALLER)
    key = port_key(pair.called.netns.id, SERVED)
    bpf.update(pair.called.kernel.maps["ports"], key, listener(SOMEBODY, 1))
    stopped(pair)
    is_apart = pair.caller.netns.id != pair.called.netns.id
    assert pair.at_inbound_door() is not is_apart, "within a namespace it is caught, as anybody's"


def test_what_comes_to_another_namespace_is_stopped(apart: Neighbours) -> None:
    """As when an address has moved: nobody there looks who comes."""
    apart.serve(netns=apart.called.netns.id + 1)
    apart.grant(CALLER)
    stopped(apart)
    assert not apart.at_inbound_door(), "not even the last word of its handshake has left"


def test_what_was_translated_on_the_way_is_stopped(apart: Neighbours) -> None:
    """It came to the right workload, but nobody there can know whose it is."""
    apart.called.space.command("nft", "add", "table", "ip", "nat")
    apart.called.space.command(
        "nft", "add", "chain", "ip", "nat", "in", "{ type nat hook input priority 100; }"
    )
    apart.called.space.command("nft", "add", "rule", "ip", "nat", "in", "ip saddr 10.7.0.1 snat to 10.7.0.77")
    stopped(apart)
    assert not apart.at_inbound_door()


@pytest.mark.parametrize("arrives", [True, False])
def test_multipath_tcp_gets_nothing_out_either(apart: Neighbours, arrives: bool) -> None:
    """It sends past sk_msg."""
    try:
        apart.caller.app.do("kept = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)")  # IPPROTO_MPTCP
    except Failed as none:
        pytest.skip(f"this kernel has no MPTCP: {none}")
    if not arrives:
        apart.serve(netns=apart.called.netns.id + 1)
        apart.grant(CALLER)
    apart.caller.app.do("kept.connect((host, 80)); kept.sendall(b'secret')", host=apart.vip.host)
    if arrives:
        apart.arrived()
        assert apart.called.app.do("said = got.recv(99).decode()") == "secret"
        return
    assert not apart.at_inbound_door()


def test_a_send_that_has_waited_for_the_handshake_gets_nothing_out_either(apart: Neighbours) -> None:
    """It sends past sk_msg, too, for it has begun before that was there."""
    apart.serve(netns=apart.called.netns.id + 1)
    apart.grant(CALLER)
    nft = apart.called.space.command
    nft("nft", "add", "table", "ip", "slow")
    nft("nft", "add", "chain", "ip", "slow", "in", "{ type filter hook input priority 0; }")
    nft("nft", "add", "rule", "ip", "slow", "in", "tcp flags syn tcp dport 8080 drop")
    apart.caller.heartbeat.beat()
    apart.caller.app.do(
        "import threading; kept = tcp(host); kept.setblocking(False); kept.connect_ex((host, 80))"
        "; kept.setblocking(True); waiting = threading.Thread(target=kept.send, args=(b'secret',))"
        "; waiting.daemon = True; waiting.start()",
        host=apart.vip.host,
    )
    nft("nft", "delete", "table", "ip", "slow")
    assert soon(lambda: bool(apart.maps.ended(10))), "the second SYN has come, a second later"
    assert not apart.at_inbound_door(1.0)


def test_a_connect_that_nobody_answers_leaves_nothing(apart: Neighbours) -> None:
    apart.called.app.do("app.close()")
    with pytest.raises(Failed, match="ECONNREFUSED"):
        apart.dial()
    assert soon(lambda: apart.passages() == 0)
    (ended,) = apart.maps.ended(10)
    assert not ended.astray


def test_syn_cookies_look_a_connection_up_twice(apart: Neighbours) -> None:
    apart.called.space.set_sysctl("net.ipv4.tcp_syncookies", "2")
    mine, _ = apart.dial()
    assert apart.arrived() == mine
    apart.caller.app.do("kept.sendall(b'question'); said = 1")
    assert apart.called.app.do("said = got.recv(99).decode()") == "question"


def test_who_cannot_be_remembered_goes_to_the_worker(apart: Neighbours) -> None:
    """Or it would come to the door as anybody's."""
    crowd = apart.caller.kernel.maps["direct_live"]
    most = next(one.max_entries for one in apart.caller.kernel.compiled.maps if one.name == "direct_live")
    keys = [(1 << 62 | at).to_bytes(8, "little") for at in range(most)]
    size = next(one.value_bytes for one in apart.caller.kernel.compiled.maps if one.name == "direct_live")
    with berths_taken(apart.caller):
        try:
            assert bpf.update_many(crowd, keys, bytes(size)) == most
            apart.dial()
            assert apart.at_outbound_door()
            counted = apart.caller.counted()
            assert (counted[Reason.FULL_LIVE], counted[Reason.MISSED_MEMBER]) == (1, 1)
        finally:
            for key in keys:
                bpf.delete(crowd, key)


def test_who_was_granted_to_come_has_arrived_though_the_port_is_excluded_since(apart: Neighbours) -> None:
    with apart.called.excluded("excluded_ports", excluded_port_key(EXCLUDED_INBOUND, SERVED)):
        mine, _ = apart.dial()
        assert apart.arrived() == mine
        apart.caller.app.do("kept.sendall(b'question'); said = 1")
        assert Reason.STOPPED_ASTRAY not in apart.caller.counted()


def test_a_connection_that_cannot_be_noted_is_stopped_and_counted(apart: Neighbours) -> None:
    table = apart.caller.kernel.maps["passages"]
    most = next(one.max_entries for one in apart.caller.kernel.compiled.maps if one.name == "passages")
    keys = [at.to_bytes(48, "little") for at in range(most)]
    try:
        bpf.update_many(table, keys, bytes(16))
        apart.dial()
        with pytest.raises(Failed, match="EACCES"):
            apart.caller.app.do("kept.sendall(b'secret')")
        counted = apart.caller.counted()
        assert (counted[Reason.FULL_PASSAGES], counted[Reason.STOPPED_ASTRAY]) == (1, 1)
    finally:
        for key in keys:
            bpf.delete(table, key)


def test_a_workload_that_wants_none_is_relayed(apart: Neighbours) -> None:
    apart.caller.describe(relayed=True)
    apart.dial()
    assert apart.at_outbound_door()


def test_what_no_hook_sees_end_is_forgotten(apart: Neighbours) -> None:
    apart.dial()
    apart.arrived()
    apart.maps.sweep_passages()
    assert apart.passages() == 1, "it lives"
    assert len(apart.maps.lose(CALLER)) == 1
    assert apart.passages() == 0


def test_without_anybody_who_serves_the_doors_the_policy_of_the_workload_decides(apart: Neighbours) -> None:
    apart.caller.heartbeat.silence()
    apart.caller.describe(closed=True)
    with pytest.raises(Failed, match="EPERM"):
        apart.caller.dial(apart.vip.host)
    mine, _ = apart.dial()
    assert apart.arrived() == mine
