"""Shell. The life of one certificate after the other, of one workload: asked for, taken, handed on, renewed.

What is due says identity/plan.py; where certificates come from is the issuer's affair. Does not know which
workloads there are.
"""

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from meshtrio.bearer import Bearer, Wish
from meshtrio.config.identity import Identity
from meshtrio.identity.plan import Now, Turn, failed, issued, restored, revoked, rotate, tick, wakes_in_s
from meshtrio.identity.rotation import ASKING, Act
from meshtrio.issuers.issuer import Issued, IssueError, Issuer, Wanted
from meshtrio.messages import Credentials
from meshtrio.observe import audit, log

if TYPE_CHECKING:
    # Certificates cost an agent that has no identities 12 MB.
    from meshtrio.identity.bundle import Bundle
    from meshtrio.identity.trust import Trust
    from meshtrio.issuers.cache import Cache

ASK_S = 30.0
"""How long an issuer may take for one certificate."""


class Renewing:
    """What all rotation tasks of an agent share."""

    def __init__(
        self,
        settings: Callable[[], Identity],
        tell: Callable[[Credentials], None],
        wall_now: Callable[[], float] = time.time,
    ) -> None:
        """Begin without issuer and without trust; `run` of identities.py sets them before tasks begin."""
        self.issuer: Issuer | None = None
        self.trust: Callable[[], Trust] | None = None
        self._settings = settings
        self._tell = tell
        self._wall_now = wall_now
        self._cached: dict[str, Issued] = {}

    def now(self) -> Now:
        """Look at both clocks."""
        return Now(self._wall_now(), trio.current_time(), random.random())

    async def keep_fresh(self, bearer: Bearer) -> None:
        """Renew one workload's certificate whenever that is due, until it has gone."""
        self._restore(bearer)
        while not bearer.gone:
            turn = self._turn(bearer)
            bearer.plan = turn.plan
            self._hand_on(bearer)
            with bearer.turn():
                if turn.act is Act.ASK:
                    await self._ask(bearer)
                else:
                    await trio.sleep(wakes_in_s(bearer.plan, self.now()))
            if turn.act is Act.ASK and bearer.plan.state in ASKING and not bearer.wished:
                self._fails(bearer, bearer.plan.attempt, "the attempt was cut short")

    def take_unasked(self, bearer: Bearer, made: Issued) -> None:
        """Use a certificate that came by itself."""
        self._take(bearer, made, None)
        bearer.wake()

    def is_revoked(self, bearer: Bearer) -> bool:
        """Say whether nobody may believe this workload with the certificate it has."""
        if self.trust is None:
            return False
        revoked_now, wall = self.trust().revocations, self._wall_now()
        serial = bearer.issued.serial if bearer.issued is not None else 0
        return revoked_now.has_serial(serial, wall) or revoked_now.has_id(bearer.spiffe_id, wall)

    async def recall(self) -> "Bundle | None":
        """Read what is kept on disk, if that is wanted; return the roots of our trust domain from there."""
        cache = self._cache()
        if cache is None:
            return None
        self._cached = await trio.to_thread.run_sync(cache.load, self._wall_now())
        return await trio.to_thread.run_sync(cache.load_roots, self._settings().trust_domain)

    def _turn(self, bearer: Bearer) -> Turn:
        wish = bearer.taken_wish()
        if wish is Wish.REVOKED:
            return revoked(bearer.plan)
        return rotate(bearer.plan) if wish is Wish.ROTATE else tick(bearer.plan, self.now())

    async def _ask(self, bearer: Bearer) -> None:
        attempt = bearer.plan.attempt
        try:
            with trio.fail_after(ASK_S):
                made = await self._issue(bearer)
        except IssueError as refused:
            self._fails(bearer, attempt, str(refused))
        except trio.TooSlowError:
            self._fails(bearer, attempt, f"the source of certificates has not answered for {ASK_S:g} s")
        except Exception as bug:  # noqa: BLE001  a border: a source's bug must not end the agent
            log.bug("a certificate was not issued by a bug of ours", bug)
            self._fails(bearer, attempt, f"a bug of ours: {type(bug).__name__}")
        else:
            self._take(bearer, made, attempt)
            await self._save(made)

    async def _issue(self, bearer: Bearer) -> Issued:
        assert self.issuer is not None
        if self.trust is not None and self.trust().revocations.has_id(bearer.spiffe_id, self._wall_now()):
            raise IssueError(f"{bearer.spiffe_id} is revoked")
        wanted = Wanted(bearer.spiffe_id, bearer.name, self._settings().life_s)
        return await self.issuer.issue(wanted)

    def _take(self, bearer: Bearer, made: Issued, attempt: int | None) -> None:
        turn = issued(bearer.plan, made.validity, self.now(), attempt)
        taken = turn.plan.serves and turn.plan is not bearer.plan and turn.plan.validity == made.validity
        bearer.plan = turn.plan
        if not taken:
            if attempt is not None:
                self._told_failure(bearer, "it brought a certificate that is not valid by our clock")
            return
        assert self.issuer is not None
        bearer.issued, bearer.source = made, self.issuer.name
        bearer.ended_attempt("")
        self._hand_on(bearer)
        serial, end = f"{made.serial:x}", made.validity.not_after
        audit.record("certificate issued", **_who(bearer), serial=serial, not_after=end, source=bearer.source)

    def _fails(self, bearer: Bearer, attempt: int, why: str) -> None:
        bearer.plan = failed(bearer.plan, self.now(), attempt).plan
        self._told_failure(bearer, why)

    def _told_failure(self, bearer: Bearer, why: str) -> None:
        if why != bearer.error:
            log.warning("a workload's certificate could not be renewed", workload=bearer.name, why=why)
        audit.record("certificate not issued", **_who(bearer), why=why, failures=bearer.plan.failures)
        bearer.ended_attempt(why)
        self._hand_on(bearer)

    def _hand_on(self, bearer: Bearer) -> None:
        told = None if bearer.gone else bearer.news()
        if told is not None:
            self._tell(told)

    # On disk

    def _cache(self) -> "Cache | None":
        settings = self._settings()
        if settings.cache != "disk" or not settings.directory:
            return None
        from meshtrio.issuers.cache import Cache

        return Cache(Path(settings.directory, "cache"))

    async def _save(self, made: Issued) -> None:
        cache = self._cache()
        if cache is None:
            return
        try:
            await trio.to_thread.run_sync(cache.save, made)
            trust = self.trust() if self.trust is not None else None
            roots = trust.bundle(trust.own) if trust is not None else None
            if roots is not None:
                await trio.to_thread.run_sync(cache.save_roots, roots)
        except OSError as cause:
            why = cause.strerror or str(cause)
            log.rarely("a certificate cannot be kept on disk", spiffe_id=str(made.spiffe_id), why=why)

    def _restore(self, bearer: Bearer) -> None:
        """Use a certificate from before the start, if those whom we trust signed it."""
        made = self._cached.pop(str(bearer.spiffe_id), None)
        if made is None or not self._is_trusted(made):
            return
        turn = restored(bearer.plan, made.validity, self.now())
        if turn.plan is not bearer.plan:
            bearer.plan, bearer.issued, bearer.source = turn.plan, made, "cache"
            self._hand_on(bearer)
            bearer.ended_attempt("")

    def _is_trusted(self, made: Issued) -> bool:
        from meshtrio.identity.chain import verify
        from meshtrio.identity.refusal import Refused

        if self.trust is None or self.trust().bundle(made.spiffe_id.trust_domain) is None:
            return True  # the roots are as late as the CA; whom it is shown to knows them
        try:
            verify(made.chain, self.trust(), self._wall_now(), skew_s=self._settings().skew_s)
        except Refused as refused:
            why = str(refused)
            log.warning("a certificate on disk is of no use", spiffe_id=str(made.spiffe_id), why=why)
            return False
        return True


def _who(bearer: Bearer) -> dict[str, object]:
    return {"workload": bearer.name, "spiffe_id": str(bearer.spiffe_id)}
