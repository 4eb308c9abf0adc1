"""Who may have which identity."""

import pytest

from meshtrio.ca.grants import (
    PATTERNS_BOUND,
    STATUS,
    Caller,
    Denied,
    Why,
    checked_patterns,
    digest,
    fits,
    is_node_name,
    node_id,
    node_of,
)
from meshtrio.identity.spiffe import parse

WEB = parse("spiffe://td/ns/shop/sa/web")


@pytest.mark.parametrize(
    ("pattern", "text", "does"),
    [
        ("spiffe://td/ns/shop/sa/web", "spiffe://td/ns/shop/sa/web", True),
        ("spiffe://td/ns/shop/sa/web", "spiffe://td/ns/shop/sa/web2", False),
        ("spiffe://td/ns/shop/*", "spiffe://td/ns/shop/sa/web", True),
        ("spiffe://td/ns/shop/*", "spiffe://td/ns/shop", False),
        ("spiffe://td/ns/shop/*", "spiffe://td/ns/shopping/sa/web", False),
        ("spiffe://td/*", "spiffe://td/x", True),
        ("spiffe://td/*", "spiffe://td2/x", False),
    ],
)
def test_patterns(pattern: str, text: str, does: bool) -> None:
    assert fits(pattern, parse(text)) is does


def may(caller: Caller, wanted: str) -> Why | None:
    try:
        caller.check(parse(wanted), "td")
    except Denied as denied:
        return denied.why
    return None


def test_by_patterns_or_by_ids() -> None:
    by_patterns = Caller("n", "certificate", ("spiffe://td/ns/shop/*",))
    assert may(by_patterns, str(WEB)) is None
    assert may(by_patterns, "spiffe://td/ns/bank/sa/web") is Why.NOT_ALLOWED
    by_ids = Caller("n", "kubernetes", ids=frozenset((WEB,)))
    assert may(by_ids, str(WEB)) is None
    assert may(by_ids, "spiffe://td/ns/shop/sa/other") is Why.NOT_ALLOWED


def test_a_nodes_own_id_is_for_itself_alone() -> None:
    everything = ("spiffe://td/*",)
    assert may(Caller("n", "certificate", everything), "spiffe://td/meshtrio/node/n") is None
    assert may(Caller("n", "join", everything), "spiffe://td/meshtrio/node/n") is None
    for wanted in ("spiffe://td/meshtrio/node/m", "spiffe://td/meshtrio/ca", "spiffe://td/meshtrio"):
        assert may(Caller("n", "certificate", everything), wanted) is Why.NOT_ALLOWED
    own = parse("spiffe://td/meshtrio/node/n")
    assert may(Caller("n", "kubernetes", ids=frozenset((own,))), str(own)) is Why.NOT_ALLOWED


def test_a_token_gets_the_nodes_certificate_and_no_other() -> None:
    assert may(Caller("n", "join", ("spiffe://td/*",)), str(WEB)) is Why.NOT_ALLOWED


def test_another_trust_domain() -> None:
    caller = Caller("n", "kubernetes", ("spiffe://other/*",), frozenset((parse("spiffe://other/x"),)))
    assert may(caller, "spiffe://other/x") is Why.NOT_ALLOWED


def test_names_of_nodes() -> None:
    assert node_of(node_id("td", "web-1.example")) == "web-1.example"
    for name in ("", "..", ".", "a/b", "a b", "a\n", "ä", "a" * 254):
        assert not is_node_name(name)
    for other in (str(WEB), "spiffe://td/meshtrio/ca", "spiffe://td/meshtrio/node/a/b"):
        with pytest.raises(Denied):
            node_of(parse(other))


def test_patterns_that_are_none() -> None:
    assert checked_patterns((), "td") == ("spiffe://td/*",)
    good = ("spiffe://td/a/*", "spiffe://td/b")
    assert checked_patterns(good, "td") == good
    for bad in ("spiffe://td", "spiffe://other/*", "td/*", "spiffe://td/a*", "*", "spiffe://td/*/b"):
        with pytest.raises(ValueError):
            checked_patterns((bad,), "td")
    with pytest.raises(ValueError, match="at most"):
        checked_patterns(("spiffe://td/a",) * (PATTERNS_BOUND + 1), "td")


def test_every_reason_has_a_status_and_no_token_is_kept() -> None:
    assert set(STATUS) == set(Why)
    assert b"secret" not in digest("secret") and len(digest("secret")) == 32
