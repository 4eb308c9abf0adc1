"""What answers at a socket and is no Workload API. The right ones are in test_spire.py."""

import socket
from pathlib import Path

import h2.connection
import pytest
import trio
from h2.config import H2Configuration

from meshtrio.issuers import spire_stream
from meshtrio.issuers.spire_stream import StreamError, responses
from meshtrio.issuers.spire_wire import frame


def replying(*pieces: bytes, status: str = "200", trailers: dict[str, str] | None = None) -> bytes:
    """Write the frames of a whole reply."""
    line = h2.connection.H2Connection(H2Configuration(client_side=False))
    line.initiate_connection()
    there = h2.connection.H2Connection(H2Configuration(client_side=True))
    there.initiate_connection()
    there.send_headers(
        1, [(":method", "POST"), (":path", "/"), (":scheme", "http"), (":authority", "x")], True
    )
    line.receive_data(there.data_to_send())
    line.send_headers(1, [(":status", status), ("content-type", "application/grpc")])
    for piece in pieces:
        line.send_data(1, piece)
    if trailers is not None:
        line.send_headers(1, list(trailers.items()), end_stream=True)
    return line.data_to_send()


async def ended(tmp_path: Path, wire: bytes, *, stays: bool = False) -> tuple[str, int]:
    """Say how the call ends if this is what is answered."""
    path = str(tmp_path / "api.sock")

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some(4096)
            await stream.send_all(wire)
            if stays:
                await trio.sleep_forever()

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        ours = trio.SocketListener(trio.socket.from_stdlib_socket(listener))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, serve, [ours])
            with pytest.raises(StreamError) as caught:
                async with responses(path) as told:
                    async for _ in told:
                        pass
            nursery.cancel_scope.cancel()
    assert str(caught.value).isprintable()
    return str(caught.value), caught.value.code


@pytest.mark.parametrize(
    ("wire", "words", "code"),
    [
        (b"", "connection", -1),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n" * 9, "is no gRPC", -1),
        (replying(status="404", trailers={"x": "y"}), "HTTP 404", -1),
        (replying(trailers={"x": "y"}), "no grpc-status", -1),
        (replying(trailers={"grpc-status": "7", "grpc-message": "no\x7f"}), "PERMISSION_DENIED: no ", 7),
        (replying(frame(b""), trailers={"grpc-status": "14"}), "UNAVAILABLE", 14),
        (replying(trailers={"grpc-status": "many"}), "grpc-status many", -1),
        (replying(b"\x01\x00\x00\x00\x00"), "compressed", -1),
        (replying(frame(b"\x0b")), "wire type 3", -1),
        (replying(b"\x00\xff\xff\xff\xff"), "at most", -1),
        (replying(frame(b"x" * 50)[:20]), "connection", -1),
    ],
    ids=[
        "nothing",
        "http1",
        "404",
        "bare",
        "denied",
        "down",
        "strange",
        "compressed",
        "junk",
        "large",
        "torn",
    ],
)
async def test_how_it_ends(tmp_path: Path, wire: bytes, words: str, code: int) -> None:
    told, found = await ended(tmp_path, wire)
    assert words in told
    assert found == code


async def test_one_that_says_nothing_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spire_stream, "FIRST_S", 0.1)
    assert "does not answer" in (await ended(tmp_path, b"", stays=True))[0]


async def test_cancelled_it_closes(tmp_path: Path) -> None:
    path = str(tmp_path / "api.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        with trio.move_on_after(0.1) as scope:
            async with responses(path) as told:
                async for _ in told:
                    pass
        assert scope.cancelled_caught
        with listener.accept()[0] as there:
            there.recv(4096)
            assert there.recv(1) == b""
