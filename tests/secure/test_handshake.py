"""Who gets in and who does not, with real TLS clients and servers; and what strangers can cost us."""

import contextlib
import functools
import socket
import ssl
import time
from collections.abc import Awaitable, Callable

import pytest
import trio
from cryptography import x509

from meshtrio.address import Address
from meshtrio.config.identity import Mtls
from meshtrio.identity.spiffe import parse
from meshtrio.messages import Credentials
from meshtrio.secure.handshake import HandshakeError, Secured, accept_securely, dial_securely
from meshtrio.secure.keyring import Keyring, Proof
from meshtrio.secure.resumption import NAME_BYTES
from tests.forward.peers import RESET, connected, read
from tests.forward.tls_app import TlsApp, secured
from tests.support.identities import LEAF, forge, key, root, signing, uris, usage
from tests.support.rings import (
    AT,
    CLIENT,
    CLIENT_ID,
    SERVER,
    SERVER_ID,
    Shown,
    credentials,
    private,
    ring,
    shown,
    trusted,
)

DAY_S = 86_400.0
SOMEWHERE = Address.of("127.0.0.1", 1)
Attack = Callable[[], tuple[Shown, str]]


def forged(*extensions: x509.ExtensionType, begin: float = AT - 300, end: float = AT + DAY_S) -> Shown:
    by = signing(at=AT)
    der = forge(by, extensions or (*LEAF[:2], uris(CLIENT_ID)), begin=begin, end=end)
    return Shown((der, *(one.der for one in by.chain)), key("leaf"))


def self_signed() -> Shown:
    return Shown(
        (forge(None, (*LEAF[:2], uris(CLIENT_ID)), subject="me", begin=AT - 300, end=AT + DAY_S),),
        key("leaf"),
    )


def ca_as_leaf() -> Shown:
    ca = x509.BasicConstraints(ca=True, path_length=None)
    return forged(ca, usage("digital_signature", "key_cert_sign"), uris(CLIENT_ID))


ATTACKS: dict[str, tuple[Callable[[], Shown], set[str]]] = {
    "self-signed": (self_signed, {"self_signed"}),
    "other CA": (
        lambda: shown(CLIENT_ID, authority=signing(number=7, at=AT)),
        {"untrusted"},
    ),
    "expired": (lambda: forged(begin=AT - DAY_S, end=AT - 400), {"expired"}),
    "not yet valid": (lambda: forged(begin=AT + 50_000), {"not_yet_valid"}),
    "other trust domain": (
        lambda: shown("spiffe://other/ns/shop/sa/client", authority=signing("other", at=AT)),
        {"untrusted", "unknown_trust_domain"},
    ),
    "trust domain that is not its CA's": (
        lambda: forged(*LEAF[:2], uris("spiffe://other/ns/shop/sa/client")),
        {"unknown_trust_domain"},
    ),
    "two URIs": (lambda: forged(*LEAF[:2], uris(CLIENT_ID, SERVER_ID)), {"many_uris"}),
    "no URI": (lambda: forged(*LEAF[:2]), {"no_spiffe_id"}),
    "CA as leaf": (ca_as_leaf, {"ca_as_leaf"}),
}


def context_of(what: Shown, *, client: bool) -> ssl.SSLContext:
    """Make a context that shows this, trusting the right root, as an attacker or another program would."""
    roots = root(at=AT).certificate.der
    told = Credentials(9, CLIENT_ID, what.chain, private(what.own))
    proof = Proof(told, roots, tls_1_2=True)
    return proof.client if client else proof.server


