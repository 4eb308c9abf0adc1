"""What either end demands, over real sockets and with real handshakes."""

import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
import trio
from msgspec.structs import replace

from meshtrio.address import Address
from meshtrio.catalog.service import Endpoint
from meshtrio.config.identity import Callers, Identity, ModeRule, Mtls, Policy, PolicyRule
from meshtrio.config.schema import Config
from meshtrio.forward.sealed import Sealed
from meshtrio.forward.tcp import close_with_reset
from meshtrio.identity.spiffe import parse
from meshtrio.messages import Trusted, WorkloadName
from meshtrio.neighbours import Neighbour
from meshtrio.outcome import Outcome
from meshtrio.secure import border as border_module
from meshtrio.secure.border import Border, Passage, Unsafe
from tests.support.rings import CLIENT, CLIENT_ID, SERVER, SERVER_ID, credentials, trusted

CALLER, CALLED = WorkloadName(CLIENT, "cart", "shop"), WorkloadName(SERVER, "orders", "shop")
OWN = Identity(trust_domain="td")


def border(*who: int, mtls: Mtls | None = None, policy: Policy | None = None) -> Border:
    """Make a border whose workloads `who` have certificates."""
    made = Border()
    made.settle(Config(identity=OWN, mtls=mtls or Mtls(), policy=policy or Policy()))
    made.learn(trusted())
    for one in who:
        made.learn(credentials(one, {CLIENT: CLIENT_ID, SERVER: SERVER_ID}[one]))
    return made


class Pair:
    """Two connected sockets: one dialled, one accepted."""

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self.near, self.far = near, far
        self.at = Address.of(*near.getpeername()[:2])

    def endpoint(self, identity: str = SERVER_ID) -> Endpoint:
        return Endpoint("a", self.at, meshed=True, identity=identity)


@contextlib.asynccontextmanager
async def pair() -> AsyncIterator[Pair]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    for sock in (near, far):
        sock.setblocking(False)
    try:
        with trio.fail_after(10):
            yield Pair(near, far)
    finally:
        for sock in (near, far):
            close_with_reset(sock)


async def met(made: Pair, one: Border, other: Border, endpoint: Endpoint) -> tuple[object, object]:
    """Let both ends do what they demand, and return what each came to: a passage or why not."""
    came: dict[str, object] = {}

    async def end(name: str) -> None:
        try:
            if name == "out":
                came[name] = await one.out(made.near, endpoint, CALLER)
            else:
                came[name] = await other.into(made.far, CALLED, made.at)
        except Unsafe as unsafe:
            came[name] = unsafe

    async with trio.open_nursery() as both:
        both.start_soon(end, "out")
        both.start_soon(end, "into")
    return came["out"], came["into"]


async def test_both_ends_prove_who_they_are() -> None:
    async with pair() as made:
        out, into = await met(made, border(CLIENT), border(SERVER), made.endpoint())
        assert isinstance(out, Passage)
        assert isinstance(into, Passage)
        assert isinstance(out.end, Sealed)
        assert isinstance(into.end, Sealed)
        assert (str(out.peer), str(into.peer)) == (SERVER_ID, CLIENT_ID)
        assert (out.serial, into.serial) == (f"{100 + SERVER:x}", f"{100 + CLIENT:x}")
        assert out.tls == into.tls == "TLSv1.3"
        assert out.cipher == into.cipher != ""


async def test_somebody_else_than_expected_is_not_called() -> None:
    async with pair() as made:
        out, _ = await met(made, border(CLIENT), border(SERVER), made.endpoint(CLIENT_ID))
        assert isinstance(out, Unsafe)
        assert (out.outcome, out.reason) == (Outcome.UPSTREAM_TLS, "wrong_identity")
        assert made.near.fileno() == -1


async def test_an_identity_that_can_be_nobodys_is_not_called() -> None:
    async with pair() as made:
        with pytest.raises(Unsafe, match="no identity that can be") as told:
            await border(CLIENT).out(made.near, made.endpoint("spiffe://td"), CALLER)
        assert told.value.outcome is Outcome.UPSTREAM_TLS
        assert made.near.fileno() == -1


