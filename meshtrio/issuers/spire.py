"""Shell. Certificates from SPIRE, by the SPIFFE Workload API on a unix socket.

The SPIRE agent decides who we are by looking at this process, and pushes all identities that it is entitled
to; a workload's is the one with its id. So there have to be registration entries for the workloads of this
node whose selectors fit the meshtrio agent. Keys are made by SPIRE. What is pushed later goes to `news`, and
so do the roots of the trust domains with which those entries federate.
"""

import random
import time
from collections.abc import Callable

import trio
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_der_private_key

from meshtrio.config.identity import Identity
from meshtrio.identity.bundle import Bundle, BundleFault, make_bundle
from meshtrio.identity.certificate import Certificate, accepted_key, key_bytes, read
from meshtrio.identity.chain import verify
from meshtrio.identity.plan import Validity, backoff_s
from meshtrio.identity.refusal import Refused
from meshtrio.identity.spiffe import SpiffeFault, SpiffeId, parse
from meshtrio.identity.trust import Trust, TrustFault
from meshtrio.issuers.issuer import Federation, Issued, IssueError, News, Wanted
from meshtrio.issuers.spire_stream import StreamError, responses
from meshtrio.issuers.spire_wire import Response, Svid, WireError, certificates
from meshtrio.observe import log

AGAIN_MOST_S = 30.0
PERMISSION_DENIED = 7
SHOWN = 8
"""How many of the ids that are offered are named when the wanted one is not among them."""
PATIENCE_S = 5.0
"""How long a request waits for the first word of an agent that has just been connected to."""


