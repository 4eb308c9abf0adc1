"""Who may be whom: what a flag can say, and what the agent's configuration lets be had."""

import pytest

from meshtrio.config.identity import Identity
from meshtrio.identity.asked import WrongIdentity, asked, refusal

FLAT = Identity(template="spiffe://{trust_domain}/{service_account}")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("shop/cart", ("shop", "cart")),
        ("spiffe://cluster.local/ns/shop/sa/cart", ("shop", "cart")),
    ],
)
def test_both_ways_of_saying_it_mean_the_same(text: str, names: tuple[str, str]) -> None:
    assert asked(Identity(), text) == names


def test_what_the_template_does_not_name_is_default() -> None:
    assert asked(FLAT, "spiffe://cluster.local/cart") == ("default", "cart")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("cart", "want NAMESPACE/SERVICE_ACCOUNT or a SPIFFE ID"),
        ("", "want NAMESPACE/SERVICE_ACCOUNT or a SPIFFE ID"),
        ("shop/", "empty segment"),
        ("/cart", "empty segment"),
        ("shop/../cart", "other characters"),
        ("shop/..", "segment of dots"),
        ("spiffe://cluster.local", "has no path"),
        ("spiffe://cluster.local/ns/shop", "does not fit identity.template"),
        ("spiffe://other.org/ns/shop/sa/cart", "is not of our trust domain cluster.local"),
        ("spiffe:shop/cart", "does not begin with spiffe://"),
    ],
)
def test_what_is_no_identity_of_ours_is_said(text: str, says: str) -> None:
    with pytest.raises(WrongIdentity, match=says):
        asked(Identity(), text)


def test_the_default_can_always_be_had() -> None:
    assert refusal(Identity(), namespace="default", service_account="default") == ""
    assert refusal(Identity(), namespace="default", service_account="web") == (
        "spiffe://cluster.local/ns/default/sa/web is not allowed by identity.exec_identities"
        " of the agent's configuration (which is empty)"
    )


@pytest.mark.parametrize(
    ("namespace", "account", "allowed"),
    [("shop", "cart", True), ("shop", "web", True), ("shopping", "cart", False), ("office", "door", True)],
)
def test_others_are_allowed_by_patterns(namespace: str, account: str, allowed: bool) -> None:
    patterns = ("spiffe://cluster.local/ns/shop/*", "spiffe://cluster.local/ns/office/sa/door")
    said = refusal(Identity(exec_identities=patterns), namespace=namespace, service_account=account)
    assert (said == "") is allowed
