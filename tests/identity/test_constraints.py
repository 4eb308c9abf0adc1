"""Name constraints: obeyed for URIs, and refused where we cannot tell."""

import pytest
from cryptography import x509

from meshtrio.identity.certificate import read
from meshtrio.identity.chain import verify
from meshtrio.identity.constraints import check_names
from meshtrio.identity.refusal import Reason, Refused
from tests.support.identities import (
    LEAF,
    NOW,
    SIGNING,
    WEB,
    constraint,
    forge,
    refused,
    root,
    signer,
    trust,
    uris,
)


@pytest.mark.parametrize(
    ("tree", "reason"),
    [
        (constraint("td"), None),
        (constraint("other", "td"), None),
        (constraint("other"), Reason.NAME_CONSTRAINTS),
        (constraint(".td"), Reason.NAME_CONSTRAINTS),
        (constraint(excluded=("td",)), Reason.NAME_CONSTRAINTS),
        (constraint(excluded=("other",)), None),
        (x509.NameConstraints([x509.DNSName("example.org")], None), None),
    ],
)
def test_name_constraints_are_obeyed(tree: x509.NameConstraints, reason: Reason | None) -> None:
    der, authority = signer(*SIGNING, tree)
    presented = [forge(authority), der]
    if reason is None:
        assert verify(presented, trust(), NOW)
    else:
        assert refused(presented, trust()) is reason


def test_the_host_is_compared_and_not_the_text() -> None:
    """`.b` has all below it; `b` has itself alone; case does not matter."""
    made = read(forge(root(), (*LEAF[:2], uris("spiffe://a.b/x"))))
    for tree, fits in (
        (".b", True),
        (".B", True),
        ("b", False),
        ("a.b", True),
        ("A.B", True),
        (".a.b", False),
    ):
        issuer = read(signer(*SIGNING, constraint(tree))[0])
        if fits:
            check_names(issuer, made)
        else:
            with pytest.raises(Refused):
                check_names(issuer, made)


@pytest.mark.parametrize("kind", [x509.DNSName("web"), x509.DirectoryName(x509.Name([]))])
def test_constraints_that_we_do_not_compare_refuse_names_of_their_kind(kind: x509.GeneralName) -> None:
    issuer = read(signer(*SIGNING, x509.NameConstraints(None, [kind]))[0])
    plain = read(forge(root()))
    check_names(issuer, plain)
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(str(WEB)), x509.DNSName("db")])
    named = read(forge(root(), (*LEAF[:2], names), subject="web"))
    with pytest.raises(Refused) as caught:
        check_names(issuer, named)
    assert caught.value.reason is Reason.NAME_CONSTRAINTS
