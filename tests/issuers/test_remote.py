"""An agent and its CA over real sockets: joining, renewing, outages, and answers that are not accepted."""

import json
import ssl
import stat
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import h11
import pytest
import trio
from cryptography.hazmat.primitives.serialization import load_der_private_key
from msgspec.structs import replace

from meshtrio.ca.app import Terms
from meshtrio.ca.limits import Rate
from meshtrio.identity.bundle import Bundle
from meshtrio.identity.certificate import key_bytes, read
from meshtrio.identity.chain import verify
from meshtrio.identity.spiffe import parse
from meshtrio.identity.trust import Trust
from meshtrio.issuers import remote
from meshtrio.issuers.issuer import IssueError
from tests.support.ca_world import CART, SHOP, Agent, World, ask_for, node_id
from tests.support.certificate import make_certificate


async def refused(agent: Agent, spiffe_id: object = CART) -> str:
    with pytest.raises(IssueError) as caught:
        await agent.get(parse(str(spiffe_id)))
    assert str(caught.value).isprintable()
    return str(caught.value)


async def test_it_joins_once_and_gets_what_verifies(world: World) -> None:
    async with world.running(), trio.open_nursery() as nursery:
        agent = world.agent(token=world.token())
        await nursery.start(agent.issuer.run, agent.told.append)
        issued = await agent.get()
        (bundle,) = agent.told
        assert isinstance(bundle, Bundle)
        peer = verify(issued.chain, Trust("td").with_own(bundle), time.time(), expected=CART)
        assert peer.serial == issued.serial
        key = load_der_private_key(issued.key, None)
        assert key_bytes(key.public_key()) == key_bytes(read(issued.chain[0]).key)  # type: ignore[arg-type]
        assert (await agent.get()).serial != issued.serial
        assert agent.issuer.fault == ""
        nursery.cancel_scope.cancel()
    kept = world.folder / "web-1" / "node.pem"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert not (world.folder / "web-1" / "node-joining.pem").exists()


async def test_many_at_once_join_once(world: World) -> None:
    async with world.running(), trio.open_nursery() as nursery:
        agent = world.agent(token=world.token())
        for _ in range(40):
            nursery.start_soon(agent.get)


async def test_after_restarts_of_both_the_token_is_not_needed(world: World) -> None:
    async with world.running():
        await world.agent(token=world.token()).get()
    root = world.root.read_bytes()
    (world.folder / "web-1" / "token").unlink()
    async with world.running():
        assert world.root.read_bytes() == root
        await world.agent().get()


async def test_in_memory_alone_when_there_is_no_directory(world: World) -> None:
    async with world.running():
        agent = world.agent(token=world.token(), directory="")
        await agent.get()
        await agent.get()
        assert [one.name for one in (world.folder / "web-1").iterdir()] == ["token"]


async def test_an_answer_that_was_lost_costs_no_token(world: World) -> None:
    async with world.running():
        token = world.token()
        agent = world.agent(token=token)
        way, key = await agent.issuer._passport.for_joining()
        await agent.issuer._signed(way, key, node_id("web-1"), None)
        # Killed here: the CA has given the certificate, and nobody has kept it.
        await world.agent().get()


async def test_words_for_tokens_that_do_not_do(world: World) -> None:
    async with world.running():
        token = world.token()
        assert (await world.post(ask_for(node_id("web-1")), token)).status_code == 200
        words = await refused(world.agent(token=token))
        assert "the CA refuses (401): this join token has been used" in words
        assert token not in words
        words = await refused(world.agent(token="eyJ.kubernetes.token"))
        assert "Kubernetes tokens are not taken here" in words
        words = await refused(world.agent("web-2"))
        assert words.startswith("this node has no certificate, and identity.remote.token_file")
        words = await refused(world.agent("web-2", "two words"))
        assert "has no token in it" in words and "two words" not in words


async def test_a_node_whose_name_cannot_stand_in_an_id(world: World) -> None:
    async with world.running():
        agent = world.agent(token=world.token())
        agent.issuer._passport.node = "web 1"
        assert "cannot stand in an id" in await refused(agent)


async def test_an_identity_that_is_not_on_the_node(world: World) -> None:
    async with world.running():
        agent = world.agent(token=world.token())
        await agent.get()
        words = await refused(agent, "spiffe://td/ns/bank/sa/x")
    assert words == "the CA refuses (403): spiffe://td/ns/bank/sa/x is not on node web-1"


