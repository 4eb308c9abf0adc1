"""TLS that others made: openssl's client and server, and curl, with certificates of our authority."""

import contextlib
import functools
import socket
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from meshtrio.address import Address
from meshtrio.forward.flow import Ending
from meshtrio.forward.relay import Relay
from meshtrio.identity.spiffe import parse
from meshtrio.outcome import Outcome
from meshtrio.secure.handshake import accept_securely, dial_securely
from meshtrio.secure.keyring import _pem
from tests.forward.peers import FIN, pair, pattern, read, write
from tests.support.either_records import either_records as either_records
from tests.support.identities import root
from tests.support.rings import AT, CLIENT, CLIENT_ID, SERVER, SERVER_ID, private, ring, shown

pytestmark = pytest.mark.usefixtures("either_records")
RING = ring()
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Write the certificates of both workloads, and the root, as files."""
    found: dict[str, str] = {}
    for name, spiffe_id in (("client", CLIENT_ID), ("server", SERVER_ID)):
        what = shown(spiffe_id)
        (tmp_path / f"{name}.pem").write_text("".join(_pem("CERTIFICATE", der) for der in what.chain))
        (tmp_path / f"{name}.key").write_text(_pem("PRIVATE KEY", private(what.own)))
        found |= {name: str(tmp_path / f"{name}.pem"), f"{name} key": str(tmp_path / f"{name}.key")}
    (tmp_path / "root.pem").write_bytes(root(at=AT).certificate.pem)
    return {**found, "root": str(tmp_path / "root.pem")}


class Service:
    """A meshed service: our accepting side before an application, for one connection."""

    def __init__(self, listener: socket.socket, app: trio.socket.SocketType, endings: list[Ending]) -> None:
        self.port: int = listener.getsockname()[1]
        self.app = app
        self.endings = endings
        self.callers: list[str] = []


@asynccontextmanager
async def service(*, any_alpn: bool = False) -> AsyncIterator[Service]:
    relay, server = Relay(), pair(socket.AF_INET)
    with socket.create_server(("127.0.0.1", 0)) as listener, server.app:
        made = Service(listener, server.app, [])

        async def serve() -> None:
            await trio.lowlevel.wait_readable(listener)
            sock, _ = listener.accept()
            caller = await accept_securely(sock, ring=RING, workload=SERVER, any_alpn=any_alpn)
            made.callers.append(str(caller.peer.spiffe_id))
            made.endings.append(await relay.carry(caller.end, server.ours, idle_s=0))

        with trio.fail_after(15):
            async with trio.open_nursery() as outer:
                await outer.start(relay.run)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(serve)
                    yield made
                outer.cancel_scope.cancel()


@asynccontextmanager
async def program(command: Sequence[str]) -> AsyncIterator[Any]:
    """Run a program; what it writes can be read, and what is sent it reads."""
    async with trio.open_nursery() as nursery:
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        run = functools.partial(trio.run_process, command, check=False, **pipes)
        process = await nursery.start(run)
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            nursery.cancel_scope.cancel()


def s_client(files: dict[str, str], port: int, *options: str) -> list[str]:
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-alpn", "meshtrio/1", "-quiet"]
    command += ["-cert", files["client"], "-cert_chain", files["client"], "-key", files["client key"]]
    return [*command, "-CAfile", files["root"], "-verify_return_error", *options]


async def heard(process: Any, count: int) -> bytes:
    got = b""
    while len(got) < count:
        part = await process.stdout.receive_some(65_536)
        if not part:
            break
        got += part
    return got


async def test_openssl_calls_a_service(files: dict[str, str]) -> None:
    async with service() as made, program(s_client(files, made.port)) as process:
        await process.stdin.send_all(b"question\n")
        assert await made.app.recv(100) == b"question\n"
        data = pattern(300_000)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write, made.app, data)
            assert await heard(process, len(data)) == data
        assert made.callers == [CLIENT_ID]
        made.app.shutdown(socket.SHUT_WR)
        await process.stdin.aclose()
        assert (await read(made.app))[0] == b""


async def test_openssl_changes_its_keys_amid_the_stream(files: dict[str, str]) -> None:
    """`K` asks for our new keys, too: what reading makes us say must go out."""
    command = [word for word in s_client(files, 0) if word != "-quiet"]
    async with service() as made:
        command[command.index("-connect") + 1] = f"127.0.0.1:{made.port}"
        async with program(command) as process:
            for number in range(3):
                await process.stdin.send_all(b"before %d\n" % number)
                assert await made.app.recv(100) == b"before %d\n" % number
                await process.stdin.send_all(b"K\n")
                await trio.sleep(0.1)
                await process.stdin.send_all(b"after\n")
                assert await made.app.recv(100) == b"after\n"
                await write(made.app, b"answer %d\n" % number)
            text = b""
            while b"answer 2" not in text:
                text += await heard(process, 1)
            said = b""
            while said.count(b"KEYUPDATE") < 3:
                said += await process.stderr.receive_some(10_000)
            await process.stdin.send_all(b"Q\n")
            await read(made.app)
            made.app.close()


async def test_curl_calls_a_service_whose_port_is_for_any_client(files: dict[str, str]) -> None:
    async with service(any_alpn=True) as made:
        command = ["curl", "-sS", "--cert", files["client"], "--key", files["client key"], "--insecure"]
        async with program([*command, f"https://127.0.0.1:{made.port}/"]) as process:
            assert (await made.app.recv(1000)).startswith(b"GET / HTTP/1.1\r\n")
            await write(made.app, ANSWER)
            made.app.shutdown(socket.SHUT_WR)
            assert await heard(process, 5) == b"hello"
            await read(made.app)
            made.app.close()
    assert made.callers == [CLIENT_ID]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


async def test_openssl_is_an_endpoint(files: dict[str, str]) -> None:
    port = free_port()
    command = ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-alpn", "meshtrio/1", "-quiet"]
    command += ["-cert", files["server"], "-cert_chain", files["server"], "-key", files["server key"]]
    command += ["-CAfile", files["root"], "-Verify", "3", "-verify_return_error", "-naccept", "2", "-rev"]
    relay = Relay()
    async with program(command) as process, trio.open_nursery() as nursery:
        await nursery.start(relay.run)
        for turn in range(2):
            sock = await reached(port)
            address = Address.of("127.0.0.1", port)
            end = await dial_securely(
                sock, ring=RING, workload=CLIENT, address=address, expected=parse(SERVER_ID)
            )
            assert (end.version, str(end.peer.spiffe_id)) == ("TLSv1.3", SERVER_ID)
            assert end.resumed == (turn == 1)
            client = pair(socket.AF_INET)
            endings: list[Ending] = []

            async def carry(ours: socket.socket, far: Any, endings: list[Ending]) -> None:
                endings.append(await relay.carry(ours, far, idle_s=0))

            async with trio.open_nursery() as flow:
                flow.start_soon(carry, client.ours, end.end, endings)
                with client.app:
                    await write(client.app, b"palindrome\n")
                    assert await client.app.recv(100) == b"emordnilap\n"
                    client.app.shutdown(socket.SHUT_WR)
                    assert await read(client.app) == (b"", FIN)
            assert endings[0].outcome is Outcome.CARRIED
        assert process.returncode is None or process.returncode == 0
        nursery.cancel_scope.cancel()


async def reached(port: int) -> socket.socket:
    """Connect as soon as the program listens."""
    for _ in range(200):
        try:
            return socket.create_connection(("127.0.0.1", port))
        except ConnectionRefusedError:
            await trio.sleep(0.02)
    raise AssertionError("it does not listen")
