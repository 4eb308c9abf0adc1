"""Shell. The identities of this node's workloads: each has a task that keeps its certificate fresh.

Knows who is here, and tells workers whom to believe; the life of one certificate is renewing.py's, what is
trusted is trusting.py's. Starts no task that outlives `run`.
"""

import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

import trio

from meshtrio.bearer import Bearer, Wish
from meshtrio.config.identity import Identity
from meshtrio.fleet import Subject
from meshtrio.identity.plan import Now, backoff_s
from meshtrio.identity.rotation import State
from meshtrio.identity.spiffe import SpiffeFault, parse_template
from meshtrio.issuers.issuer import Federation, Issued, IssueError, Issuer
from meshtrio.messages import Credentials, Trusted
from meshtrio.observe import log
from meshtrio.renewing import Renewing

if TYPE_CHECKING:
    # Certificates cost an agent that has no identities 12 MB.
    from meshtrio.identity.bundle import Bundle
    from meshtrio.identity.trust import Trust
    from meshtrio.trusting import Trusting

FIRST_S = 1.0
"""How long a workload waits for its first certificate before it is caught without."""
ROTATED_S = 8.0
"""How long who wants a rotation waits for it."""

Tell = Callable[[Subject, Credentials | Trusted], None]
Open = Callable[[Callable[[], Identity], Callable[[], float]], Issuer]


class UnknownWorkload(Exception):
    """Nobody of this name has an identity."""