async def test_down_and_up_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "AGAIN_MOST_S", 0.05)
    async with world.running():
        token = world.token()
    async with trio.open_nursery() as nursery:
        agent = world.agent(token=token)
        await nursery.start(agent.issuer.run, agent.told.append)
        assert agent.told == []
        assert "cannot be reached: Connection refused" in agent.issuer.fault
        assert "cannot be reached" in await refused(agent)
        async with world.running():
            with trio.fail_after(10):
                while not agent.told or agent.issuer.fault:
                    await trio.sleep(0.01)
            await agent.get()
        nursery.cancel_scope.cancel()


async def test_a_ca_that_is_another_one(world: World, tmp_path: Path) -> None:
    async with world.running():
        agent = world.agent(token=world.token())
        other = make_certificate(tmp_path)
        far = replace(agent.settings, remote=replace(agent.settings.remote, ca_file=str(other.cert)))
        agent.settings, good = far, agent.settings
        words = await refused(agent)
        assert "does not prove that it is our CA (see identity.remote.ca_file): " in words
        (tmp_path / "empty").write_text("")
        agent.settings = replace(far, remote=replace(far.remote, ca_file=str(tmp_path / "empty")))
        assert "has no certificate in it" in await refused(agent)
        agent.settings = replace(far, remote=replace(far.remote, ca_file=str(tmp_path / "nowhere")))
        assert "nowhere cannot be read" in await refused(agent)
        agent.settings = good  # read again each time
        await agent.get()


async def test_a_ca_under_another_name(world: World) -> None:
    async with world.running():
        agent = world.agent(token=world.token())
        address = f"https://127.0.0.2:{world.port}"
        agent.settings = replace(agent.settings, remote=replace(agent.settings.remote, address=address))
        assert "127.0.0.2" in await refused(agent)


async def test_it_renews_its_own_certificate_in_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.terms = Terms(node_life_s=600)
    kept = world.folder / "web-1" / "node.pem"
    async with world.running():
        agent = world.agent(token=world.token())
        await agent.get()
        before = kept.read_bytes()
        (world.folder / "web-1" / "token").unlink()
        agent = world.agent()
        agent.ahead_s = 200.0  # more than half of it is over
        async with trio.open_nursery() as nursery:
            await nursery.start(agent.issuer.run, agent.told.append)
            nursery.cancel_scope.cancel()
        assert agent.issuer.fault == ""
        assert kept.read_bytes() != before
        await world.agent().get()


async def test_a_certificate_that_has_ended_needs_a_token(world: World) -> None:
    async with world.running():
        agent = world.agent(token=world.token())
        await agent.get()
        (world.folder / "web-1" / "token").unlink()
        agent.ahead_s = 31 * 86_400.0
        assert (await refused(agent)).startswith("this node's certificate has ended, and identity.remote")


async def test_a_ca_made_anew_wants_a_new_token(world: World) -> None:
    async with world.running():
        agent = world.agent(token=world.token())
        await agent.get()
    for one in (world.folder / "ca").iterdir():
        one.unlink()
    async with world.running():
        agent = world.agent()
        words = await refused(agent)
        assert "this join token is not known here" in words
        world.agent(token=world.token())
        await agent.get()


async def test_a_forgotten_node_hears_so_and_joins_again(world: World) -> None:
    async with world.running():
        agent = world.agent(token=world.token())
        await agent.get()
        world.forget("web-1")
        (world.folder / "web-1" / "token").unlink()
        words = await refused(agent)
        assert "does not accept this node's certificate (node web-1 is not known here" in words
        world.agent(token=world.token(allow=("spiffe://td/ns/bank/*",)))
        assert "not on node" in await refused(agent)
        await agent.get(parse("spiffe://td/ns/bank/sa/x"))


async def test_it_comes_back_when_it_is_told_to(world: World) -> None:
    world.terms = Terms(per_node=Rate(4.0, 4.0))
    async with world.running():
        agent = world.agent(token=world.token())
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for _ in range(6):
                nursery.start_soon(agent.get)
        assert trio.current_time() - began >= 0.7


async def test_cancelled_it_leaves_nothing_open(world: World) -> None:
    async with world.running():
        agent = world.agent(token=world.token())
        for wait_s in (0.0, 0.002, 0.005, 0.01, 0.02, 0.04):
            with trio.move_on_after(wait_s):
                await agent.get()
        await agent.get()


# A CA that is not what it should be


