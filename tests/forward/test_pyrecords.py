"""Records in C are those in Python: what a stream means, however it is cut, and wherever it is broken."""

import _ssl
import contextlib
import ctypes
import fcntl
import math
import os
import re
import select
import socket
import ssl
import sys
import termios
from pathlib import Path
from typing import NamedTuple

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meshtrio.forward import pyrecords, sealed
from meshtrio.forward.pyrecords import OWED_BYTES, RECORD_BYTES, Owing
from meshtrio.forward.sealed import Sealed
from meshtrio.secure import handshake
from tests.forward.peers import connected, pattern
from tests.forward.tls_app import TlsApp, app_and_end
from tests.support.identities import root
from tests.support.rings import AT, ring

RING = ring()
DATA = pattern(200_000)


class Story(NamedTuple):
    """What an application writes, and how that comes to the end that reads it."""

    writes: list[int]
    """One record each, or several."""
    pieces: list[int]
    """In how large pieces the kernel gets the ciphertext; in one, what is left."""
    broken_at: int | None
    """The byte of the ciphertext that is another one."""
    ends: str
    nbytes: int
    room: int
    """How much the end is asked to read, and into how large a buffer."""


STORIES = st.builds(
    Story,
    writes=st.lists(st.one_of(st.integers(1, 200), st.integers(1, 40_000)), max_size=6),
    pieces=st.lists(st.one_of(st.integers(1, 100), st.integers(1, 20_000)), max_size=8),
    broken_at=st.one_of(st.none(), st.integers(0, 60_000)),
    ends=st.sampled_from(["goodbye", "FIN", "not"]),
    nbytes=st.sampled_from([1024, 5000, 100_000, 524_288]),
    room=st.sampled_from([1024, RECORD_BYTES, 60_000, 524_288]),
)


def ciphertext(app: TlsApp, story: Story) -> bytes:
    at = 0
    for size in story.writes:
        app.tls.write(DATA[at : at + size])
        at += size
    if story.ends == "goodbye":
        app.say_goodbye()
    made = bytearray(app.outgoing.read())
    if story.broken_at is not None and story.broken_at < len(made):
        made[story.broken_at] ^= 1
    return bytes(made)


def cut_up(made: bytes, pieces: list[int]) -> list[bytes]:
    parts = []
    for size in pieces:
        parts.append(made[:size])
        made = made[size:]
    return [*parts, made]


def read_on(end: Sealed, story: Story, heard: list[bytes]) -> str:
    """Read what there is; say how it ended, if it did."""
    buffer = memoryview(bytearray(story.room))
    while True:
        try:
            count = end.recv_into(buffer, min(story.nbytes, story.room))
        except BlockingIOError:
            return ""
        except ConnectionResetError:
            return "reset"
        if not count:
            return "end"
        heard.append(bytes(buffer[:count]))


async def arrived(end: Sealed, count: int | None = None) -> None:
    """Wait until the end's kernel has so many bytes, or its FIN."""
    events = select.poll()
    events.register(end, select.POLLRDHUP)
    with trio.fail_after(5):
        while not events.poll(0) if count is None else waiting_bytes(end) < count:
            await trio.sleep(0.001)


def waiting_bytes(end: Sealed) -> int:
    asked = bytearray(4)
    fcntl.ioctl(end, termios.FIONREAD, asked)
    return int.from_bytes(asked, sys.byteorder)


async def told(kind: type[Sealed], story: Story, monkeypatch: pytest.MonkeyPatch) -> tuple[bytes, str]:
    """Give what an end of this kind made of the story."""
    monkeypatch.setattr(handshake, "seal", kind)
    app, secured = await app_and_end(RING, app_dials=True)
    end, ended = secured.end, ""
    heard: list[bytes] = []
    end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    app.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with app:
        for part in cut_up(ciphertext(app, story), story.pieces):
            while part and not ended:
                sent = await app.sock.send(part)
                part = part[sent:]
                await arrived(end, sent)
                ended = read_on(end, story, heard)
        if story.ends == "FIN":
            app.sock.shutdown(socket.SHUT_WR)
            await arrived(end)
        ended = ended or read_on(end, story, heard)
        end.close()
    return b"".join(heard), ended


