"""Shell. The CA inside an agent: a root from two files (or in memory), a signing certificate, and leaves.

What takes long (keys, signatures, the disk) is done in a thread, one at a time. Without a root it goes on
looking for one, and says why nobody gets a certificate. Does not know who may have which identity.
"""

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import trio

from meshtrio.config.fault import Fault, Faults
from meshtrio.config.identity import Identity
from meshtrio.discover.file import Followed, Fresh, Spoilt, follow
from meshtrio.identity.bundle import BundleFault, make_bundle
from meshtrio.identity.ca import Authority
from meshtrio.identity.certificate import Certificate
from meshtrio.identity.plan import backoff_s
from meshtrio.identity.refusal import Refused
from meshtrio.issuers.issuer import Issued, IssueError, News, Wanted
from meshtrio.issuers.root_file import (
    Place,
    Root,
    RootError,
    keep_anchors,
    open_root,
    own_place,
    read_anchors,
    read_root,
    replace_root,
)
from meshtrio.issuers.signing import SIGNING_LIVES, Signer, fresh_root
from meshtrio.observe import audit, log

AGAIN_MOST_S = 30.0
"""How soon a root that is broken, or a disk that is full, is looked at again."""
PRUNE_S = 3600.0

T = TypeVar("T")


class Embedded:
    """See Issuer."""

    name = "embedded"

    def __init__(self, settings: Callable[[], Identity], wall_now: Callable[[], float] = time.time) -> None:
        """Begin without a root. `settings` gives what is configured now."""
        self._settings = settings
        self._wall_now = wall_now
        self._root: Root | None = None
        self._signer = Signer()
        self._news: News = _unheard
        # One: a thousand workloads that begin together must not take a thousand threads.
        self._desk = trio.CapacityLimiter(1)
        self.fault = "the root was not read yet"
        """Why there are no certificates; empty: there are."""

    async def run(self, news: News, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """See Issuer. A root that cannot be used is looked at again and again."""
        self._news = news
        failures = 0
        while self._root is None:
            try:
                self._use(await self.work(self._opened))
            except (RootError, BundleFault) as broken:
                if str(broken) != self.fault:
                    log.error("workloads get no identity", why=str(broken))
                self.fault = str(broken)
                task_status.started()
                task_status = trio.TASK_STATUS_IGNORED
                failures += 1
                await trio.sleep(min(AGAIN_MOST_S, backoff_s(failures, None, random.random())))
        task_status.started()
        async with trio.open_nursery() as keeping:
            keeping.start_soon(self._prune)
            place = self._place()
            if place is not None:
                await self._follow(place)

    async def issue(self, wanted: Wanted) -> Issued:
        """See Issuer."""
        if self._root is None:
            raise IssueError(self.fault)
        root, now, skew_s = self._root.authority, self._wall_now(), self._settings().skew_s
        try:
            return await self.work(lambda: self._signer.issue(root, wanted, now, skew_s))
        except Refused as refused:
            raise IssueError(f"the CA does not sign for {wanted.spiffe_id}: {refused}") from refused

    async def rotate_root(self) -> str:
        """Let another root sign, and say its serial: the one whose key was put into place, or else a new one.

        What the old one signed is trusted until it has ended. IssueError if that cannot be; then nothing has
        changed.
        """
        if self._root is None:
            raise IssueError(self.fault)
        try:
            self._use(await self.work(self._rotated))
        except (Refused, BundleFault) as refused:
            raise IssueError(f"the root cannot be rotated: {refused}") from refused
        return f"{self._root.authority.certificate.serial:x}"

    async def work(self, do: Callable[[], T]) -> T:
        """Do something that takes long elsewhere. Not given up when cancelled: it takes milliseconds."""
        return await trio.to_thread.run_sync(do, limiter=self._desk)

    def _use(self, root: Root) -> None:
        """Believe in these roots, and then let the first sign."""
        bundle = make_bundle(self._settings().trust_domain, root.anchors)
        before = self._root
        self._root, self.fault = root, ""
        self._news(bundle)
        serial = f"{root.authority.certificate.serial:x}"
        if before is None or before.authority.certificate != root.authority.certificate:
            kind = "root created" if root.created else "root rotated" if before else "root in use"
            audit.record(kind, serial=serial, not_after=root.authority.certificate.not_after)

    def _place(self) -> Place | None:
        settings = self._settings()
        if settings.root_certificate:
            return Place(Path(settings.root_certificate), Path(settings.root_key))
        return own_place(settings.directory) if settings.directory else None

    def _opened(self) -> Root:
        place, settings = self._place(), self._settings()
        if place is None:
            made = self._made()
            return Root(made, (made.certificate,), self._wall_now(), created=True)
        if settings.root_certificate:
            return read_root(place, settings.trust_domain, self._wall_now())
        return open_root(place, settings.trust_domain, self._wall_now(), self._made)

    def _made(self) -> Authority:
        settings = self._settings()
        return fresh_root(settings.trust_domain, self._wall_now(), settings.skew_s)

    def _rotated(self) -> Root:
        root, place, settings = self._root, self._place(), self._settings()
        assert root is not None
        if place is not None:
            there = read_root(place, settings.trust_domain, self._wall_now())
            if there.authority.certificate != root.authority.certificate:
                return there
            if settings.root_certificate:
                words = f"put the new root beside the old one in {place.certificates}, then its key into"
                raise IssueError(f"{words} {place.key}, and ask again")
            root = there
        fresh = self._made()
        anchors = (*root.anchors, fresh.certificate)
        make_bundle(settings.trust_domain, anchors)
        if place is not None:
            replace_root(place, root, fresh)
        return Root(fresh, anchors, self._wall_now())

    async def _follow(self, place: Place) -> None:
        """Trust at once what is put beside the roots; who signs changes only when told."""
        # Full: we are still busy with the last one, and the file keeps the news.
        send, receive = trio.open_memory_channel[Fresh[tuple[Certificate, ...]] | Spoilt](1)

        def understand(text: str) -> tuple[Certificate, ...]:
            try:
                return read_anchors(place.certificates, text.encode())
            except RootError as broken:
                raise Faults([Fault("", str(broken))]) from broken

        async with trio.open_nursery() as following:
            following.start_soon(follow, Followed(str(place.certificates), understand), send)
            async for news in receive:
                if isinstance(news, Spoilt):
                    log.error("the roots' file cannot be used; the last good one holds", why=str(news))
                else:
                    self._trust(news.value, place)

    def _trust(self, anchors: tuple[Certificate, ...], place: Place) -> None:
        assert self._root is not None
        signs = self._root.authority.certificate
        if signs not in anchors:
            words = "the root that signs was taken out of its file; it is trusted still"
            log.error(words, path=str(place.certificates))
            anchors = (*anchors, signs)
        if set(anchors) == set(self._root.anchors):
            return
        try:
            self._use(Root(self._root.authority, anchors, self._root.since))
        except BundleFault as fault:
            log.error("the roots' file cannot be used; the last good one holds", why=str(fault))

    async def _prune(self) -> None:
        """Trust a root no longer when nothing that it signed can live any more."""
        while True:
            await trio.sleep(PRUNE_S)
            root, settings = self._root, self._settings()
            assert root is not None
            ended = self._wall_now() - SIGNING_LIVES * settings.life_s - 2 * settings.skew_s
            signs = root.authority.certificate
            kept = tuple(
                one
                for one in root.anchors
                if one == signs or one.not_before > signs.not_before or root.since > ended
            )
            if kept == root.anchors or settings.root_certificate:
                continue
            place = self._place()
            try:
                if place is not None:
                    await self.work(lambda place=place, kept=kept: keep_anchors(place, kept))  # type: ignore[misc]
            except RootError as failed:
                log.error("a root that has had its time is trusted still", why=str(failed))
                continue
            self._use(Root(root.authority, kept, root.since))
            audit.record("root retired", roots=len(root.anchors) - len(kept))


def _unheard(news: object) -> None:
    """Nobody listens yet."""
