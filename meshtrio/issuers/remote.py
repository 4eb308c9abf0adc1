"""Shell. Certificates from a `meshtrio ca` elsewhere.

Who this node is proves a Kubernetes service account's token, with each request; or, once, a join token, for
which the node gets a certificate that it shows from then on, and renews by itself. A workload's key is made
here and stays here. What comes back is verified as if a stranger had sent it.
"""

import base64
import binascii
import random
import time
from collections.abc import Callable

import msgspec
import trio
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from meshtrio.config.identity import Identity
from meshtrio.identity.bundle import BundleFault, read_bundle
from meshtrio.identity.certificate import Certificate, key_bytes, read
from meshtrio.identity.chain import verify
from meshtrio.identity.plan import Validity, backoff_s
from meshtrio.identity.refusal import Refused
from meshtrio.identity.request import make_request
from meshtrio.identity.spiffe import SpiffeId
from meshtrio.identity.trust import Trust, TrustFault
from meshtrio.issuers.exchange import Answer, Ask, ExchangeError, NotAccepted, exchange, url_of
from meshtrio.issuers.issuer import Issued, IssueError, News, Wanted
from meshtrio.issuers.passport import Passport, Way
from meshtrio.issuers.signing import fresh_key
from meshtrio.observe import log

REFRESH_S = 300.0
JITTER_PART = 0.1
"""How often the roots are asked for, and by how much sooner at random."""
AGAIN_MOST_S = 30.0
"""How soon, at the latest, if that has failed."""
PATIENCE_S = 30.0
"""The longest `Retry-After` that is waited for. Longer: IssueError, and whoever wants it comes again."""
TRIES = 4
AT_A_TIME = 16
ANSWER_S = 10.0
WORDS = 300
_NOT_KNOWN = ("node_unknown", "no_proof")

_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, binascii.Error, ValueError)


class _Told(msgspec.Struct):
    chain: list[str]
    bundle: msgspec.Raw


class _Error(msgspec.Struct):
    error: str = ""


class _NotKnown(IssueError):
    """The CA does not accept this node's certificate (any more)."""


