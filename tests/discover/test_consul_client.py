"""Questions over real sockets: each way in which there is no answer, and that no secret gets out."""

import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest
import trio

from meshtrio.config.discovery import Consul
from meshtrio.discover import consul_client
from meshtrio.discover.consul_client import Answer, Question, opened
from meshtrio.discover.consul_wire import Failed, Why
from tests.support.fake_consul import FakeConsul, fake, instance, reply


async def why(consul: FakeConsul, answer: bytes) -> tuple[Why, str]:
    consul.fault = lambda path: answer
    async with opened(Consul(address=consul.address)) as client:
        with pytest.raises(Failed) as failed:
            await client.instances("web", Question())
    return failed.value.why, str(failed.value)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (reply(b"Permission denied", status=403), (Why.REFUSED, "403 Permission denied")),
        (reply(b"", status=401), (Why.REFUSED, "401 ")),
        (reply(b"", status=404), (Why.MISSING, "404 ")),
        (reply(b"No cluster\nleader", status=500), (Why.SERVER, "500 No cluster leader")),
        (reply(b"", status=429), (Why.SERVER, "429 ")),
        (reply([], status=302, Location="/"), (Why.SERVER, "302 []")),
        (reply([], X_Consul_KnownLeader="false"), (Why.SERVER, "Consul answers, but knows no leader")),
        (reply([], index=None), (Why.GARBLED, "the answer is none: KeyError 'x-consul-index'")),
        (reply([], index=0), (Why.GARBLED, "the answer has no index")),
        (reply([], index=-4), (Why.GARBLED, "the answer has no index")),
        (reply([], index="9" * 5000), (Why.GARBLED, "the answer has no index")),
        (reply(b"\xff"), (Why.GARBLED, "the answer is none: UnicodeDecodeError")),
        (reply(b"{"), (Why.GARBLED, "the answer is none: JSONDecodeError")),
        (reply(b"[" * 100_000), (Why.GARBLED, "the answer is none: RecursionError")),
        (b"", (Why.NETWORK, "")),
        (b"not HTTP\r\n\r\n", (Why.NETWORK, "")),
        (reply([1]).replace(b"Length: 3", b"Length: 9") + b"Close: 1", (Why.GARBLED, "")),
    ],
)
async def test_what_is_no_answer_is_a_failure_with_a_name(answer: bytes, expected: tuple[Why, str]) -> None:
    async with fake() as consul:
        kind, says = await why(consul, answer)
    assert kind is expected[0] or (kind, expected[0]) == (Why.NETWORK, Why.GARBLED)
    assert says.lower().startswith(expected[1].strip().lower())


async def test_nobody_there_is_a_failure_of_the_network() -> None:
    async with opened(Consul(address="http://127.0.0.1:1")) as client:
        with pytest.raises(Failed) as failed:
            await client.leader()
    assert failed.value.why is Why.NETWORK


async def test_an_answer_that_is_too_large_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consul_client, "ANSWER_BYTES", 1 << 20)
    async with fake() as consul:
        kind, says = await why(consul, reply([0] * (1 << 19)))
        assert (kind, says) == (Why.TOO_LARGE, "the answer is larger than 1 MB")
        consul.fault = lambda path: reply([0] * (1 << 18))
        async with opened(Consul(address=consul.address)) as client:
            assert len((await client.instances("web", Question())).body) == 1 << 18


async def test_all_answers_together_are_bounded_and_the_bound_is_given_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(consul_client, "ALL_ANSWERS_BYTES", 1 << 20)
    async with fake() as consul, opened(Consul(address=consul.address)) as client:
        consul.fault = lambda path: reply([0] * (1 << 18))
        for _ in range(5):
            await client.instances("web", Question())
        consul.fault = lambda path: reply([0] * (1 << 19))
        for _ in range(2):
            with pytest.raises(Failed, match="larger"):
                await client.instances("web", Question())
        consul.fault = lambda path: None
        assert (await client.instances("web", Question())).body == []


async def test_a_question_blocks_until_there_is_news() -> None:
    async with fake() as consul, opened(Consul(address=consul.address)) as client:
        first = await client.instances("web", Question())
        answers: list[Answer] = []

        async def ask() -> None:
            answers.append(await client.instances("web", Question(first.index, 60)))

        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask)
                while consul.times("/v1/health/service/web") < 2:
                    await trio.sleep(0.01)
                assert answers == []
                consul.become(web=[instance()])
        assert answers == [Answer(first.index + 1, [instance()])]
        assert consul.asked[-1][1] == {"index": "10", "wait": "60000ms", "stale": "1"}


