"""Shell. What the CA answers, by routes. Does not know sockets, nor where roots and nodes
are kept.

    POST /v1/sign     a certificate for the CSR of a node, or of a workload on it
    GET  /v1/bundle   the roots of the trust domain, for everybody: SPIFFE's JSON, which others federate with
    GET  /healthz, /metrics
"""

import base64
import binascii
import math
from collections import Counter
from collections.abc import Callable
from typing import Annotated

import msgspec
import trio

from meshtrio.admin.app import read_body
from meshtrio.ca.grants import STATUS, TOKEN_PREFIX, Denied, Why, is_node_name, node_id
from meshtrio.ca.limits import Limits, Rate
from meshtrio.ca.proof import Proof, Shown
from meshtrio.ca.signer import Signed, Signer
from meshtrio.identity.bundle import write_bundle
from meshtrio.identity.certificate import Key, key_bytes
from meshtrio.identity.refusal import Reason, Refused
from meshtrio.identity.request import read_request
from meshtrio.identity.spiffe import SpiffeFault, SpiffeId, parse_workload
from meshtrio.observe import audit
from meshtrio.observe.sums import Gauge, Sums
from meshtrio.web.message import HTTPException, Request, Response, answer_json
from meshtrio.web.router import Route, Router

REASON = "x-meshtrio-reason"
"""The header that says in one word why there is no certificate."""
REFRESH_HINT_S = 300


class Terms(msgspec.Struct, frozen=True):
    """How much is given, and for how long."""

    life_s: float = 86_400.0
    """Of a workload's certificate, at most."""
    node_life_s: float = 30 * 86_400.0
    per_node: Rate = Rate(50.0, 1000.0)
    in_all: Rate = Rate(500.0, 2000.0)


class Parts(msgspec.Struct, frozen=True):
    """What the application is made of."""

    signer: Signer
    proof: Proof
    wall_now: Callable[[], float]


class _Order(msgspec.Struct, forbid_unknown_fields=True):
    spiffe_id: Annotated[str, msgspec.Meta(max_length=2048)]
    csr: Annotated[str, msgspec.Meta(max_length=32_768)]
    """DER, as base64."""
    node: Annotated[str, msgspec.Meta(max_length=253)] = ""
    life_s: Annotated[float, msgspec.Meta(gt=0)] = math.inf