@pytest.mark.parametrize(
    ("mtls", "meshed"), [(Mtls(), False), (Mtls(mode="disable"), True), (Mtls(mode="strict"), False)]
)
async def test_calling_stays_plain_where_nothing_else_is_wanted(mtls: Mtls, meshed: bool) -> None:
    async with pair() as made:
        endpoint = replace(made.endpoint(), meshed=meshed)
        passage = await border(CLIENT, mtls=mtls).out(made.near, endpoint, CALLER)
        assert passage == Passage(made.near)


async def test_without_a_certificate_a_meshed_endpoint_is_not_called() -> None:
    async with pair() as made:
        with pytest.raises(Unsafe, match="cart has no valid certificate") as told:
            await border().out(made.near, made.endpoint(), CALLER)
        assert told.value.outcome is Outcome.NO_IDENTITY
        assert made.near.fileno() == -1


@pytest.mark.parametrize("words", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00", b""])
async def test_plain_words_stay_as_they_are_and_are_refused_in_strict(words: bytes) -> None:
    quick = Mtls(mode="strict", handshake_s=0.2)
    async with pair() as made:
        made.near.send(words) if words else None
        passage = await border(SERVER).into(made.far, CALLED, made.at)
        assert passage == Passage(made.far, silent=not words)
        with pytest.raises(Unsafe, match="wants mutual TLS") as told:
            await border(SERVER, mtls=quick).into(made.far, CALLED, made.at)
        assert told.value.outcome is Outcome.PLAINTEXT
        if words:
            assert made.far.recv(100) == words


async def test_who_sends_a_byte_now_and_then_is_not_waited_for_without_end() -> None:
    async with pair() as made, trio.open_nursery() as nursery:

        async def drip() -> None:
            for byte in b"\x16\x03\x01\x02\x00\x01" + bytes(4000):
                made.near.send(bytes([byte]))
                await trio.sleep(0.02)

        nursery.start_soon(drip)
        began = trio.current_time()
        with pytest.raises(Unsafe):
            await border(SERVER, mtls=Mtls(mode="strict", handshake_s=0.3)).into(made.far, CALLED, made.at)
        assert trio.current_time() - began < 5
        nursery.cancel_scope.cancel()


async def test_a_handshake_that_does_not_go_on_ends() -> None:
    quick = Mtls(handshake_s=0.2)
    async with pair() as made:
        with pytest.raises(Unsafe, match="no end within") as told:
            await border(CLIENT, mtls=quick).out(made.near, made.endpoint(), CALLER)
        assert (told.value.outcome, told.value.reason) == (Outcome.UPSTREAM_TLS, "timeout")
        assert made.near.fileno() == -1


async def test_it_waits_for_nothing_where_tls_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(border_module, "GREETING_S", 30.0)
    async with pair() as made:
        waits = border(SERVER, mtls=Mtls(rules=(ModeRule("disable", workload="orders"),)))
        began = trio.current_time()
        assert await waits.into(made.far, CALLED, made.at) == Passage(made.far)
        assert trio.current_time() - began < 20


KERNEL = Mtls(same_node="kernel")


class Voucher:
    """A door that notes who calls, or (not `here`) knows no such connection."""

    def __init__(self, *, here: bool = True) -> None:
        self._here = here
        self.noted: list[int] = []

    def vouch(self, source: Address, to: Address, workload: int) -> bool:
        if self._here:
            self.noted.append(workload)
        return self._here


@pytest.mark.parametrize("mode", ["permissive", "strict"])
async def test_within_a_node_the_kernels_word_may_do(mode: str) -> None:
    made = border(CLIENT, SERVER, mtls=replace(KERNEL, mode=mode))
    door = Voucher()
    async with pair() as ends:
        there = Neighbour(SERVER, cast(Any, door))
        out = await made.out(ends.near, ends.endpoint(), CALLER, there)
        assert out == Passage(ends.near, parse(SERVER_ID), tls="kernel")
        into = await made.into(ends.far, CALLED, ends.at, vouched=lambda: door.noted.pop())
        assert into == Passage(ends.far, parse(CLIENT_ID), tls="kernel")


@pytest.mark.parametrize(
    ("mtls", "who", "identity", "here"),
    [
        (Mtls(), (CLIENT, SERVER), SERVER_ID, True),
        (replace(KERNEL, mode="disable"), (CLIENT, SERVER), SERVER_ID, True),
        (KERNEL, (SERVER,), SERVER_ID, True),
        (KERNEL, (CLIENT,), SERVER_ID, True),
        (KERNEL, (CLIENT, SERVER), CLIENT_ID, True),
        (KERNEL, (CLIENT, SERVER), SERVER_ID, False),
    ],
)
async def test_where_it_is_not_sure_it_encrypts(
    mtls: Mtls, who: tuple[int, ...], identity: str, here: bool
) -> None:
    door = Voucher(here=here)
    async with pair() as ends:
        there = Neighbour(SERVER, cast(Any, door))
        made = border(*who, mtls=replace(mtls, handshake_s=0.1))
        with contextlib.suppress(Unsafe):  # nobody answers
            assert (await made.out(ends.near, ends.endpoint(identity), CALLER, there)).tls == ""
        assert door.noted == []


async def test_whom_nobody_vouches_for_is_asked_for_tls() -> None:
    strict = replace(KERNEL, mode="strict", handshake_s=0.3)
    async with pair() as ends:
        with pytest.raises(Unsafe, match="wants mutual TLS"):
            await border(SERVER, mtls=strict).into(ends.far, CALLED, ends.at)
    async with pair() as ends:
        _, into = await met(ends, border(CLIENT), border(SERVER, mtls=strict), ends.endpoint())
        assert isinstance(into, Passage)
        assert into.tls == "TLSv1.3"


@pytest.mark.parametrize(("who", "revoked"), [((SERVER,), False), ((SERVER, CLIENT), True)])
async def test_who_is_vouched_for_needs_a_good_certificate(
    who: tuple[int, ...], revoked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(border_module, "COMING_S", 0.1)
    made = border(*who, mtls=KERNEL)
    if revoked:
        made.learn(trusted(ids={CLIENT_ID: 0.0}))
    async with pair() as ends:
        with pytest.raises(Unsafe, match="revoked" if revoked else "no valid certificate") as told:
            await made.into(ends.far, CALLED, ends.at, vouched=lambda: CLIENT)
        assert told.value.outcome is Outcome.CLIENT_TLS


async def test_who_is_vouched_for_by_a_predecessors_worker_may_be_known_later() -> None:
    made = border(SERVER, mtls=KERNEL)
    async with pair() as ends, trio.open_nursery() as meanwhile:

        async def let_in() -> None:
            into = await made.into(ends.far, CALLED, ends.at, vouched=lambda: CLIENT)
            assert (str(into.peer), into.tls) == (CLIENT_ID, "kernel")

        meanwhile.start_soon(let_in)
        await trio.sleep(0.1)
        made.learn(credentials(CLIENT, CLIENT_ID))


def test_policy_judges_by_the_configuration_that_holds_now() -> None:
    caller = parse(CLIENT_ID)
    made = border()
    assert made.judge(caller, CALLED, 80).allowed
    rule = PolicyRule("deny", name="carts", callers=Callers(ids=(CLIENT_ID,)))
    made.settle(Config(identity=OWN, policy=Policy(rules=(rule,))))
    assert not made.judge(caller, CALLED, 80).allowed
    assert made.judge(None, CALLED, 80).allowed


@pytest.mark.parametrize(
    ("told", "revoked"),
    [
        (Trusted("td"), False),
        (Trusted("td", revoked_ids={CLIENT_ID: 0.0}), True),
        (Trusted("td", revoked_ids={CLIENT_ID: 99.0}), False),
        (Trusted("td", revoked_serials={"ab": 101.0}), True),
        (Trusted("td", revoked_serials={"cd": 0.0}), False),
    ],
)
def test_who_is_revoked_is_known_by_id_and_by_serial(told: Trusted, revoked: bool) -> None:
    made = border()
    made.learn(told)
    assert made.is_revoked(CLIENT_ID, "ab", 100.0) is revoked
    assert made.has_revoked is bool(told.revoked_ids or told.revoked_serials)


def test_tls_is_taken_by_who_has_a_certificate_and_does_not_switch_it_off() -> None:
    assert border(SERVER).takes_tls(CALLED, 80)
    assert not border().takes_tls(CALLED, 80)
    assert not border(SERVER, mtls=Mtls(mode="disable")).takes_tls(CALLED, 80)