async def met(
    ring: Keyring, context: ssl.SSLContext, *, we_accept: bool, **options: object
) -> tuple[Secured | HandshakeError, TlsApp]:
    """Let a peer with this context meet us. Give what we made of it."""
    one, other = connected(socket.AF_INET)
    app = TlsApp(one, context, server_side=not we_accept)
    made: list[Secured | HandshakeError] = []

    async def peer() -> None:
        with contextlib.suppress(OSError):
            await app.handshake()

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer)
            try:
                if we_accept:
                    made.append(await accept_securely(other, ring=ring, workload=SERVER, **options))  # type: ignore[arg-type]
                else:
                    made.append(
                        await dial_securely(
                            other, ring=ring, workload=CLIENT, address=SOMEWHERE, expected=parse(SERVER_ID)
                        )
                    )
            except HandshakeError as why:
                assert other.fileno() == -1
                made.append(why)
            nursery.cancel_scope.cancel()
    return made[0], app


def reason(made: Secured | HandshakeError) -> str:
    if isinstance(made, HandshakeError):
        assert str(made)
        return made.reason
    made.end.close()
    return str(made.peer.spiffe_id)


@pytest.mark.parametrize("we_accept", [True, False], ids=["as caller", "as endpoint"])
@pytest.mark.parametrize("attack", ATTACKS)
async def test_who_cannot_prove_it_is_refused(attack: str, we_accept: bool) -> None:
    make, reasons = ATTACKS[attack]
    made, app = await met(ring(), context_of(make(), client=we_accept), we_accept=we_accept)
    with app:
        assert reason(made) in reasons
        assert (await read(app.sock))[1] == RESET


async def test_who_shows_nothing_is_refused_with_an_alert() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["meshtrio/1"])
    made, app = await met(ring(), context, we_accept=True)
    with app:
        assert reason(made) == "no_certificate"
        app.incoming.write(await app.sock.recv(1000))
        with pytest.raises(ssl.SSLError, match="CERTIFICATE_REQUIRED"):
            app.tls.read(1)


async def test_clocks_may_differ_a_little() -> None:
    now = time.time()  # the module may have been read minutes ago
    for what in (forged(begin=now + 290), forged(begin=AT - DAY_S, end=now - 290)):
        made, app = await met(ring(), context_of(what, client=True), we_accept=True)
        with app:
            assert reason(made) == CLIENT_ID


async def test_a_federated_trust_domain_is_let_in() -> None:
    told = ring()
    told.learn(trusted("other"))
    stranger = "spiffe://other/ns/shop/sa/client"
    what = shown(stranger, authority=signing("other", at=AT))
    made, app = await met(told, context_of(what, client=True), we_accept=True)
    with app:
        assert reason(made) == stranger


async def test_the_right_ca_for_another_is_not_who_was_dialled() -> None:
    what = shown("spiffe://td/ns/shop/sa/cart")
    made, app = await met(ring(), context_of(what, client=False), we_accept=False)
    with app:
        assert reason(made) == "wrong_identity"


@pytest.mark.parametrize("what", ["serials", "ids"])
async def test_the_revoked_are_refused(what: str) -> None:
    told = ring()
    news = trusted(serials={f"{77:x}": 0.0}) if what == "serials" else trusted(ids={CLIENT_ID: AT + DAY_S})
    told.learn(news)
    made, app = await met(told, context_of(shown(CLIENT_ID), client=True), we_accept=True)
    with app:
        assert reason(made) == "revoked"


@pytest.mark.parametrize("version", ["TLSv1_1", "TLSv1_2"])
async def test_old_versions_are_refused(version: str) -> None:
    context = context_of(shown(CLIENT_ID), client=True)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    if version == "TLSv1_1":
        context.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning):
            context.minimum_version = ssl.TLSVersion.TLSv1_1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
    made, app = await met(ring(), context, we_accept=True)
    with app:
        assert reason(made) == "tls"
    made, app = await met(ring(tls_1_2=True), context, we_accept=True)
    with app:
        assert reason(made) == ("tls" if version == "TLSv1_1" else CLIENT_ID)


@pytest.mark.parametrize("offered", [["h2", "http/1.1"], []])
async def test_another_protocol_is_refused_unless_allowed(offered: list[str]) -> None:
    context = context_of(shown(CLIENT_ID), client=True)
    context.set_alpn_protocols(offered)
    made, app = await met(ring(), context, we_accept=True)
    with app:
        assert reason(made) == "alpn"
    made, app = await met(ring(), context, we_accept=True, any_alpn=True)
    with app:
        assert reason(made) == CLIENT_ID


