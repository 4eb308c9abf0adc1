"""Whom we trust: each trust domain speaks for itself, and never backwards."""

import msgspec
import pytest

from meshtrio.identity import trust as module
from meshtrio.identity.bundle import Bundle, make_bundle
from meshtrio.identity.revocation import Revocations
from meshtrio.identity.trust import Trust, TrustFault
from tests.support.identities import WEB, root

OURS = make_bundle("td", (root().certificate,), 5)
OTHERS = make_bundle("other", (root("other").certificate,), 1)


def test_each_domain_has_its_own_roots() -> None:
    trust = Trust("td").with_own(OURS).federate(OTHERS)
    assert trust.bundle("td") == OURS
    assert trust.bundle("other") == OTHERS
    assert trust.bundle("third") is None
    assert trust.without("other").bundle("other") is None
    assert trust.without("third") is trust


def test_nobody_else_says_who_signs_for_us() -> None:
    with pytest.raises(TrustFault, match="our own"):
        Trust("td").federate(OURS)
    with pytest.raises(TrustFault, match="we are td"):
        Trust("td").with_own(OTHERS)


def test_our_own_trust_domain_is_never_without_root() -> None:
    with pytest.raises(TrustFault, match="no root"):
        Trust("td").with_own(Bundle("td", (), 9))
    # The others may have none: then nobody of theirs is accepted.
    assert Trust("td").federate(Bundle("other")).bundle("other") == Bundle("other")


def test_an_old_bundle_is_not_taken_again() -> None:
    trust = Trust("td").with_own(OURS)
    with pytest.raises(TrustFault, match="old"):
        trust.with_own(msgspec.structs.replace(OURS, sequence=4))
    assert trust.with_own(OURS) is trust
    newer = msgspec.structs.replace(OURS, sequence=6)
    assert trust.with_own(newer).bundle("td") == newer
    # Without numbers there is no telling: the last one counts.
    assert trust.with_own(msgspec.structs.replace(OURS, sequence=None)) is not trust


def test_a_change_leaves_the_old_snapshot_as_it_was() -> None:
    before = Trust("td").with_own(OURS)
    after = before.federate(OTHERS).revoking(Revocations().with_id(WEB))
    assert before.bundle("other") is None and not before.revocations.ids
    assert after.revocations.has_id(WEB, 0.0)
    assert after.revoking(after.revocations) is after


def test_domains_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DOMAINS_BOUND", 2)
    trust = Trust("td").with_own(OURS).federate(OTHERS)
    with pytest.raises(TrustFault, match="already"):
        trust.federate(Bundle("third"))
    assert trust.federate(Bundle("other", (), 2)).bundle("other") == Bundle("other", (), 2)
