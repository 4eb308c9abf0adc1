"""A session is offered as a copy: both ways do the same, and what was kept stays as good as new."""

import contextlib
import gc
import os
import ssl
import sys
from pathlib import Path

import pytest

from meshtrio.secure import offering
from meshtrio.secure.keyring import Keyring, Proof
from meshtrio.secure.offering import Kept
from meshtrio.secure.resumption import NAME_BYTES
from tests.forward.tls_app import SOMEWHERE, secured
from tests.secure.test_resumption import first_time
from tests.support.rings import CLIENT, ring

OFFERS = 10_000
PAGE = os.sysconf("SC_PAGE_SIZE")


@pytest.fixture(params=["direct", "by ssl"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "by ssl":
        monkeypatch.setattr(offering, "_openssl", None)
    elif offering._openssl is None:
        pytest.skip("the objects of this ssl are not known")
    return str(request.param)


async def kept(told: Keyring) -> tuple[Proof, Kept]:
    await first_time(told, names=True)
    proof = told.proof(CLIENT)
    return proof, proof.sessions[SOMEWHERE][0]


def dialling(proof: Proof, session: Kept) -> ssl.SSLObject:
    made = proof.client.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO())
    session.offer(made)
    return made


def rss_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


async def test_it_is_resumed_again_and_again_however_the_last_connection_ended(way: str) -> None:
    told = ring()
    proof, session = await kept(told)
    for _ in range(5):
        one, other = await secured(told, offered_bytes=NAME_BYTES)
        assert one.resumed
        assert other.resumed
        assert one.peer == proof.sessions[SOMEWHERE][1]
        one.end._sock.close()  # OpenSSL would call the session that was used bad, had it not ended well
        with contextlib.suppress(OSError):
            other.end.close()
        del one, other
        gc.collect()
    assert proof.sessions[SOMEWHERE][0] is session


async def test_the_copy_outlives_what_it_was_made_of_and_the_other_way_round(way: str) -> None:
    told = ring()
    proof, session = await kept(told)
    made = [dialling(proof, session) for _ in range(3)]
    del made[:2]
    proof.sessions.clear()
    del session
    gc.collect()
    with pytest.raises(ssl.SSLWantReadError):
        made[0].do_handshake()


async def test_nothing_is_left_of_offers_that_came_to_nothing(way: str) -> None:
    proof, session = await kept(ring())
    many = OFFERS if way == "direct" else OFFERS // 20

    def some(count: int) -> None:
        for _ in range(count):
            dialling(proof, Kept(session.session))

    some(many // 10)
    before = rss_bytes()
    some(many)
    assert rss_bytes() - before < 200 * many


def test_unknown_objects_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offering, "_KNOWN", (sys.version_info[0], sys.version_info[1] + 1))
    assert offering._found() is None


def test_here_they_are_known() -> None:
    if sys.version_info[:2] == offering._KNOWN:
        assert offering._found() is not None
