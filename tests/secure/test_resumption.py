"""Coming again between two ends of ours: a ticket comes once, is used often, goes when it is not taken."""

import contextlib
import ssl

import pytest

from meshtrio.forward.tcp import close_with_reset
from meshtrio.secure import resumption
from meshtrio.secure.handshake import Secured
from meshtrio.secure.keyring import Keyring
from meshtrio.secure.resumption import NAME_BYTES
from tests.forward.tls_app import SOMEWHERE, secured
from tests.support.rings import CLIENT, CLIENT_ID, SERVER, SERVER_ID, credentials, ring, shown

SEALED_BYTES = 1000
WAYS = pytest.mark.parametrize("names", [True, False], ids=["kept", "sealed"])


def read_and_close(ends: tuple[Secured, Secured]) -> int:
    """Let tickets arrive, and count the bytes in which they came."""
    dialling, dialled = ends
    buffer = memoryview(bytearray(100_000))
    size = len(peeked(dialling))
    with contextlib.suppress(BlockingIOError):
        dialling.end.recv_into(buffer, 20_000)
    close(dialling, dialled)
    return size


def close(*ends: Secured) -> None:
    for one in ends:
        close_with_reset(one.end)


def peeked(dialling: Secured) -> bytes:
    try:
        return dialling.end._sock.recv(10_000, 0x42)
    except BlockingIOError:
        return b""


async def first_time(told: Keyring, *, names: bool) -> int:
    """Let a caller come who is verified in full and gets a ticket of one kind or the other."""
    return read_and_close(await secured(told, offered_bytes=0 if names else None))


@WAYS
async def test_who_resumes_gets_no_other_ticket_and_goes_on_with_the_one_he_has(*, names: bool) -> None:
    told = ring()
    size = await first_time(told, names=names)
    assert 0 < size < 200 if names else size > 600
    for _ in range(3):
        dialling, dialled = await secured(told, offered_bytes=NAME_BYTES if names else SEALED_BYTES)
        assert dialling.resumed
        assert dialled.resumed
        assert str(dialled.peer.spiffe_id) == CLIENT_ID
        assert peeked(dialling) == b""
        close(dialling, dialled)


@WAYS
async def test_a_session_that_is_not_taken_is_forgotten_so_that_the_next_one_can_come(*, names: bool) -> None:
    told, offered_bytes = ring(), NAME_BYTES if names else SEALED_BYTES
    await first_time(told, names=names)
    proof = told.proof(CLIENT)
    assert SOMEWHERE in proof.sessions
    told.learn(credentials(SERVER, SERVER_ID, shown(SERVER_ID, number=500)))
    refused = await secured(told, offered_bytes=offered_bytes)
    assert not refused[0].resumed
    assert SOMEWHERE not in proof.sessions
    close(*refused)
    await first_time(told, names=names)
    last = await secured(told, offered_bytes=offered_bytes)
    assert last[0].resumed
    close(*last)


async def test_what_is_kept_is_bounded_and_more_callers_get_sealed_tickets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resumption, "KEPT_BOUND", 2)
    told = ring()
    sizes = []
    for _ in range(4):
        told.proof(CLIENT).sessions.clear()
        sizes.append(await first_time(told, names=True))
    assert max(sizes[:2]) < 200 < 600 < min(sizes[2:])
    server = told.proof(SERVER).server
    assert server.session_stats()["number"] == 2
    assert not server.options & ssl.OP_NO_TICKET
    last = await secured(told, offered_bytes=SEALED_BYTES)
    assert last[1].resumed
    close(*last)


async def test_whoever_is_no_mesh_leaves_nothing_that_is_kept() -> None:
    told = ring()
    for _ in range(3):
        await first_time(told, names=False)
    assert told.proof(SERVER).server.session_stats()["number"] == 0


def test_a_server_is_set_as_its_caller_comes_and_left_alone_if_it_is_so_already() -> None:
    proof = ring().proof(SERVER)

    def settled(offered_bytes: int | None) -> tuple[int, bool]:
        resumption.settle(proof, offered_bytes)
        return proof.server.num_tickets, bool(proof.server.options & ssl.OP_NO_TICKET)

    for offered_bytes, way in (
        (0, (1, True)),
        (NAME_BYTES, (0, True)),
        (900, (0, False)),
        (None, (1, False)),
    ):
        assert settled(offered_bytes) == way
        proof.server.num_tickets = 5
        assert settled(offered_bytes) == (5, way[1])
