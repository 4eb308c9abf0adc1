"""Core. Whom we trust to say who is who: our own trust domain, the federated ones, and what was revoked.

A snapshot: whoever verifies takes one and holds it to the end; a change makes a new one, whole.
"""

from collections.abc import Mapping

import msgspec

from meshtrio.identity.bundle import Bundle
from meshtrio.identity.revocation import Revocations

DOMAINS_BOUND = 256
"""Trust domains. Full: no further one is taken."""


class TrustFault(ValueError):
    """A bundle is not taken; what was known stays."""


class Trust(msgspec.Struct, frozen=True, gc=False):
    """Everything that a verification depends on, but the clock."""

    own: str
    """Our own trust domain."""
    bundles: Mapping[str, Bundle] = msgspec.field(default_factory=dict)
    revocations: Revocations = msgspec.field(default_factory=Revocations)

    def bundle(self, trust_domain: str) -> Bundle | None:
        """Find the roots of a trust domain; None: it is neither ours nor federated."""
        return self.bundles.get(trust_domain)

    def with_own(self, bundle: Bundle) -> "Trust":
        """Take the roots of our own trust domain. TrustFault if they are another's, older, or none.

        No roots at all would end every connection of the mesh at once, so that is taken for a mistake.
        """
        if bundle.trust_domain != self.own:
            raise TrustFault(f"the bundle is of {bundle.trust_domain}, we are {self.own}")
        if not bundle.anchors:
            raise TrustFault(f"the bundle of our own trust domain {self.own} has no root")
        return self._with(bundle)

    def federate(self, bundle: Bundle) -> "Trust":
        """Take the roots of another trust domain. TrustFault if they are older than what is known, or would
        be ours: nobody else says who signs for us."""
        if bundle.trust_domain == self.own:
            raise TrustFault(f"a federated bundle cannot be of our own trust domain {self.own}")
        return self._with(bundle)

    def without(self, trust_domain: str) -> "Trust":
        """Trust that domain no longer."""
        if trust_domain not in self.bundles:
            return self
        kept = {name: one for name, one in self.bundles.items() if name != trust_domain}
        return msgspec.structs.replace(self, bundles=kept)

    def revoking(self, revocations: Revocations) -> "Trust":
        """Take a new list in place of the old one."""
        if revocations is self.revocations:
            return self
        return msgspec.structs.replace(self, revocations=revocations)

    def _with(self, bundle: Bundle) -> "Trust":
        known = self.bundles.get(bundle.trust_domain)
        if known is None and len(self.bundles) >= DOMAINS_BOUND:
            raise TrustFault(f"there are {DOMAINS_BOUND} trust domains already")
        if known == bundle:
            return self
        if known is not None and _older(bundle, known):
            words = f"its sequence is {bundle.sequence}, and we know {known.sequence}"
            raise TrustFault(f"the bundle of {bundle.trust_domain} is old: {words}")
        return msgspec.structs.replace(self, bundles={**self.bundles, bundle.trust_domain: bundle})


def _older(bundle: Bundle, known: Bundle) -> bool:
    """An old bundle brought again could bring back a root that was taken out for good reason."""
    if bundle.sequence is None or known.sequence is None:
        return False
    return bundle.sequence < known.sequence