@asynccontextmanager
async def impostor(
    folder: Path, answer: Callable[[bytes], tuple[int, dict[str, str], bytes]]
) -> AsyncIterator[World]:
    """Serve whatever is wanted, with a certificate that the agent believes."""
    shown = make_certificate(folder)
    tls: ssl.SSLContext = shown.server()

    async def serve(stream: trio.SocketStream) -> None:
        secure = trio.SSLStream(stream, tls, server_side=True, https_compatible=True)
        line, request = h11.Connection(h11.SERVER), b""
        async with secure:
            while type(event := line.next_event()) is not h11.EndOfMessage:
                if event is h11.NEED_DATA:
                    line.receive_data(bytes(await secure.receive_some(65536)))
                elif isinstance(event, h11.Data):
                    request += event.data
            status, headers, body = answer(request)
            head = h11.Response(status_code=status, headers=[("Connection", "close"), *headers.items()])
            wire = (line.send(head) or b"") + (line.send(h11.Data(data=body)) or b"")
            await secure.send_all(wire + (line.send(h11.EndOfMessage()) or b""))

    world = World(folder)
    (folder / "ca").mkdir()
    world.root.write_bytes(shown.cert.read_bytes())
    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, host="127.0.0.1"), serve, 0)
        world.port = listener.socket.getsockname()[1]
        yield world
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("status", "headers", "body", "words"),
    [
        (200, {}, b"<html>", "it cannot be read"),
        (200, {}, b'{"chain": ["!"], "bundle": {}}', "it cannot be read"),
        (200, {}, b'{"chain": [], "bundle": {"keys": []}}', "has no root"),
        (200, {}, b"x" * (3 << 20), "longer than"),
        (500, {}, b"oops", "answers 500"),
        (404, {}, b"", "not what a CA says"),
        (429, {"Retry-After": "3600"}, b'{"error": "slow\\ndown"}', "too much to do (429): slow down"),
        (403, {}, b'{"error": "your token eyJ.kube is no good"}', "your token *** is no good"),
        (302, {"Location": "https://127.0.0.1:1/"}, b"", "answers 302"),
    ],
    ids=["html", "base64", "no-root", "large", "500", "404", "429", "echo", "redirect"],
)
async def test_answers_that_are_not_accepted(
    tmp_path: Path, status: int, headers: dict[str, str], body: bytes, words: str
) -> None:
    async with impostor(tmp_path, lambda _: (status, headers, body)) as world:
        assert words in await refused(world.agent(token="eyJ.kube"))


async def test_a_certificate_for_another_key_or_id_is_not_accepted(world: World, tmp_path: Path) -> None:
    async with world.running():
        agent = world.agent(token=world.token(allow=SHOP))
        await agent.get()
        cert = world.folder / "web-1" / "node.pem"
        others_key = (await world.post(ask_for(CART), cert=cert)).content
        others_id = (await world.post(ask_for("spiffe://td/ns/shop/sa/x"), cert=cert)).content
        told = json.loads(others_id)
        told["chain"] = told["chain"][:1]
        no_chain = json.dumps(told).encode()
    for number, (body, words) in enumerate(
        [
            (others_key, "for another key"),
            (others_id, "it is spiffe://td/ns/shop/sa/x, want spiffe://td/ns/shop/sa/cart"),
            (no_chain, "no path to a root"),
        ]
    ):
        folder = tmp_path / f"impostor-{number}"
        folder.mkdir()
        async with impostor(folder, lambda _, body=body: (200, {}, body)) as fake:  # type: ignore[misc]
            assert words in await refused(fake.agent(token="eyJ.kube"))


async def test_a_bundle_that_is_older_than_the_known_one_is_not_taken(world: World, tmp_path: Path) -> None:
    async with world.running():
        body = (await world.ask("GET", "/v1/bundle")).content
    told = json.loads(body)
    sequences = iter([told["spiffe_sequence"], told["spiffe_sequence"] - 1])

    def answer(_: bytes) -> tuple[int, dict[str, str], bytes]:
        return 200, {}, json.dumps({**told, "spiffe_sequence": next(sequences)}).encode()

    folder = tmp_path / "impostor"
    folder.mkdir()
    async with impostor(folder, answer) as fake:
        agent = fake.agent()
        for fault in ("", "is old"):
            async with trio.open_nursery() as nursery:
                await nursery.start(agent.issuer.run, agent.told.append)
                nursery.cancel_scope.cancel()
            assert fault in agent.issuer.fault
        assert len(agent.told) == 1