@pytest.mark.skipif(bool(sealed.NOT_IN_C), reason=sealed.NOT_IN_C)
@given(story=STORIES)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_both_make_the_same_of_any_stream(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    in_c = await told(sealed.seal, story, monkeypatch)
    assert in_c == await told(sealed.SealedInPython, story, monkeypatch)
    heard, ended = in_c
    assert DATA.startswith(heard)
    if ended == "end":
        assert story.ends == "goodbye"
        assert len(heard) == sum(story.writes)


@pytest.mark.usefixtures("either_records")
async def test_what_failed_is_nobody_else_s_error() -> None:
    """OpenSSL has one queue of errors a thread, and Python's ssl takes what is in it for its own."""
    app, secured = await app_and_end(RING, app_dials=True)
    end, buffer = secured.end, memoryview(bytearray(100_000))
    with app:
        await app.sock.send(b"\x17\x03\x03\x00\x20" + bytes(32))
        with pytest.raises(ConnectionResetError, match=r"(?i)mac"):
            end.recv_into(buffer, 50_000)
        with pytest.raises(ConnectionResetError):
            end.send(b"too late")
        with pytest.raises(ConnectionResetError):
            end.shutdown(socket.SHUT_WR)
        ssl.create_default_context().load_verify_locations(cadata=root(at=AT).certificate.der)
        end.close()


@pytest.mark.usefixtures("either_records")
async def test_who_reads_no_answers_is_reset() -> None:
    """KeyUpdate asks for one (RFC 8446, 4.6.3); it must not make us keep them without bound."""
    app, secured = await app_and_end(RING, app_dials=True)
    end, buffer, asked = secured.end, memoryview(bytearray(200_000)), 0
    end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    with app, pytest.raises(ConnectionResetError, match="reads no answers"):
        while asked < 60_000:
            for _ in range(200):
                ask_for_new_keys(app)
                app.tls.write(b"x")  # OpenSSL refuses 32 of them in a row
            asked += 200
            await app.flush()
            with contextlib.suppress(BlockingIOError):
                end.recv_into(buffer, 100_000)
    assert OWED_BYTES <= len(end.owed) < OWED_BYTES + 60_000
    end.close()


def ask_for_new_keys(app: TlsApp) -> None:
    library = ctypes.CDLL(_ssl.__file__)
    inner = id(app.tls._sslobj)  # type: ignore[attr-defined]
    session = ctypes.c_void_p.from_address(inner + 24)
    assert library.SSL_key_update(session, 1) == 1
    assert library.SSL_do_handshake(session) == 1


@pytest.mark.usefixtures("either_records")
async def test_carrying_says_who_failed() -> None:
    app, secured = await app_and_end(RING, app_dials=True)
    end, buffer = secured.end, memoryview(bytearray(100_000))
    plain, ours = connected(socket.AF_INET)
    ours.setblocking(False)
    app.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with app, plain, ours:
        with pytest.raises(BlockingIOError):
            end.carry_in(buffer, 1000, ours.fileno())
        assert end.took == 0
        plain.send(DATA[:3000])
        assert end.carry_in(buffer, 1000, ours.fileno()) == end.took == 1000
        assert await app.recv(5000) == DATA[:1000]
        await app.send(DATA[:500])
        assert end.carry_out(buffer, 60_000, ours.fileno()) == end.took == 500
        assert plain.recv(1000) == buffer[:500] == DATA[:500]
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        plain.close()
        await app.send(DATA[:700])
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            end.carry_out(buffer, 60_000, ours.fileno())
        assert (end.took, bytes(buffer[:700])) == (700, DATA[:700])
        app.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        app.close()
        with pytest.raises(ConnectionResetError):
            end.carry_out(buffer, 60_000, ours.fileno())
        assert end.took == 0
        end.close()


@pytest.mark.skipif(bool(sealed.NOT_IN_C), reason=sealed.NOT_IN_C)
async def test_records_in_c_are_used_as_they_are_meant() -> None:
    app, secured = await app_and_end(RING, app_dials=True)
    end = secured.end
    unmade = type(end).__new__(type(end))
    for call in (unmade.flush, unmade.say_goodbye, lambda: unmade.send(b"x")):
        with pytest.raises(ValueError, match="whole"):
            call()
    with pytest.raises(TypeError, match="once"):
        Sealed.__init__(end, end._sock, end._session, (ssl.MemoryBIO(), ssl.MemoryBIO()))
    with pytest.raises(ValueError, match="negative"):
        end.recv_into(memoryview(bytearray(10)), -1)
    with pytest.raises(TypeError):
        end.recv_into(memoryview(bytearray(10)))  # type: ignore[call-arg]
    with pytest.raises(BufferError):
        end.recv_into(memoryview(b"read only"), 5)
    with pytest.raises(TypeError):
        end.send("text")  # type: ignore[arg-type]
    context = ssl.create_default_context()
    stranger = context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="a")
    stranger._sslobj = object()  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="none of Python's ssl"):
        sealed.seal(end._sock, stranger, (ssl.MemoryBIO(), ssl.MemoryBIO()))
    app.close()
    end.close()


@pytest.mark.usefixtures("either_records")
async def test_an_end_keeps_nothing_that_was_sent_or_read() -> None:
    app, secured = await app_and_end(RING, app_dials=True)
    end, buffer = secured.end, memoryview(bytearray(600_000))
    end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    with app:
        with pytest.raises(Owing):
            while True:
                end.send(DATA)
        for _ in range(1000):
            end.flush()
            with contextlib.suppress(BlockingIOError, trio.TooSlowError):
                with trio.fail_after(1):
                    app.incoming.write(await app.sock.recv(100_000))
                app.decrypt()
            if not end.owed:
                break
        assert end.owed == b""
        assert bytes(app.plain[: len(DATA)]) == DATA
        await app.send(DATA[:10_000])
        assert end.recv_into(buffer, 100_000) == 10_000
        assert buffer[:10_000] == DATA[:10_000]
        end.close()


@pytest.mark.usefixtures("either_records")
async def test_a_closed_end_touches_no_socket_that_has_its_number_now() -> None:
    app, secured = await app_and_end(RING, app_dials=True)
    end, buffer, number = secured.end, memoryview(bytearray(100_000)), secured.end.fileno()
    plain, ours = connected(socket.AF_INET)
    ours.setblocking(False)
    with app, plain, ours:
        end.close()
        os.dup2(ours.fileno(), number)
        plain.send(DATA[:100])
        with pytest.raises(OSError, match="Bad file descriptor"):
            end.send(b"x")
        with pytest.raises(OSError, match="Bad file descriptor"):
            end.recv_into(buffer, 50_000)
        os.close(number)
        plain.settimeout(0.05)
        with pytest.raises(TimeoutError):
            plain.recv(100)
        assert ours.recv(200) == DATA[:100]


def test_both_have_the_same_bounds() -> None:
    text = Path(pyrecords.__file__).with_name("records.c").read_text()
    told = dict(re.findall(r"^#define (\w+_BYTES) \(([0-9 *]+)\)", text, re.MULTILINE))
    assert {name: math.prod(map(int, words.split("*"))) for name, words in told.items()} == {
        name: getattr(pyrecords, name) for name in ("RECORD_BYTES", "CIPHER_BYTES", "OWED_BYTES")
    }