async def test_who_has_no_identity_makes_no_handshake() -> None:
    for act in (accept_securely, functools.partial(dial_securely, address=SOMEWHERE, expected=None)):
        one, other = connected(socket.AF_INET)
        with one:
            with pytest.raises(HandshakeError, match="no certificate has come") as why:
                await act(other, ring=Keyring(), workload=SERVER)
            assert why.value.reason == "no_identity"
            assert other.fileno() == -1


async def again(told: Keyring, act: Callable[[], Awaitable[None]] | None = None) -> tuple[Secured, Secured]:
    """Meet, exchange a byte so that tickets arrive, and meet again."""
    for one in await secured(told):
        buffer = memoryview(bytearray(100_000))
        with contextlib.suppress(OSError):
            one.end.recv_into(buffer, 1000)
        one.end.close()
    if act is not None:
        await act()
    return await secured(told)


async def test_a_session_is_resumed_with_the_same_identity() -> None:
    dialling, dialled = await again(ring())
    assert dialling.resumed
    assert dialled.resumed
    assert (str(dialling.peer.spiffe_id), str(dialled.peer.spiffe_id)) == (SERVER_ID, CLIENT_ID)
    assert (dialling.version, dialling.cipher) == ("TLSv1.3", "TLS_AES_256_GCM_SHA384")
    for one in (dialling, dialled):
        one.end.close()


@pytest.mark.parametrize("change", ["credentials", "trust", "settings"])
async def test_no_session_outlives_a_change(change: str) -> None:
    told = ring()

    async def act() -> None:
        if change == "credentials":
            told.learn(credentials(SERVER, SERVER_ID, shown(SERVER_ID, number=500)))
        elif change == "trust":
            told.learn(trusted("other"))
        else:
            told.settle(Mtls(), 10)

    dialling, dialled = await again(told, act)
    assert (dialling.resumed, dialled.resumed) == (False, False)
    for one in (dialling, dialled):
        one.end.close()


@pytest.mark.parametrize("offers", [(None, None), (0, NAME_BYTES)], ids=["sealed", "kept"])
async def test_a_ticket_replayed_after_revocation_opens_nothing(offers: tuple[int | None, ...]) -> None:
    """By a client that keeps its ticket whatever happens at the server."""
    told, context = ring(), context_of(shown(CLIENT_ID), client=True)
    made, app = await met(told, context, we_accept=True, offered_bytes=offers[0])
    assert reason(made) == CLIENT_ID
    with app:
        app.incoming.write(await app.sock.recv(5000))
        with pytest.raises(ssl.SSLWantReadError):
            app.tls.read(1)
        session = app.tls.session
    assert session is not None and session.has_ticket

    async def replay() -> tuple[bool | None, str]:
        one, other = connected(socket.AF_INET)
        with TlsApp(one, context, server_side=False) as app:
            app.tls.session = session
            async with trio.open_nursery() as nursery:
                nursery.start_soon(app.handshake)
                try:
                    end = await accept_securely(other, ring=told, workload=SERVER, offered_bytes=offers[1])
                except HandshakeError as why:
                    return app.tls.session_reused, why.reason
            end.end.close()
            return app.tls.session_reused, "in"

    assert await replay() == (True, "in")
    revoking = ring()
    revoking.learn(trusted(ids={CLIENT_ID: 0.0}))
    told._trust = revoking.trust  # the server still knows the session
    assert await replay() == (True, "revoked")
    told.learn(trusted(ids={CLIENT_ID: 0.0}))
    assert await replay() == (False, "revoked")