class Desk:
    """Where callers are answered."""

    def __init__(self, parts: Parts, terms: Terms) -> None:
        """Count from zero."""
        self._parts = parts
        self._terms = terms
        self._nodes = Limits(terms.per_node)
        self._all = Limits(terms.in_all)
        # Before anything is proved. One address alone cannot use up what there is for all.
        half = Rate(terms.in_all.per_s / 2, terms.in_all.burst / 2)
        self._addresses = Limits(half)
        self._issued: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()

    def application(self) -> Router:
        """Make the application."""
        routes = [
            Route("/v1/sign", self._sign, methods=["POST"]),
            Route("/v1/bundle", self._bundle, methods=["GET"]),
            Route("/healthz", self._healthz, methods=["GET"]),
            Route("/metrics", self._metrics, methods=["GET"]),
        ]
        return Router(routes)

    async def _sign(self, request: Request) -> Response:
        said: dict[str, object] = {"address": request.caller.host}
        try:
            signed = await self._signed(request, said)
        except Denied as denied:
            raise self._told(denied.why.value, STATUS[denied.why], denied, said) from denied
        except Refused as refused:
            status = 403 if refused.reason is Reason.WRONG_IDENTITY else 400
            raise self._told(refused.reason.value, status, refused, said) from refused
        except HTTPException as wrong:
            raise self._told(Why.BAD_REQUEST.value, wrong.status, wrong, said) from wrong
        leaf = signed.leaf
        self._issued[str(said["proof"])] += 1
        audit.record("certificate issued", **said, serial=f"{leaf.serial:x}", not_after=leaf.not_after)
        chain = [base64.b64encode(one.der).decode() for one in signed.chain]
        return answer_json({"chain": chain, "bundle": msgspec.Raw(self._written())})

    async def _signed(self, request: Request, said: dict[str, object]) -> Signed:
        """Do all of it, and note in `said` what is known of it by then."""
        self._take(self._addresses, str(said["address"]))
        self._take(self._all, "")
        order = _order(await read_body(request))
        wanted = _wanted(order)
        said |= {"node": order.node, "spiffe_id": str(wanted)}
        # Before the token: one that was brought with a faulty request is not used up.
        key = read_request(_der(order), wanted)
        caller = await self._parts.proof.caller(self._shown(request, order, wanted, key))
        said |= {"node": caller.node, "proof": caller.proof}
        self._take(self._nodes, caller.node)
        trust_domain = self._parts.signer.trust_domain
        caller.check(wanted, trust_domain)
        is_own = wanted == node_id(trust_domain, caller.node)
        most_s = self._terms.node_life_s if is_own else self._terms.life_s
        return self._parts.signer.sign(wanted, key, min(order.life_s, most_s))

    def _shown(self, request: Request, order: _Order, wanted: SpiffeId, key: Key) -> Shown:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme and scheme.lower() != "bearer":
            raise Denied(Why.NO_PROOF, "want Authorization: Bearer ...")
        if not is_node_name(order.node):
            raise Denied(Why.BAD_REQUEST, "`node` is no name for a node (letters, digits, . - _)")
        token = token.strip()
        if token.startswith(TOKEN_PREFIX) and wanted != node_id(self._parts.signer.trust_domain, order.node):
            own = node_id(self._parts.signer.trust_domain, order.node)
            raise Denied(Why.NOT_ALLOWED, f"a join token is for {own} alone; ask with that certificate")
        return Shown(request.caller.certificate, token, order.node, wanted, key_bytes(key))

    def _take(self, limits: Limits, who: str) -> None:
        wait_s = limits.take(who, trio.current_time())
        if wait_s:
            raise Denied(Why.TOO_MANY, "too many requests; come back later", wait_s)

    def _told(self, why: str, status: int, words: Exception, said: dict[str, object]) -> HTTPException:
        sentence = words.sentence if isinstance(words, HTTPException) else str(words)
        self._refused[why] += 1
        if status != 429:
            # Those are counted only: who asks a thousand times a second shall not fill the disk as well.
            audit.record("certificate refused", **said, reason=why, says=sentence)
        headers = {REASON: why}
        if isinstance(words, Denied) and words.after_s is not None:
            headers["Retry-After"] = str(math.ceil(words.after_s))
        if status == 401:
            headers["WWW-Authenticate"] = 'Bearer realm="meshtrio"'
        return HTTPException(status, sentence, headers)

    async def _bundle(self, request: Request) -> Response:
        return Response(self._written(), media_type="application/json")

    def _written(self) -> bytes:
        bundle = msgspec.structs.replace(self._parts.signer.bundle, refresh_hint_s=REFRESH_HINT_S)
        return write_bundle(bundle)

    async def _healthz(self, request: Request) -> Response:
        return Response(b"ok\n")

    async def _metrics(self, request: Request) -> Response:
        from meshtrio.observe.exposition import exposition

        gauges = [
            Gauge(
                "meshtrio_ca_issued_total", "Certificates that were signed", n, {"proof": proof}, grows=True
            )
            for proof, n in sorted(self._issued.items())
        ]
        gauges += [
            Gauge("meshtrio_ca_refused_total", "Requests that got nothing", n, {"reason": why}, grows=True)
            for why, n in sorted(self._refused.items())
        ]
        left_s = self._parts.signer.root_ends - self._parts.wall_now()
        gauges.append(Gauge("meshtrio_ca_root_expiry_seconds", "How long the root still lives", left_s))
        text = exposition(Sums(), gauges, {})
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


def _order(body: bytes) -> _Order:
    try:
        return msgspec.json.decode(body, type=_Order)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as wrong:
        raise Denied(Why.BAD_REQUEST, f"the request cannot be read: {wrong}") from wrong


def _wanted(order: _Order) -> SpiffeId:
    try:
        return parse_workload(order.spiffe_id)
    except SpiffeFault as fault:
        raise Denied(Why.BAD_REQUEST, str(fault)) from fault


def _der(order: _Order) -> bytes:
    try:
        return base64.b64decode(order.csr, validate=True)
    except (binascii.Error, ValueError) as cause:
        raise Denied(Why.BAD_REQUEST, "`csr` is not base64") from cause