class Spire:
    """See Issuer."""

    name = "spire"

    def __init__(self, settings: Callable[[], Identity], wall_now: Callable[[], float] = time.time) -> None:
        """Connect to nothing yet. `settings` gives what is configured now."""
        self._settings = settings
        self._wall_now = wall_now
        self._trust = Trust(settings().trust_domain)
        self._others: tuple[Bundle, ...] = ()
        self._offered: dict[SpiffeId, Issued] = {}
        self._given: dict[tuple[str, SpiffeId], int] = {}
        """Which serial each workload got last. Bounded by the workloads that there ever were on this node."""
        self._changed = trio.Event()
        self._heard = False
        self.fault = "the SPIRE agent was not asked yet"
        """Why it was of no use when it was asked last; empty: it was."""

    async def run(self, news: News, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """See Issuer. Connects again and again; what SPIRE has given is used meanwhile."""
        failures = 0
        while True:
            try:
                async with responses(self._settings().spire_socket) as told:
                    async for response in told:
                        failures = 0
                        self._take(response, news)
                        task_status.started()
                        task_status = trio.TASK_STATUS_IGNORED
            except StreamError as ended:
                failures += 1
                self._fail(str(ended))
                if ended.code == PERMISSION_DENIED:
                    # That is an answer: we are entitled to nothing (any more).
                    self._offered.clear()
            task_status.started()
            task_status = trio.TASK_STATUS_IGNORED
            await trio.sleep(min(backoff_s(failures, None, random.random()), AGAIN_MOST_S))

    async def issue(self, wanted: Wanted) -> Issued:
        """See Issuer. Gives what SPIRE offers now; SPIRE itself decides when there is another one."""
        asked = (wanted.workload, wanted.spiffe_id)
        with trio.move_on_after(PATIENCE_S):
            while not self._heard:
                await self._changed.wait()
        offered = self._offered.get(wanted.spiffe_id)
        if offered is not None:
            if self._wall_now() > offered.validity.not_after:
                raise IssueError(f"what SPIRE has given for {wanted.spiffe_id} has ended: {self.fault}")
            if self._given.get(asked) == offered.serial and self._is_old(offered):
                raise IssueError(f"SPIRE has not renewed {wanted.spiffe_id} yet")
            self._given[asked] = offered.serial
            return offered
        if self.fault:
            raise IssueError(self.fault)
        raise IssueError(f"SPIRE offers no {wanted.spiffe_id}, but {self._named()}")

    def _is_old(self, offered: Issued) -> bool:
        begin, end = offered.validity
        return self._wall_now() > (begin + end) / 2

    def _named(self) -> str:
        ids = sorted(str(one) for one in self._offered)
        more = f" and {len(ids) - SHOWN} more" if len(ids) > SHOWN else ""
        return ", ".join(ids[:SHOWN]) + more if ids else "nothing at all"

    def _take(self, response: Response, news: News) -> None:
        """Hold what is offered from now on. What cannot be used is left out, and told of."""
        faults: list[str] = []
        bundle = self._own_bundle(response, faults)
        if bundle is not None:
            try:
                trust = self._trust.with_own(bundle)
            except TrustFault as wrong:
                faults.append(str(wrong))
            else:
                if trust is not self._trust:
                    self._trust = trust
                    news(bundle)
        others = self._federated(response, faults)
        if others != self._others:
            self._others = others
            news(Federation(others))
        before, self._offered = self._offered, {}
        for svid in response.svids:
            try:
                found = self._issued(svid)
            except (Refused, WireError, SpiffeFault, IssueError) as wrong:
                faults.append(f"{ascii(svid.spiffe_id)[:200]}: {wrong}")
                continue
            # SPIRE's first one of an id is its default.
            self._offered.setdefault(found.spiffe_id, found)
        self._fail("; ".join(faults[:3]) if faults and not self._offered else "")
        for fault in faults:
            log.rarely("SPIRE offers what cannot be used", why=fault)
        for spiffe_id, found in self._offered.items():
            known = before.get(spiffe_id)
            if known is not None and known.serial != found.serial:
                news(found)

    def _own_bundle(self, response: Response, faults: list[str]) -> Bundle | None:
        own = self._trust.own
        anchors: list[Certificate] = []
        for svid in response.svids:
            try:
                if parse(svid.spiffe_id).trust_domain == own:
                    anchors += [read(one) for one in certificates(svid.bundle)]
            except (Refused, WireError, SpiffeFault) as wrong:
                faults.append(f"the roots with {ascii(svid.spiffe_id)[:200]}: {wrong}")
        if not anchors:
            return None
        try:
            return make_bundle(own, tuple(dict.fromkeys(anchors)))
        except BundleFault as fault:
            faults.append(str(fault))
        return None

    def _federated(self, response: Response, faults: list[str]) -> tuple[Bundle, ...]:
        """Read the roots of other trust domains. One that cannot be used is as before."""
        known = {one.trust_domain: one for one in self._others}
        found = []
        for said, der in response.federated.items():
            name = said.removeprefix("spiffe://").rstrip("/")
            try:
                found.append(make_bundle(name, tuple(read(one) for one in certificates(der))))
            except (Refused, WireError, BundleFault, SpiffeFault) as wrong:
                faults.append(f"the roots of {ascii(said)[:200]}: {wrong}")
                found += [known[name]] if name in known else []
        return tuple(sorted(found, key=lambda one: one.trust_domain))

    def _issued(self, svid: Svid) -> Issued:
        spiffe_id = parse(svid.spiffe_id)
        chain = certificates(svid.chain)
        verify(chain, self._trust, self._wall_now(), skew_s=self._settings().skew_s, expected=spiffe_id)
        leaf = read(chain[0])
        try:
            key = load_der_private_key(svid.key, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise IssueError("its key cannot be read") from None
        if key_bytes(accepted_key(key.public_key())) != key_bytes(leaf.key):
            raise IssueError("its key is another one's")
        return Issued(spiffe_id, chain, svid.key, leaf.serial, Validity(leaf.not_before, leaf.not_after))

    def _fail(self, fault: str) -> None:
        if fault and fault != self.fault:
            log.warning("SPIRE is of no use", why=fault)
        self.fault, self._heard = fault, True
        self._changed.set()
        self._changed = trio.Event()
