"""The CA over real sockets: what callers of all sorts get."""

import base64
import json
from pathlib import Path

import msgspec
import pytest
import trio
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from meshtrio.ca.app import Terms
from meshtrio.ca.limits import Rate
from meshtrio.identity.bundle import read_bundle
from meshtrio.identity.certificate import read
from meshtrio.identity.chain import verify
from meshtrio.identity.request import make_request
from meshtrio.identity.spiffe import parse
from meshtrio.identity.trust import Trust
from tests.support.ca_world import CART, SHOP, World, ask_for, node_id


async def joined(world: World, name: str = "web-1", allow: tuple[str, ...] = SHOP) -> Path:
    """Let a node join, and give the file with its key and certificate."""
    await world.agent(name, world.token(name, allow)).get()
    return world.folder / name / "node.pem"


async def test_a_node_gets_what_it_may_and_it_verifies(world: World) -> None:
    async with world.running():
        own = await joined(world)
        answer = await world.post(ask_for(CART, life_s=600), cert=own)
    assert answer.status_code == 200
    told = answer.json()
    chain = [base64.b64decode(one) for one in told["chain"]]
    bundle = read_bundle("td", json.dumps(told["bundle"]).encode())
    leaf = read(chain[0])
    peer = verify(chain, Trust("td").with_own(bundle), leaf.not_before + 400, expected=CART)
    assert len(peer.chain) == 3  # with a signing certificate: the root's key signs no leaf
    assert leaf.not_after - leaf.not_before == pytest.approx(900, abs=2)


async def test_nobody_gets_a_longer_life_than_there_is(world: World) -> None:
    world.terms = Terms(life_s=1000, node_life_s=5000)
    async with world.running():
        own = await joined(world)
        for wanted, life_s in ((CART, 1300), (node_id("web-1"), 5300)):
            answer = await world.post(ask_for(wanted, life_s=1e9), cert=own)
            leaf = read(base64.b64decode(answer.json()["chain"][0]))
            assert leaf.not_after - leaf.not_before == pytest.approx(life_s, abs=2)


async def test_a_join_token_works_once(world: World) -> None:
    async with world.running():
        token = world.token()
        first = await world.post(ask_for(node_id("web-1")), token)
        second = await world.post(ask_for(node_id("web-1")), token)
    assert first.status_code == 200
    assert (second.status_code, second.headers["x-meshtrio-reason"]) == (401, "token_used")
    assert token not in second.text


async def test_an_expired_token(world: World) -> None:
    async with world.running():
        token = world.token(life_s=0.05)
        await trio.sleep(0.1)
        answer = await world.post(ask_for(node_id("web-1")), token)
    assert (answer.status_code, answer.headers["x-meshtrio-reason"]) == (401, "token_expired")


async def test_a_stolen_token_makes_no_other_node(world: World) -> None:
    async with world.running():
        token = world.token("web-1")
        answer = await world.post(ask_for(node_id("evil"), "evil"), token)
        assert (answer.status_code, answer.headers["x-meshtrio-reason"]) == (403, "token_other_node")
        answer = await world.post(ask_for(node_id("evil"), "web-1"), token)
        assert (answer.status_code, answer.headers["x-meshtrio-reason"]) == (403, "not_allowed")
        # And it was not used up by that.
        assert (await world.post(ask_for(node_id("web-1")), token)).status_code == 200


@pytest.mark.parametrize("wanted", [CART, node_id("web-2")])
async def test_a_join_token_gets_nothing_else(world: World, wanted: object) -> None:
    async with world.running():
        answer = await world.post(ask_for(str(wanted)), world.token())
    assert (answer.status_code, answer.headers["x-meshtrio-reason"]) == (403, "not_allowed")


@pytest.mark.parametrize(
    "wanted",
    [
        "spiffe://td/ns/bank/sa/cart",
        "spiffe://td/ns/shop",
        "spiffe://td/ns/shopping/sa/cart",
        "spiffe://other/ns/shop/sa/cart",
        "spiffe://td/meshtrio/node/web-2",
        "spiffe://td/meshtrio/ca",
    ],
)
async def test_identities_that_are_not_on_the_node(world: World, wanted: str) -> None:
    async with world.running():
        own = await joined(world)
        answer = await world.post(ask_for(wanted), cert=own)
    assert (answer.status_code, answer.headers["x-meshtrio-reason"]) == (403, "not_allowed")


