"""Shell. Whom this node believes: its own roots, those of other trust domains, and who was revoked.

Keeps one snapshot and tells everyone of each new one. What cannot be read or fetched leaves the last good
copy in force, and shows as a fault. Imported only where there are identities: certificates cost 12 MB.
"""

import random
from collections.abc import Callable, Collection

import trio

from meshtrio.config.fault import Fault, Faults
from meshtrio.config.identity import Federated, Identity
from meshtrio.discover.file import Followed, Fresh, Spoilt, follow
from meshtrio.identity.bundle import BUNDLE_BYTES, Bundle, BundleFault, read_bundle
from meshtrio.identity.plan import backoff_s
from meshtrio.identity.revocation import RevocationFault, Revocations
from meshtrio.identity.revocation import read as read_revocations
from meshtrio.identity.trust import Trust, TrustFault
from meshtrio.issuers.bundle_fetch import FetchError, fetch
from meshtrio.messages import Trusted
from meshtrio.observe import log

REFRESH_S = 300.0
"""How often a bundle is fetched that does not say how often."""
REFRESH_LEAST_S, REFRESH_MOST_S = 10.0, 86_400.0
REVOCATIONS_BYTES = 8 << 20


class Trusting:
    """The snapshot, and what it is made from."""

    def __init__(self, settings: Identity, changed: Callable[[Trust], None]) -> None:
        """Begin with no roots at all; `changed` hears of every new snapshot."""
        self.trust = Trust(settings.trust_domain)
        self.faults: dict[str, str] = {}
        """What cannot be read or fetched now, by what it is."""
        self._settings = settings
        self._changed = changed
        self._issued: dict[str, Bundle] = {}
        """Of the trust domains with which the source of certificates federates."""
        self._again = trio.Event()

    def reconfigure(self, settings: Identity) -> None:
        """Let other federations and another file of revocations hold."""
        self._settings = settings
        self._again.set()

    def own(self, bundle: Bundle) -> None:
        """Take the roots of our own trust domain."""
        self._try("own roots", lambda: self.trust.with_own(bundle))

    def federate(self, bundles: Collection[Bundle]) -> None:
        """Believe these other trust domains, as the source of certificates says, and no longer those that it
        named before. What is configured of a domain is stronger."""
        before, self._issued = self._issued, {one.trust_domain: one for one in bundles}
        trust = self.trust
        for name in before.keys() - self._issued.keys() - self._configured():
            trust = trust.without(name)
            self.faults.pop(name, None)
        self._take(trust)
        self._take_issued()

    def _take_issued(self) -> None:
        for name in self._issued.keys() - self._configured():
            self._federate(self._issued[name])

    def _configured(self) -> set[str]:
        return {one.trust_domain for one in self._settings.federated}

    async def run(self) -> None:
        """Follow what is configured until cancelled."""
        while True:
            settings, self._again = self._settings, trio.Event()
            self._drop_others(settings)
            async with trio.open_nursery() as following:
                if settings.revocations:
                    following.start_soon(self._follow_revocations, settings.revocations)
                for one in settings.federated:
                    ask = self._follow_bundle if one.bundle.startswith("/") else self._fetch
                    following.start_soon(ask, one)
                await self._again.wait()
                following.cancel_scope.cancel()

    def _drop_others(self, settings: Identity) -> None:
        """Forget what is configured no more: other trust domains, revocations, and their faults."""
        kept = self._configured() | self._issued.keys() | {self.trust.own}
        trust = self.trust
        for name in set(trust.bundles) - kept:
            trust = trust.without(name)
        if not settings.revocations:
            trust = trust.revoking(Revocations())
        self.faults = {what: why for what, why in self.faults.items() if what == "own roots"}
        self._take(trust)
        self._take_issued()

    async def _follow_revocations(self, path: str) -> None:
        # Full: we are still busy with the last list, and the file keeps the news.
        send, receive = trio.open_memory_channel[Fresh[Revocations] | Spoilt](1)
        async with trio.open_nursery() as following:
            followed = Followed(path, _understood_revocations, REVOCATIONS_BYTES)
            following.start_soon(follow, followed, send)
            async for news in receive:
                if isinstance(news, Spoilt):
                    self._fails("revocations", str(news))
                else:
                    listed = news.value
                    log.info("revocations", path=path, entries=len(listed))
                    self._try("revocations", lambda listed=listed: self.trust.revoking(listed))  # type: ignore[misc]

    async def _follow_bundle(self, federated: Federated) -> None:
        name = federated.trust_domain

        def understand(text: str) -> Bundle:
            try:
                return read_bundle(name, text.encode())
            except BundleFault as fault:
                raise Faults([Fault(federated.bundle, str(fault))]) from fault

        send, receive = trio.open_memory_channel[Fresh[Bundle] | Spoilt](1)
        async with trio.open_nursery() as following:
            following.start_soon(follow, Followed(federated.bundle, understand, BUNDLE_BYTES), send)
            async for news in receive:
                if isinstance(news, Spoilt):
                    self._fails(name, str(news))
                else:
                    self._federate(news.value)

    async def _fetch(self, federated: Federated) -> None:
        name, failures = federated.trust_domain, 0
        while True:
            try:
                bundle = await trio.to_thread.run_sync(
                    fetch, name, federated.bundle, federated.ca_file, abandon_on_cancel=True
                )
            except FetchError as failed:
                failures += 1
                self._fails(name, str(failed))
                await trio.sleep(backoff_s(failures, None, random.random()))
                continue
            failures = 0
            self._federate(bundle)
            hint_s = REFRESH_S if bundle.refresh_hint_s is None else float(bundle.refresh_hint_s)
            await trio.sleep(min(max(hint_s, REFRESH_LEAST_S), REFRESH_MOST_S))

    def _federate(self, bundle: Bundle) -> None:
        self._try(bundle.trust_domain, lambda: self.trust.federate(bundle))

    def _try(self, what: str, change: Callable[[], Trust]) -> None:
        try:
            trust = change()
        except TrustFault as fault:
            self._fails(what, str(fault))
            return
        self.faults.pop(what, None)
        self._take(trust)

    def _take(self, trust: Trust) -> None:
        if trust is not self.trust:
            self.trust = trust
            self._changed(trust)

    def _fails(self, what: str, why: str) -> None:
        if self.faults.get(what) != why:
            knows_none = {"revocations": self.trust.revocations == Revocations()}
            if knows_none.get(what, what in self._configured() and what not in self.trust.bundles):
                log.warning("nothing is known yet of what we should trust", what=what, why=why)
            else:
                log.warning("the last good copy of what we trust holds", what=what, why=why)
        self.faults[what] = why


def trusted(trust: Trust) -> Trusted:
    """Say to workers what a snapshot says."""
    revoked = trust.revocations
    return Trusted(
        trust.own,
        {name: tuple(one.der for one in bundle.anchors) for name, bundle in trust.bundles.items()},
        {f"{serial:x}": _kept(until) for serial, until in revoked.serials.items()},
        {str(one): _kept(until) for one, until in revoked.ids.items()},
    )


def _kept(until: float) -> float:
    return 0.0 if until == float("inf") else until


def _understood_revocations(text: str) -> Revocations:
    try:
        return read_revocations(text.encode())
    except RevocationFault as fault:
        raise Faults([Fault("", str(fault))]) from fault