@pytest.mark.parametrize(
    ("change", "forgotten", "expected"),
    [
        (lambda told: told.learn(trusted("other")), False, CLIENT_ID),
        (
            lambda told: told.learn(credentials(SERVER, SERVER_ID, shown(SERVER_ID, number=9))),
            True,
            CLIENT_ID,
        ),
        (lambda told: told.learn(trusted(ids={CLIENT_ID: 0.0})), False, "revoked"),
        (lambda told: told.learn(trusted("other")), True, "untrusted"),
    ],
)
async def test_what_changes_amid_a_resumption_is_asked_of_the_whole_chain(
    change: Callable[[Keyring], None], forgotten: bool, expected: str
) -> None:
    told, context = ring(), context_of(shown(CLIENT_ID), client=True)
    made, app = await met(told, context, we_accept=True)
    assert reason(made) == CLIENT_ID
    with app:
        app.incoming.write(await app.sock.recv(5000))
        with pytest.raises(ssl.SSLWantReadError):
            app.tls.read(1)
        session = app.tls.session
    if forgotten:
        told.proof(SERVER).chains.clear()
    one, other = connected(socket.AF_INET)
    came: list[str] = []

    async def accept() -> None:
        try:
            came.append(reason(await accept_securely(other, ring=told, workload=SERVER)))
        except HandshakeError as why:
            came.append(why.reason)

    with TlsApp(one, context, server_side=False) as app:
        app.tls.session = session
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept)
            with pytest.raises(ssl.SSLWantReadError):
                app.tls.do_handshake()
            await app.sock.send(app.outgoing.read())
            app.incoming.write(await app.sock.recv(5000))
            change(told)
            app.tls.do_handshake()
            assert app.tls.session_reused
            await app.sock.send(app.outgoing.read())
    assert came == [expected]


async def test_a_resumed_session_ends_with_its_certificate() -> None:
    """The ticket may live longer than the leaf in it."""
    end = int(time.time()) + 2
    told, context = ring(skew_s=0), context_of(forged(begin=AT - 1000, end=end), client=True)
    made, app = await met(told, context, we_accept=True)
    assert reason(made) == CLIENT_ID
    with app:
        app.incoming.write(await app.sock.recv(5000))
        with pytest.raises(ssl.SSLWantReadError):
            app.tls.read(1)
        session = app.tls.session
    await trio.sleep(end + 0.1 - time.time())
    one, other = connected(socket.AF_INET)
    with TlsApp(one, context, server_side=False) as app:
        app.tls.session = session
        async with trio.open_nursery() as nursery:
            nursery.start_soon(app.handshake)
            with pytest.raises(HandshakeError) as why:
                await accept_securely(other, ring=told, workload=SERVER)
    assert (app.tls.session_reused, why.value.reason) == (True, "expired")


async def test_a_cancelled_handshake_is_a_reset() -> None:
    for act in (accept_securely, functools.partial(dial_securely, address=SOMEWHERE, expected=None)):
        one, other = connected(socket.AF_INET)
        with trio.move_on_after(0.05) as scope:
            await act(other, ring=ring(), workload=SERVER)
        assert scope.cancelled_caught
        with trio.socket.from_stdlib_socket(one) as app:
            assert (await read(app))[1] == RESET


async def test_the_caller_learns_of_a_refusal_as_a_reset() -> None:
    """In TLS 1.3 it has its connection before the other side has looked at its certificate."""
    told = ring()
    stranger = ring()
    stranger.learn(credentials(CLIENT, CLIENT_ID, shown(CLIENT_ID, authority=signing(number=7, at=AT))))
    one, other = connected(socket.AF_INET)
    async with trio.open_nursery() as nursery:

        async def refuse() -> None:
            with pytest.raises(HandshakeError, match="issuer"):
                await accept_securely(other, ring=told, workload=SERVER)

        nursery.start_soon(refuse)
        made = await dial_securely(one, ring=stranger, workload=CLIENT, address=SOMEWHERE, expected=None)
    with pytest.raises(ConnectionResetError):
        made.end.recv_into(memoryview(bytearray(100_000)), 1000)
    made.end.close()