class Identities:
    """The bearers, the issuer, and what is trusted."""

    def __init__(self, settings: Identity, tell: Tell, wall_now: Callable[[], float] = time.time) -> None:
        """Begin with nobody."""
        self.settings = settings
        self.bearers: dict[int, Bearer] = {}
        self.issuer: Issuer | None = None
        self.trusting: Trusting | None = None
        self.fault = ""
        """Why the source of certificates cannot run."""
        self._tell = tell
        self._wall_now = wall_now
        self._renewing = Renewing(lambda: self.settings, self._hand_on, wall_now)
        self._come = trio.Event()
        self._late = False
        """Whether the issuer was too slow for a first certificate, so that nobody waits for it again."""

    @property
    def on(self) -> bool:
        """Whether workloads have identities at all."""
        return self.settings.source != "off"

    def now(self) -> Now:
        """Look at both clocks."""
        return self._renewing.now()

    def ids(self) -> dict[str, str]:
        """Return the SPIFFE IDs of workloads by their names."""
        return {bearer.name: str(bearer.spiffe_id) for bearer in self.bearers.values()}

    def reconfigure(self, settings: Identity) -> None:
        """Let other settings hold: for lives, at the next renewal."""
        if settings == self.settings:
            return
        self.settings = settings
        for bearer in self.bearers.values():
            bearer.tolerate(settings.skew_s)
            bearer.wake()
        if self.trusting is not None:
            self.trusting.reconfigure(settings)

    # Workloads

    async def enter(self, number: int, name: str, *, namespace: str, service_account: str) -> None:
        """Look after a workload from now on. Returns when it has its first certificate, when the first
        attempt has failed, or FIRST_S later."""
        if not self.on:
            return
        try:
            template = parse_template(self.settings.template)
            trust_domain = self.settings.trust_domain
            own = template.render(trust_domain, namespace=namespace, service_account=service_account)
        except SpiffeFault as fault:
            log.error("a workload gets no identity", workload=name, why=str(fault))
            self._hand_on(Credentials(number, why=str(fault)))
            return
        bearer = self.bearers[number] = Bearer(number, name, own)
        bearer.tolerate(self.settings.skew_s)
        self._come.set()
        with trio.move_on_after(0 if self._late else FIRST_S):
            while not (bearer.plan.serves or bearer.error):
                await bearer.attempted.wait()
        if not bearer.plan.serves:
            self._late = not bearer.error
            log.warning("a workload begins without identity", workload=name, why=bearer.error or "not yet")

    def leave(self, number: int) -> None:
        """Look after a workload no more. Its connections keep what they were made with."""
        bearer = self.bearers.pop(number, None)
        if bearer is None:
            return
        bearer.gone = True
        bearer.wake()
        self._hand_on(Credentials(number, str(bearer.spiffe_id), why="the workload has gone"))

    async def rotate(self, names: Sequence[str] = ()) -> list[Bearer]:
        """Get new certificates at once: for these workloads, or (none named) for all.

        Each is used as it comes. Returns when all attempts have ended, or ROTATED_S later. UnknownWorkload
        if one is not here, and then nothing is done.
        """
        unknown = set(names) - {bearer.name for bearer in self.bearers.values()}
        if unknown:
            raise UnknownWorkload(f"no workload {min(unknown)} has an identity here")
        meant = [bearer for bearer in self.bearers.values() if not names or bearer.name in names]
        waited = [bearer.attempted for bearer in meant]
        for bearer in meant:
            bearer.wants(Wish.ROTATE)
        with trio.move_on_after(ROTATED_S):
            for event in waited:
                await event.wait()
        return meant

    async def rotate_root(self) -> str:
        """Let another root sign, and give everybody a certificate below it. IssueError if that cannot be."""
        act: Callable[[], Awaitable[str]] | None = getattr(self.issuer, "rotate_root", None)
        if act is None:
            raise IssueError(f"with identity.source {self.settings.source} the root is not ours to rotate")
        serial = await act()
        await self.rotate()
        return serial

    # Tasks

    async def run(
        self, open_issuer: Open, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Keep all certificates fresh until cancelled. Ready when the roots are known, or are late."""
        if not self.on:
            task_status.started()
            return
        from meshtrio.trusting import Trusting

        self.trusting = trusting = Trusting(self.settings, self._trusts)
        self._trusts(trusting.trust)
        self.issuer = self._renewing.issuer = issuer = open_issuer(lambda: self.settings, self._wall_now)
        self._renewing.trust = lambda: trusting.trust
        kept = await self._renewing.recall()
        if kept is not None:
            trusting.own(kept)  # until the source says what holds now
        begun = _Begun()
        async with trio.open_nursery() as tasks:
            tasks.start_soon(trusting.run)
            tasks.start_soon(self._keep_issuing, issuer, begun)
            with trio.move_on_after(FIRST_S):
                await begun.event.wait()
            task_status.started()
            while True:
                self._come = trio.Event()
                for bearer in [one for one in self.bearers.values() if not one.kept]:
                    bearer.kept = True
                    tasks.start_soon(self._renewing.keep_fresh, bearer)
                await self._come.wait()

    async def _keep_issuing(self, issuer: Issuer, begun: "_Begun") -> None:
        failures = 0
        while True:
            try:
                await issuer.run(self._heard, task_status=begun)
            except IssueError as refused:
                self.fault = str(refused)
                log.error("workloads get no identity", why=self.fault)
            except Exception as bug:  # noqa: BLE001  a border: it must not end those who wait for certificates
                self.fault = f"a bug of ours: {type(bug).__name__}"
                log.bug("the source of certificates failed by a bug of ours; it begins anew", bug)
            begun.started()
            failures += 1
            await trio.sleep(backoff_s(failures, None, random.random()))

    def _heard(self, news: "Bundle | Federation | Issued") -> None:
        self.fault = ""
        if not isinstance(news, Issued):
            assert self.trusting is not None
            if isinstance(news, Federation):
                self.trusting.federate(news.bundles)
            else:
                self.trusting.own(news)
            return
        for bearer in self.bearers.values():
            if bearer.spiffe_id == news.spiffe_id:
                self._renewing.take_unasked(bearer, news)

    def _trusts(self, trust: "Trust") -> None:
        from meshtrio.trusting import trusted

        self._tell(("trusted",), trusted(trust))
        for bearer in self.bearers.values():
            if self._renewing.is_revoked(bearer):
                if bearer.plan.serves:
                    bearer.wants(Wish.REVOKED)
            elif bearer.plan.state is State.REVOKED:
                bearer.wants(Wish.ROTATE)

    def _hand_on(self, told: Credentials) -> None:
        self._tell(("identity", told.workload), told)


class _Begun(trio.TaskStatus[None]):
    """Hears that the issuer has begun, the first time and again."""

    def __init__(self) -> None:
        self.event = trio.Event()

    def started(self, value: None = None) -> None:
        self.event.set()
