"""Tickets between two ends of ours: each is issued once, used often, and forgotten when it is not taken."""

import contextlib

from meshtrio.secure.handshake import Secured
from tests.forward.tls_app import SOMEWHERE, secured
from tests.support.rings import CLIENT, SERVER, SERVER_ID, credentials, ring, shown


def read_and_close(ends: tuple[Secured, Secured]) -> int:
    """Let tickets arrive, and count the bytes in which they came."""
    dialling, dialled = ends
    buffer = memoryview(bytearray(100_000))
    size = len(peeked(dialling))
    with contextlib.suppress(BlockingIOError):
        dialling.end.recv_into(buffer, 20_000)
    for one in (dialling, dialled):
        one.end.close()
    return size


async def test_who_resumes_gets_no_other_ticket_and_goes_on_with_the_one_he_has() -> None:
    told = ring()
    assert read_and_close(await secured(told)) > 100
    for _ in range(3):
        dialling, dialled = await secured(told, resumes=True)
        assert dialling.resumed
        assert dialled.resumed
        assert peeked(dialling) == b""
        for one in (dialling, dialled):
            one.end.close()


def peeked(dialling: Secured) -> bytes:
    try:
        return dialling.end._sock.recv(10_000, 0x42)
    except BlockingIOError:
        return b""


async def test_a_session_that_is_not_taken_is_forgotten_so_that_the_next_one_can_come() -> None:
    told = ring()
    read_and_close(await secured(told))
    proof = told.proof(CLIENT)
    assert SOMEWHERE in proof.sessions
    told.learn(credentials(SERVER, SERVER_ID, shown(SERVER_ID, number=500)))
    refused = await secured(told, resumes=True)
    assert not refused[0].resumed
    assert SOMEWHERE not in proof.sessions
    for one in refused:
        one.end.close()
    read_and_close(await secured(told))
    last = await secured(told, resumes=True)
    assert last[0].resumed
    for one in last:
        one.end.close()