async def test_even_a_node_that_may_have_all_gets_no_other_nodes_certificate(world: World) -> None:
    async with world.running():
        own = await joined(world, allow=("spiffe://td/*",))
        assert (await world.post(ask_for("spiffe://td/ns/bank/sa/x"), cert=own)).status_code == 200
        answer = await world.post(ask_for(node_id("web-2")), cert=own)
    assert (answer.status_code, answer.headers["x-meshtrio-reason"]) == (403, "not_allowed")


async def test_a_forgotten_node_gets_nothing(world: World) -> None:
    async with world.running():
        own = await joined(world)
        world.forget("web-1")
        answer = await world.post(ask_for(CART), cert=own)
    assert (answer.status_code, answer.headers["x-meshtrio-reason"]) == (403, "node_unknown")


async def test_a_workloads_certificate_is_no_nodes(world: World, tmp_path: Path) -> None:
    async with world.running():
        await joined(world)
        stolen = await world.agent().get()
        cert = tmp_path / "stolen.pem"
        key = base64.encodebytes(stolen.key).decode()
        pem = "".join(read(one).pem.decode() for one in stolen.chain)
        cert.write_text(f"-----BEGIN PRIVATE KEY-----\n{key}-----END PRIVATE KEY-----\n{pem}")
        answer = await world.post(ask_for(CART), cert=cert)
    assert (answer.status_code, answer.headers["x-meshtrio-reason"]) == (401, "no_proof")


async def test_a_stranger_gets_nothing(world: World) -> None:
    async with world.running():
        answer = await world.post(ask_for(CART))
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
        answer = await world.post(ask_for(node_id("web-1")), "meshtrio-join-guessed")
        assert (answer.status_code, answer.headers["x-meshtrio-reason"]) == (401, "token_unknown")
        answer = await world.post(ask_for(CART), "eyJhbGciOi.a.kubernetes.token")
        assert (answer.status_code, answer.headers["x-meshtrio-reason"]) == (401, "token_unknown")


def csr_of(wanted: str, key: object = None) -> str:
    own = key or ec.generate_private_key(ec.SECP256R1())
    return base64.b64encode(make_request(own, parse(wanted))).decode()  # type: ignore[arg-type]


def broken_signature() -> str:
    der = bytearray(base64.b64decode(csr_of(str(CART))))
    der[-1] ^= 1
    return base64.b64encode(der).decode()


@pytest.mark.parametrize(
    ("csr", "status", "reason"),
    [
        (broken_signature(), 400, "bad_signature"),
        (csr_of("spiffe://td/ns/shop/sa/other"), 403, "wrong_identity"),
        (csr_of(str(CART), rsa.generate_private_key(65537, 1024)), 400, "weak_key"),
        ("AAAA", 400, "malformed"),
        ("no base64!", 400, "bad_request"),
        ("", 400, "malformed"),
    ],
    ids=["signature", "other-id", "weak", "junk", "text", "empty"],
)
async def test_requests_that_are_wrong_in_themselves(
    world: World, csr: str, status: int, reason: str
) -> None:
    async with world.running():
        own = await joined(world)
        answer = await world.post(ask_for(CART, csr=csr), cert=own)
    assert (answer.status_code, answer.headers["x-meshtrio-reason"]) == (status, reason)


async def test_a_faulty_request_does_not_use_the_token_up(world: World) -> None:
    async with world.running():
        token = world.token()
        assert (await world.post(ask_for(node_id("web-1"), csr="AAAA"), token)).status_code == 400
        assert (await world.post(ask_for(node_id("web-1")), token)).status_code == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"spiffe_id": "' + b"a" * (1 << 20) + b'"}', 413),
        (b"", 400),
        (b"[" * 10_000, 400),
        (b"\xff\xfe", 400),
        (b'{"spiffe_id": "spiffe://td/a", "csr": "", "more": 1}', 400),
        (b'{"spiffe_id": "spiffe://td/a", "csr": "", "life_s": -1}', 400),
        (b'{"spiffe_id": "http://td/a", "csr": ""}', 400),
    ],
    ids=["1MB", "empty", "deep", "utf-8", "unknown", "negative", "scheme"],
)
async def test_bodies_that_are_none(world: World, body: bytes, status: int) -> None:
    async with world.running():
        answer = await world.ask("POST", "/v1/sign", content=body)
        assert answer.status_code == status
        assert (await world.ask("GET", "/healthz")).text == "ok\n"


