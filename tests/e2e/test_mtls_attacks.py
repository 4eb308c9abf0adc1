"""Strangers at the door of a strict workload, with a real agent behind it: none gets in, none costs us much.

The door is the same on both rungs once a connection is through it, so one rung is enough here; see
test_mtls_interop for both.
"""

import contextlib
import json
import socket
import ssl
import time
from collections.abc import Iterator

import pytest

from tests.support.attackers import ATTACKS, FRIEND, ByHand, context_of, friend
from tests.support.fort import DRAIN_S, HANDSHAKE_S, PORT, Fort, fort_of, rss
from tests.support.hellos import extension, hello, records, vector
from tests.support.world import VIP

pytestmark = pytest.mark.world


@pytest.fixture(scope="module")
def rung() -> str:
    return "ebpf"


@pytest.fixture(scope="module")
def fort(rung: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fort]:
    with fort_of(rung, tmp_path_factory.mktemp("root")) as made:
        yield made


@pytest.fixture(autouse=True)
def nobody_was_hurt(fort: Fort) -> Iterator[None]:
    yield
    assert fort.is_well()


def test_a_friend_gets_in(fort: Fort) -> None:
    with fort.call() as call:
        assert json.loads(call.greeted(context_of(friend())))["name"] == "web"
    ended = fort.ended(call)
    assert (ended["peer"], ended["tls"], ended["outcome"]) == (FRIEND, "TLSv1.3", "client_reset")


@pytest.mark.parametrize("attack", ATTACKS)
def test_who_cannot_prove_it_is_refused(fort: Fort, attack: str) -> None:
    what, why = ATTACKS[attack]
    with fort.call() as call:
        assert call.greeted(context_of(what())) == b""
    ended = fort.ended(call)
    assert ended["outcome"] == "client_tls"
    assert why in ended["detail"]
    assert ended["peer"] == ""


def test_an_old_version_is_refused(fort: Fort) -> None:
    context = context_of(friend())
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with fort.call() as call:
        assert call.greeted(context) == b""
    ended = fort.ended(call)
    assert (ended["outcome"], "protocol" in ended["detail"]) == ("client_tls", True)


@pytest.mark.parametrize("spoken", ["http1", "tls"])
def test_what_is_not_of_a_mesh_is_refused(fort: Fort, spoken: str) -> None:
    context = context_of(friend())
    context.set_alpn_protocols(["h2", "http/1.1"])
    with fort.call() as call:
        if spoken == "tls":
            assert call.greeted(context) == b""
        else:
            call.sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert call.ends()
    ended = fort.ended(call)
    assert ended["outcome"] == "plaintext"
    assert ended["detail"] == f"port {PORT} wants mutual TLS, and the caller speaks {spoken}"


def test_a_hello_in_single_bytes_is_served(fort: Fort) -> None:
    tls = ByHand(context_of(friend()))
    with fort.call() as call:
        for byte in tls.words:
            call.sock.sendall(bytes((byte,)))
        assert json.loads(tls.greeted(call.sock))["name"] == "web"


@pytest.mark.parametrize("where", ["before", "behind"])
def test_a_hello_of_a_megabyte_is_not_read(fort: Fort, where: str) -> None:
    """Our protocol stands before what is too long, or behind it, where nobody looks for it."""
    ours = extension(16, vector(2, vector(1, b"meshtrio/1")))
    long = extension(0x1234, bytes(65_000))
    extensions = (ours, long) if where == "before" else (long, ours)
    with fort.call() as call:
        with contextlib.suppress(OSError):
            call.sock.sendall(records(hello(*extensions, tail=bytes(1_000_000))))
        assert call.ends()
    assert fort.ended(call)["outcome"] in ("client_tls", "plaintext")


def test_who_dribbles_is_not_waited_for(fort: Fort) -> None:
    """Some stop before anyone can know what they speak, some amid the handshake, and all send on slowly."""
    words = ByHand(context_of(friend())).words
    with contextlib.ExitStack() as stack:
        calls = [stack.enter_context(fort.call()) for _ in range(100)]
        for number, call in enumerate(calls):
            call.sock.sendall(words[:20] if number % 2 else words)
        began = time.monotonic()
        while time.monotonic() < began + HANDSHAKE_S + 1:
            for call in calls:
                with contextlib.suppress(OSError):
                    call.sock.sendall(b"\x16")
            time.sleep(0.25)
        assert all(call.ends() for call in calls)
    ends = [fort.ended(call) for call in (calls[0], calls[1], calls[-2], calls[-1])]
    assert [one["outcome"] for one in ends] == ["client_tls", "plaintext"] * 2
    assert all(one["lasted_s"] < 2 * HANDSHAKE_S + 1 for one in ends)


@pytest.mark.slow
def test_a_good_client_does_not_notice_those_who_give_up(fort: Fort) -> None:
    """Two thousand handshakes, each left alone at another point."""
    context = context_of(friend())
    before = rss(fort.worker)
    fort.client.app.tell("steady", name="good", host=VIP, port=80, every=0.02)
    for number in range(2000):
        words = ByHand(context).words
        with fort.call() as call:
            call.sock.sendall(words[: 1 + number % len(words)] if number % 3 else words)
            if number % 3 == 0:
                call.sock.recv(100)
            if number % 2:
                call.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    seen = fort.client.app.tell("steadied", name="good", end=True)["seen"]
    assert len(seen) > 10
    assert {who for _, who, _ in seen} == {"web"}
    assert rss(fort.worker) < before + (16 << 20)


@pytest.mark.parametrize("by", ["id", "serial"])
def test_the_revoked_are_cut_off(fort: Fort, by: str) -> None:
    """New handshakes are refused, tickets open nothing, and what is there ends after identity.drain_s."""
    who = f"{FRIEND}-{by}"
    what = friend(who, number=0xBAD0 + len(by))
    context = context_of(what)
    with fort.call() as first:
        assert first.greeted(context)
        assert first.tls is not None
        session = first.tls.session
        with fort.call() as again:
            assert again.greeted(context, session)
            assert again.tls is not None and again.tls.session_reused
        began = time.monotonic()
        fort.revoke({"id": who} if by == "id" else {"serial": f"{0xBAD0 + len(by):x}"})
        with fort.call() as replayed:
            assert replayed.greeted(context, session) == b""
        with fort.call() as new:
            assert new.greeted(context) == b""
        for refused in (replayed, new):
            ended = fort.ended(refused)
            assert ended["outcome"] == "client_tls"
            assert "revoked" in ended["detail"]
        with pytest.raises((ConnectionError, ssl.SSLError)):
            first.tls.sendall(b"still there?")
            while first.tls.recv(100):
                first.tls.sendall(b"and now?")
                time.sleep(0.05)
            raise ConnectionError
        assert time.monotonic() - began >= DRAIN_S
    assert fort.ended(first)["peer"] == who
    with fort.call() as other:
        assert other.greeted(context_of(friend()))  # of the same authority
    fort.revoke()
    with fort.call() as forgiven:
        assert forgiven.greeted(context)
