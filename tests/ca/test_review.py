"""A CA beside a Kubernetes API server, over real sockets: whose a token is, and what is on its node."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from msgspec.structs import replace

from meshtrio.ca import review
from meshtrio.config.discovery import Discovery, Kubernetes
from meshtrio.identity.spiffe import parse
from meshtrio.issuers.issuer import IssueError
from tests.support.ca_world import World, ask_for, node_id
from tests.support.kubernetes import ApiServer, Wrong
from tests.support.kubernetes_objects import pod
from tests.support.kubernetes_side import kubeconfig

TOKEN = "eyJ.agent.of-a"
WEB = "spiffe://td/ns/shop/sa/web"


def pod_on(
    node: str, name: str, namespace: str = "shop", account: str = "web", phase: str = "Running"
) -> Any:
    made = pod(name, "10.0.0.1", namespace=namespace)
    made["spec"] |= {"nodeName": node, "serviceAccountName": account}
    made["status"]["phase"] = phase
    return made


def account(
    name: str = "mesh:agent", pod_name: str = "agent-a", uid: str = "agent-a", **words: object
) -> Any:
    extra = {
        "authentication.kubernetes.io/pod-name": [pod_name],
        "authentication.kubernetes.io/pod-uid": [uid],
    }
    user = {"username": f"system:serviceaccount:{name}", "uid": "1", "groups": ["x"], "extra": extra}
    return {"authenticated": True, "user": user, "audiences": ["meshtrio"]} | words


@pytest.fixture
def api() -> Iterator[ApiServer]:
    with ApiServer() as server:
        server.store.put(
            "pods",
            pod_on("a", "agent-a", "mesh", "agent"),
            pod_on("a", "web-1"),
            pod_on("a", "done-1", account="job", phase="Succeeded"),
            pod_on("b", "bank-1", "bank", "teller"),
            pod_on("b", "agent-b", "mesh", "agent"),
        )
        server.accounts[TOKEN] = account()
        yield server


@pytest.fixture
def world(tmp_path: Path, api: ApiServer) -> World:
    made = World(tmp_path)
    access = kubeconfig(tmp_path / "kubeconfig", api.url, {"token": "the-ca"})
    made.config = replace(made.config, discovery=Discovery(kubernetes=Kubernetes(kubeconfig=str(access))))
    made.agents = ("mesh/agent",)
    return made


async def reason(world: World, wanted: str = WEB, token: str = TOKEN) -> str:
    answer = await world.post(ask_for(wanted, "whatever"), token)
    assert token not in answer.text
    return "" if answer.status_code == 200 else answer.headers["x-meshtrio-reason"]


async def test_an_agent_gets_identities_of_pods_on_its_node_alone(world: World, api: ApiServer) -> None:
    async with world.running():
        assert await reason(world) == ""
        assert await reason(world, "spiffe://td/ns/mesh/sa/agent") == ""
        for other in ("ns/bank/sa/teller", "ns/shop/sa/job", "ns/shop/sa/other", "meshtrio/node/a"):
            assert await reason(world, f"spiffe://td/{other}") == "not_allowed"
        assert await reason(world, "spiffe://other/ns/shop/sa/web") == "not_allowed"
    assert {request.token for request in api.requests} == {"the-ca"}


async def test_through_the_agents_own_issuer(world: World) -> None:
    async with world.running():
        agent = world.agent("a", TOKEN)
        assert (await agent.get(parse(WEB))).spiffe_id == parse(WEB)
        with pytest.raises(IssueError, match=r"\(403\): spiffe://td/ns/bank/sa/teller is not on node a"):
            await agent.get(parse("spiffe://td/ns/bank/sa/teller"))
    assert [one.name for one in (world.folder / "a").iterdir()] == ["token"]


async def test_a_pod_that_has_just_come_is_seen_and_one_that_has_gone_soon_not(
    world: World, api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world.running():
        assert await reason(world) == ""
        assert await reason(world, "spiffe://td/ns/new/sa/new") == "not_allowed"
        api.store.put("pods", pod_on("a", "new-1", "new", "new"))
        assert await reason(world, "spiffe://td/ns/new/sa/new") == ""
        monkeypatch.setattr(review, "PODS_S", 0.0)
        api.store.delete("pods", "web-1", "shop")
        assert await reason(world) == "not_allowed"


async def test_what_was_said_lately_is_not_asked_again(world: World, api: ApiServer) -> None:
    async with world.running():
        for _ in range(5):
            assert await reason(world) == ""
    assert [one.resource for one in api.requests] == ["tokenreviews", "pods", "pods"]


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (None, "token_unknown"),
        (account(audiences=["https://kubernetes.default.svc"]), "token_unknown"),
        (account(audiences=[]), "token_unknown"),
        (account(authenticated=False), "token_unknown"),
        (account("shop:web", "web-1", "web-1"), "account"),
        (account("mesh:agent2"), "account"),
        (account(pod_name="agent-a", uid="another"), "account"),
        (account(pod_name="../../../api/v1/secrets"), "account"),
        (account(user={"username": "mesh/agent"}), "account"),
        (account(user={"username": "system:serviceaccount:mesh:agent"}), "account"),
        (account(user=3), "not_now"),
        (account(pod_name="gone"), "account"),
    ],
    ids=[
        "unknown",
        "api-audience",
        "no-audience",
        "not",
        "pod-of-shop",
        "other",
        "uid",
        "path",
        "user",
        "unbound",
        "junk",
        "gone",
    ],
)
async def test_tokens_that_prove_nothing(world: World, api: ApiServer, status: Any, why: str) -> None:
    token = "eyJ.another"
    if status is not None:
        api.accounts[token] = status
    async with world.running():
        assert await reason(world, token=token) == why


@pytest.mark.parametrize("wrong", [Wrong(403), Wrong(500), Wrong(201, raw=b"{"), Wrong(200, raw=b"[]")])
async def test_an_api_server_that_does_not_say_is_no_refusal_for_ever(
    world: World, api: ApiServer, wrong: Wrong, caplog: pytest.LogCaptureFixture
) -> None:
    api.fail(wrong._replace(message=f"not with {TOKEN}"), 100)
    async with world.running():
        answer = await world.post(ask_for(WEB), TOKEN)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert answer.headers["x-meshtrio-reason"] == "not_now"
        api.stop_failing()
        assert await reason(world) == ""
    assert TOKEN not in caplog.text


async def test_an_api_server_that_is_away_or_silent(
    world: World, api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(review, "WAIT_S", 0.3)
    async with world.running():
        api.freeze()
        async with trio.open_nursery() as nursery:
            for _ in range(6):
                nursery.start_soon(reason, world)
        assert await reason(world) == "not_now"
        api.thaw()
        assert await reason(world) == ""
        api.stop()
        assert await reason(world, "spiffe://td/ns/x/sa/x") == "not_now"
        api.start()
        assert await reason(world, "spiffe://td/ns/x/sa/x") == "not_allowed"


async def test_join_tokens_go_on_beside_it(world: World) -> None:
    async with world.running():
        assert await reason(world, str(node_id("whatever")), world.token("whatever")) == ""