async def test_a_csr_of_a_megabyte(world: World) -> None:
    async with world.running():
        own = await joined(world)
        answer = await world.post(ask_for(CART, csr="A" * (1 << 20)), cert=own)
        assert answer.status_code == 413
        answer = await world.post(ask_for(CART, csr="A" * 40_000), cert=own)
        assert answer.status_code == 400


async def test_one_node_alone_cannot_keep_the_ca_busy(world: World) -> None:
    world.terms = Terms(per_node=Rate(2.0, 20.0))
    statuses: list[int] = []
    later: set[str] = set()
    async with world.running():
        own = await joined(world)
        body = ask_for(CART)

        async def hammer() -> None:
            for _ in range(20):
                answer = await world.post(body, cert=own)
                statuses.append(answer.status_code)
                later.add(answer.headers.get("retry-after", ""))

        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(hammer)
        took_s = trio.current_time() - began
        other = await joined(world, "web-2")
        assert (await world.post(ask_for(CART, "web-2"), cert=other)).status_code == 200
        metrics = (await world.ask("GET", "/metrics")).text
    assert set(statuses) == {200, 429}
    assert 10 <= statuses.count(200) <= 20 + 2 * took_s + 1
    assert later == {"", "1"}
    assert f'meshtrio_ca_refused_total{{reason="too_many"}} {statuses.count(429)}.0' in metrics


async def test_a_thousand_requests_in_a_second_on_one_connection(world: World) -> None:
    """All are limited together, before anything is proved; and one address gets half."""
    world.terms = Terms(in_all=Rate(10.0, 100.0))
    statuses = []
    async with world.running():
        began = trio.current_time()
        async with world.client() as client:
            for _ in range(300):
                statuses.append((await client.post("/v1/sign", json={})).status_code)
        took_s = trio.current_time() - began
        assert (await world.ask("GET", "/healthz")).status_code == 200
    assert set(statuses) == {400, 429}
    assert 50 <= statuses.count(400) <= 50 + 5 * took_s + 1


async def test_the_bundle_is_for_everybody_and_says_when_to_come_back(world: World) -> None:
    async with world.running():
        answer = await world.ask("GET", "/v1/bundle")
    assert answer.headers["content-type"] == "application/json"
    bundle = read_bundle("td", answer.content)
    assert [one.pem for one in bundle.anchors] == [world.root.read_bytes()]
    assert bundle.refresh_hint_s == 300
    assert bundle.sequence == int(bundle.anchors[0].not_before)


async def test_metrics_and_unknown_paths(world: World) -> None:
    async with world.running():
        await joined(world)
        await world.post({})
        text = (await world.ask("GET", "/metrics")).text
        assert (await world.ask("GET", "/v1/sign")).status_code == 405
        assert (await world.ask("GET", "/v1/keys")).status_code == 404
    assert 'meshtrio_ca_issued_total{proof="join"} 1.0' in text
    assert 'meshtrio_ca_issued_total{proof="certificate"} 1.0' in text
    assert 'meshtrio_ca_refused_total{reason="bad_request"} 1.0' in text
    assert "meshtrio_ca_root_expiry_seconds 3." in text


async def test_everything_is_audited_and_no_secret_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(tmp_path, audit=str(tmp_path / "audit.json"))
    async with world.running():
        token = world.token()
        issued = await world.agent(token=token).get()
        await world.post(ask_for(node_id("web-1")), token)
        await world.post(ask_for("spiffe://td/ns/bank/sa/x"), cert=tmp_path / "web-1" / "node.pem")
    written = (tmp_path / "audit.json").read_text()
    lines = [msgspec.json.decode(line) for line in written.splitlines()]
    assert [line["kind"] for line in lines] == ["certificate issued"] * 2 + ["certificate refused"] * 2
    assert (lines[0]["proof"], lines[0]["node"]) == ("join", "web-1")
    assert (lines[1]["spiffe_id"], lines[1]["serial"]) == (str(CART), f"{issued.serial:x}")
    assert [line["reason"] for line in lines[2:]] == ["token_used", "not_allowed"]
    assert lines[3]["address"] == "127.0.0.1"
    assert token.removeprefix("meshtrio-join-") not in written + caplog.text
    assert "PRIVATE" not in written + caplog.text
