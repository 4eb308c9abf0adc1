"""The port of the CA, and clients that mean no good."""

import socket
import ssl
from functools import partial
from pathlib import Path

import pytest
import trio

from meshtrio.ca import server
from meshtrio.ca.server import CannotListen, open_port
from tests.support.ca_world import World
from tests.support.certificate import make_certificate


def test_a_port_that_is_taken_is_named_with_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(CannotListen, match=rf"127\.0\.0\.1 {port}: Address.*in use.*--port"):
            open_port("127.0.0.1", port)


@pytest.mark.parametrize(("bind", "host"), [("::", "127.0.0.1"), ("::", "::1"), ("127.0.0.1", "127.0.0.1")])
def test_everybody_is_both_families(bind: str, host: str) -> None:
    with open_port(bind, 0) as listener, socket.create_connection((host, listener.getsockname()[1])):
        pass


async def test_who_is_silent_in_the_handshake_is_hung_up_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "HANDSHAKE_S", 0.2)
    async with world.running():
        silent = await trio.open_tcp_stream("127.0.0.1", world.port)
        await silent.send_all(b"\x16\x03\x01")
        assert (await world.ask("GET", "/healthz")).status_code == 200
        with trio.fail_after(5):
            assert await silent.receive_some(1) == b""
        await silent.aclose()


async def test_who_speaks_no_tls_and_who_goes_harm_nobody(world: World) -> None:
    async with world.running():
        for first in (b"GET / HTTP/1.1\r\n\r\n", b"", b"\x16\x03\x01\xff\xff" + b"x" * 70_000):
            stream = await trio.open_tcp_stream("127.0.0.1", world.port)
            await stream.send_all(first)
            await stream.aclose()
        assert (await world.ask("GET", "/healthz")).status_code == 200


async def test_no_more_callers_than_there_is_room_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "CONNECTIONS", 3)
    async with world.running():
        held = [await trio.open_tcp_stream("127.0.0.1", world.port) for _ in range(4)]
        with trio.fail_after(5):
            assert await held[3].receive_some(1) == b""
        for one in held:
            await one.aclose()
        with trio.fail_after(5):
            while True:
                try:
                    assert (await world.ask("GET", "/healthz")).status_code == 200
                    break
                except Exception:  # noqa: BLE001  until it has noticed that those have gone
                    await trio.sleep(0.01)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2])
async def test_older_tls_is_refused(world: World, version: ssl.TLSVersion) -> None:
    async with world.running():
        context = ssl.create_default_context(cafile=str(world.root))
        context.maximum_version = version
        stream = await trio.open_ssl_over_tcp_stream("127.0.0.1", world.port, ssl_context=context)
        with pytest.raises(trio.BrokenResourceError) as caught:
            await stream.do_handshake()
        assert "ALERT_PROTOCOL_VERSION" in str(caught.value.__cause__)
        await trio.aclose_forcefully(stream)


async def test_a_certificate_of_another_root_hears_why_it_is_refused(world: World, tmp_path: Path) -> None:
    foreign = make_certificate(tmp_path)
    async with world.running():
        context = ssl.create_default_context(cafile=str(world.root))
        context.load_cert_chain(foreign.cert, foreign.key)
        stream = await trio.open_ssl_over_tcp_stream("127.0.0.1", world.port, ssl_context=context)
        with pytest.raises(trio.BrokenResourceError) as caught:
            await stream.send_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            await stream.receive_some(1)
        assert "ALERT_UNKNOWN_CA" in str(caught.value.__cause__)
        await trio.aclose_forcefully(stream)


async def test_who_does_not_read_does_not_hold_up_the_end(world: World) -> None:
    async with world.running():
        context = ssl.create_default_context(cafile=str(world.root))
        opened = partial(trio.open_ssl_over_tcp_stream, "127.0.0.1", world.port, ssl_context=context)
        stream = await opened()
        await stream.send_all(b"GET /v1/bundle HTTP/1.1\r\nHost: x\r\n\r\n" * 400)
        ended = trio.current_time()
    assert trio.current_time() - ended < 5
    await trio.aclose_forcefully(stream)