class Remote:
    """See Issuer."""

    name = "remote"

    def __init__(
        self, settings: Callable[[], Identity], node: str, wall_now: Callable[[], float] = time.time
    ) -> None:
        """Ask nothing yet. `settings` gives what is configured now; `node` is this machine's name."""
        self._settings = settings
        self._wall_now = wall_now
        self._passport = Passport(settings, node, wall_now)
        self._trust = Trust(settings().trust_domain)
        self._news: News = _unheard
        # Full: a thousand workloads that begin together wait for each other, and the CA is not run over.
        self._asking = trio.CapacityLimiter(AT_A_TIME)
        self._joining = trio.Lock()
        self._quiet_until = float("-inf")
        self.fault = "the CA was not asked yet"
        """Why it was of no use when it was asked last; empty: it was."""

    async def run(self, news: News, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """See Issuer. Asks for the roots, and renews the node's certificate, as long as it runs."""
        self._news = news
        failures = 0
        await self._passport.open()
        while True:
            try:
                self._believe((await self._asked(self._passport.anonymous(), Ask("GET", "/v1/bundle"))).body)
                if self._passport.due_in_s() <= 0:
                    await self._join(renewing=True)
                failures, self.fault = 0, ""
            except IssueError as failed:
                failures += 1
                if self.fault != str(failed):
                    log.warning("the CA is of no use", why=str(failed))
                self.fault = str(failed)
            task_status.started()
            task_status = trio.TASK_STATUS_IGNORED
            await trio.sleep(self._pause_s(failures))

    async def issue(self, wanted: Wanted) -> Issued:
        """See Issuer."""
        await self._passport.open()
        async with self._asking:
            key = await trio.to_thread.run_sync(fresh_key)
            try:
                chain = await self._signed(await self._way(), key, wanted.spiffe_id, wanted.life_s)
            except _NotKnown as refused:
                # As after the CA was made anew. A token may help.
                self._passport.refusal = str(refused)
                chain = await self._signed(await self._way(), key, wanted.spiffe_id, wanted.life_s)
        leaf = chain[0]
        secret = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        validity = Validity(leaf.not_before, leaf.not_after)
        return Issued(wanted.spiffe_id, tuple(one.der for one in chain), secret, leaf.serial, validity)

    async def _way(self) -> Way:
        way = self._passport.for_workloads()
        if way is None:
            await self._join()
            way = self._passport.for_workloads()
        if way is None:
            raise IssueError("this node's certificate has ended as soon as it began: look at the clocks")
        return way

    async def _join(self, *, renewing: bool = False) -> None:
        """Get a certificate for this node, by the one it has or by its token, unless another task has."""
        async with self._joining:
            if not renewing and self._passport.for_workloads() is not None:
                return
            way, key = await self._passport.for_joining()
            own = self._passport.own_id
            try:
                chain = await self._signed(way, key, own, None)
            except _NotKnown as refused:
                self._passport.refusal = str(refused)
                way, key = await self._passport.for_joining()
                chain = await self._signed(way, key, own, None)
            await self._passport.take(key, chain)
        log.info(
            "the CA knows this node", id=str(own), renewed=way.has_certificate, not_after=chain[0].not_after
        )

    async def _signed(
        self, way: Way, key: ec.EllipticCurvePrivateKey, spiffe_id: SpiffeId, life_s: float | None
    ) -> tuple[Certificate, ...]:
        """Have a certificate signed, and verify what comes."""
        csr = await trio.to_thread.run_sync(make_request, key, spiffe_id)
        body: dict[str, object] = {"spiffe_id": str(spiffe_id), "node": self._passport.node}
        body["csr"] = base64.b64encode(csr).decode()
        if life_s is not None:
            body["life_s"] = life_s
        answer = await self._asked(way, Ask("POST", "/v1/sign", body, way.token))
        try:
            told = msgspec.json.decode(answer.body, type=_Told)
            chain = [base64.b64decode(one, validate=True) for one in told.chain]
        except _UNREADABLE as wrong:
            raise IssueError("what the CA sent is no certificate: it cannot be read") from wrong
        self._believe(bytes(told.bundle))
        try:
            verify(chain, self._trust, self._wall_now(), skew_s=self._settings().skew_s, expected=spiffe_id)
            found = tuple(read(one) for one in chain)
        except Refused as refused:
            raise IssueError(f"what the CA sent is not accepted: {refused}") from refused
        if key_bytes(found[0].key) != key_bytes(key.public_key()):
            raise IssueError("what the CA sent is for another key than ours")
        return found

    def _believe(self, text: bytes) -> None:
        try:
            trust = self._trust.with_own(read_bundle(self._trust.own, text))
        except (BundleFault, TrustFault) as fault:
            raise IssueError(f"the CA's roots are not taken: {fault}") from fault
        if trust is not self._trust:
            self._trust = trust
            self._news(trust.bundles[trust.own])

    async def _asked(self, way: Way, ask: Ask) -> Answer:
        """Ask, and come back when told to. IssueError for everything but 200."""
        address = self._settings().remote.address
        for attempt in range(TRIES):
            while (wait_s := self._quiet_until - trio.current_time()) > 0:
                await trio.sleep(wait_s * random.uniform(1, 1.2))
            try:
                with trio.fail_after(ANSWER_S):
                    answer = await exchange(url_of(address), way.tls, ask)
            except trio.TooSlowError:
                raise IssueError(f"{address} did not answer within {ANSWER_S:.0f} s") from None
            except NotAccepted as refused:
                raise (_NotKnown if way.has_certificate else IssueError)(str(refused)) from refused
            except ExchangeError as failed:
                raise IssueError(str(failed)) from failed
            if answer.status == 200:
                return answer
            after_s = _after_s(answer)
            if after_s is None or after_s > PATIENCE_S or attempt == TRIES - 1:
                raise _refusal(address, answer, way)
            self._quiet_until = max(self._quiet_until, trio.current_time() + after_s)
        raise AssertionError("the last attempt returns or raises")

    def _pause_s(self, failures: int) -> float:
        bundle = self._trust.bundle(self._trust.own)
        hint_s = bundle.refresh_hint_s if bundle else None
        normal_s = min(max(hint_s or REFRESH_S, 5.0), 3600.0)
        if failures:
            return min(backoff_s(failures, None, random.random()), AGAIN_MOST_S)
        due_s = max(self._passport.due_in_s(), 1.0)
        return min(normal_s, due_s) * random.uniform(1 - JITTER_PART, 1)


def _refusal(address: str, answer: Answer, way: Way) -> IssueError:
    try:
        said = msgspec.json.decode(answer.body, type=_Error).error
    except _UNREADABLE:
        said = ""
    words = "".join(one if one.isprintable() else " " for one in said[:WORDS])
    if way.token:
        words = words.replace(way.token, "***")
    if way.has_certificate and answer.headers.get("x-meshtrio-reason") in _NOT_KNOWN:
        return _NotKnown(words)
    if answer.status in (401, 403):
        return IssueError(f"the CA refuses ({answer.status}): {words or 'it does not say why'}")
    if answer.status == 429:
        return IssueError(f"the CA has too much to do ({answer.status}): {words}")
    return IssueError(f"{address} answers {answer.status}: {words or 'which is not what a CA says'}")


def _after_s(answer: Answer) -> float | None:
    after = answer.headers.get("retry-after", "")
    if answer.status not in (429, 503) or not (after.isascii() and after.isdigit() and len(after) < 6):
        return None
    return float(after)


def _unheard(news: object) -> None:
    """Nobody listens yet."""