@pytest.mark.parametrize("stale", [True, False])
async def test_stale_reads_and_the_datacenter_are_asked_for(stale: bool) -> None:
    async with fake() as consul:
        settings = Consul(address=consul.address, stale_reads=stale, datacenter="dc2")
        async with opened(settings) as client:
            await client.services(Question())
            await client.checks(Question())
            await client.instances("web", Question())
            await client.instances("web", Question(), "dc3")
            await client.leader()
    more = {"stale": "1"} if stale else {}
    assert [query for _, query in consul.asked] == [
        *[{"dc": "dc2", **more}] * 3,
        {"dc": "dc3", **more},
        {},
    ]


async def test_a_question_that_is_not_answered_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consul_client, "SLACK_S", 0.05)
    async with fake() as consul, opened(Consul(address=consul.address)) as client:
        consul.late_s = 5
        with pytest.raises(Failed, match="no answer in time"):
            await client.instances("web", Question())


@pytest.mark.parametrize(
    ("words", "losses"), [({}, 0), ({"Close": "1"}, 2), ({"Connection": "close", "Close": "1"}, 0)]
)
async def test_a_consul_that_lets_go_unasked_is_told_from_one_that_always_does(
    words: dict[str, Any], losses: int
) -> None:
    async with fake() as consul, opened(Consul(address=consul.address)) as client:
        consul.fault = lambda path: reply("a:8300", **words)
        for _ in range(3):
            assert await client.leader() == "a:8300"
            await client.instances("web", Question())
            await trio.sleep(0.01)
        assert client.losses == losses


async def test_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """python-consul2 takes these before what it is told, and httpx a proxy."""
    monkeypatch.setenv("CONSUL_HTTP_ADDR", "http://127.0.0.1")
    monkeypatch.setenv("CONSUL_HTTP_TOKEN", "from-the-environment")
    monkeypatch.setenv("CONSUL_HTTP_SSL", "true")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    async with fake() as consul, opened(Consul(address=consul.address)) as client:
        await client.services(Question())
        assert consul.tokens == []


@pytest.mark.parametrize("text", ["", " \n", "two words", "line\nline", "ümlaut", "x" * 5000, "\x00"])
async def test_a_token_file_without_a_token_stops_questions_and_is_not_told(
    tmp_path: Path, text: str
) -> None:
    token = tmp_path / "token"
    token.write_text(text)
    async with fake() as consul:
        async with opened(Consul(address=consul.address, token_file=str(token))) as client:
            with pytest.raises(Failed) as failed:
                await client.services(Question())
        assert consul.asked == []
    assert failed.value.why is Why.REFUSED
    assert str(failed.value) == f"{token} has no token in it"


async def test_a_token_is_read_again_and_never_told(tmp_path: Path) -> None:
    token = tmp_path / "token"
    async with fake() as consul, opened(Consul(address=consul.address, token_file=str(token))) as client:
        with pytest.raises(Failed, match="cannot be read: No such file"):
            await client.services(Question())
        assert not client.files_changed()
        token.write_text("first-secret\n")
        assert client.files_changed()
        assert await client.renew()
        assert not await client.renew()
        consul.fault = lambda path: reply(b"I know your first-secret", status=403)
        with pytest.raises(Failed) as failed:
            await client.services(Question())
        assert str(failed.value) == "403 I know your ***"
    assert consul.tokens == ["first-secret"]


def certificate(folder: Path) -> tuple[Path, Path]:
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-days", "2", "-subj", "/CN=consul", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", key, "-out", cert],
        check=True, capture_output=True,
    )  # fmt: skip
    return cert, key


async def test_over_tls_both_sides_are_checked(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(cert, key)
    theirs.load_verify_locations(cert)
    theirs.verify_mode = ssl.CERT_REQUIRED
    async with fake(theirs) as consul:
        good = Consul(address=consul.address, ca_file=str(cert), cert_file=str(cert), key_file=str(key))
        async with opened(good) as client:
            assert (await client.services(Question())).body == {"consul": []}
        for ca in ("", str(cert)):
            async with opened(Consul(address=consul.address, ca_file=ca)) as client:
                with pytest.raises(Failed) as failed:
                    await client.services(Question())
                assert failed.value.why is Why.NETWORK
        async with opened(Consul(address=consul.address, ca_file=str(key))) as client:
            with pytest.raises(Failed, match="the certificates cannot be used"):
                await client.services(Question())
