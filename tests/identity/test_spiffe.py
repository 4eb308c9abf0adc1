"""Ids: what the standard allows, and nothing that could be read in two ways."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.identity.spiffe import (
    ID_BYTES,
    TEMPLATE,
    Fault,
    SpiffeFault,
    SpiffeId,
    namer,
    parse,
    parse_template,
    parse_trust_domain,
    parse_workload,
)

GOOD = [
    "spiffe://example.org",
    "spiffe://example.org/ns/default/sa/web",
    "spiffe://k8s-west.example.com/ns/staging/sa/default",
    "spiffe://a/b",
    "spiffe://1.2.3.4/x",
    "spiffe://under_score/x",
    "spiffe://-._/x",
    "spiffe://td/UPPER.lower-0_9",
    "spiffe://td/...",
    "spiffe://td/.hidden/..x",
]


@pytest.mark.parametrize("text", GOOD)
def test_what_is_written_is_what_was_read(text: str) -> None:
    assert str(parse(text)) == text


BAD = [
    ("", Fault.WRONG_SCHEME),
    ("spiffe:", Fault.WRONG_SCHEME),
    ("spiffe:/td/x", Fault.WRONG_SCHEME),
    ("SPIFFE://td/x", Fault.WRONG_SCHEME),
    (" spiffe://td/x", Fault.WRONG_SCHEME),
    ("https://td/x", Fault.WRONG_SCHEME),
    ("td/x", Fault.WRONG_SCHEME),
    ("spiffe://", Fault.NO_TRUST_DOMAIN),
    ("spiffe:///x", Fault.NO_TRUST_DOMAIN),
    ("spiffe://td:80/x", Fault.TRUST_DOMAIN_CHARACTER),
    ("spiffe://td:/x", Fault.TRUST_DOMAIN_CHARACTER),
    ("spiffe://user@td/x", Fault.TRUST_DOMAIN_CHARACTER),
    ("spiffe://user:pw@td/x", Fault.TRUST_DOMAIN_CHARACTER),
    ("spiffe://Td/x", Fault.TRUST_DOMAIN_CHARACTER),
    ("spiffe://t%64/x", Fault.TRUST_DOMAIN_CHARACTER),
    ("spiffe://[::1]/x", Fault.TRUST_DOMAIN_CHARACTER),
    ("spiffe://td?x", Fault.TRUST_DOMAIN_CHARACTER),
    ("spiffe://td#x", Fault.TRUST_DOMAIN_CHARACTER),
    ("spiffe://td\n", Fault.TRUST_DOMAIN_CHARACTER),
    ("spiffe://b\u00fccher/x", Fault.TRUST_DOMAIN_CHARACTER),
    ("spiffe://" + "a" * 256 + "/x", Fault.TRUST_DOMAIN_TOO_LONG),
    ("spiffe://td/", Fault.EMPTY_SEGMENT),
    ("spiffe://td//x", Fault.EMPTY_SEGMENT),
    ("spiffe://td/x/", Fault.EMPTY_SEGMENT),
    ("spiffe://td/./x", Fault.DOT_SEGMENT),
    ("spiffe://td/x/..", Fault.DOT_SEGMENT),
    ("spiffe://td/x?q=1", Fault.PATH_CHARACTER),
    ("spiffe://td/x#f", Fault.PATH_CHARACTER),
    ("spiffe://td/%2e%2e", Fault.PATH_CHARACTER),
    ("spiffe://td/x y", Fault.PATH_CHARACTER),
    ("spiffe://td/x\n", Fault.PATH_CHARACTER),
    ("spiffe://td/x\0", Fault.PATH_CHARACTER),
    ("spiffe://td/\uff41", Fault.PATH_CHARACTER),
    ("spiffe://td/" + "a" * 2048, Fault.TOO_LONG),
]


@pytest.mark.parametrize(("text", "fault"), BAD, ids=[repr(text[:30]) for text, _ in BAD])
def test_what_is_no_id_says_why(text: str, fault: Fault) -> None:
    with pytest.raises(SpiffeFault) as caught:
        parse(text)
    assert caught.value.fault is fault
    assert len(str(caught.value)) < 300
    assert str(caught.value).isprintable()


def test_the_longest_id_is_read() -> None:
    head = "spiffe://" + "a" * 255 + "/"
    text = head + "p" * (ID_BYTES - len(head))
    assert str(parse(text)) == text
    with pytest.raises(SpiffeFault):
        parse(text + "p")


def test_a_workload_has_a_path() -> None:
    assert parse_workload("spiffe://td/x") == SpiffeId("td", "/x")
    with pytest.raises(SpiffeFault) as caught:
        parse_workload("spiffe://td")
    assert caught.value.fault is Fault.NO_PATH


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_text_is_an_id_or_a_fault(host: str, path: str) -> None:
    for text in (host, f"spiffe://{host}", f"spiffe://{host}/{path}", f"spiffe://td/{path}"):
        try:
            found = parse(text)
        except SpiffeFault:
            continue
        assert str(found) == text
        assert text.isascii()


def test_below_goes_by_segments() -> None:
    web = parse("spiffe://td/ns/a/sa/web")
    assert web.under(parse("spiffe://td"))
    assert web.under(parse("spiffe://td/ns/a"))
    assert web.under(web)
    assert not web.under(parse("spiffe://td/ns/a/sa/we"))
    assert not web.under(parse("spiffe://other/ns/a"))
    assert not parse("spiffe://td/ns/ab").under(parse("spiffe://td/ns/a"))


def test_an_id_fits_itself_and_what_it_is_below() -> None:
    assert list(parse("spiffe://td/ns/a").patterns()) == [
        "spiffe://td/ns/a",
        "spiffe://td/*",
        "spiffe://td/ns/*",
    ]
    assert list(parse("spiffe://td").patterns()) == ["spiffe://td"]


def test_the_template_makes_the_usual_id() -> None:
    template = parse_template(TEMPLATE)
    made = template.render("cluster.local", namespace="shop", service_account="web")
    assert str(made) == "spiffe://cluster.local/ns/shop/sa/web"


BAD_TEMPLATES = [
    ("", Fault.WRONG_SCHEME),
    ("spiffe://example.org/{namespace}", Fault.WRONG_SCHEME),
    ("spiffe://{trust_domain}", Fault.NO_PATH),
    ("spiffe://{trust_domain}.evil/{namespace}", Fault.NO_PATH),
    ("spiffe://{trust_domain}/", Fault.EMPTY_SEGMENT),
    ("spiffe://{trust_domain}/{pod}", Fault.UNKNOWN_PLACE),
    ("spiffe://{trust_domain}/{trust_domain}", Fault.UNKNOWN_PLACE),
    ("spiffe://{trust_domain}/{}", Fault.UNKNOWN_PLACE),
    ("spiffe://{trust_domain}/{namespace", Fault.UNKNOWN_PLACE),
    ("spiffe://{trust_domain}/{{namespace}}", Fault.UNKNOWN_PLACE),
    ("spiffe://{trust_domain}/{namespace!r}", Fault.UNKNOWN_PLACE),
    ("spiffe://{trust_domain}/{namespace.__class__}", Fault.UNKNOWN_PLACE),
    ("spiffe://{trust_domain}/{namespace}-{service_account}", Fault.TWO_PLACES),
    ("spiffe://{trust_domain}/{namespace}/{namespace}", Fault.TWO_PLACES),
    ("spiffe://{trust_domain}/{namespace}?x", Fault.PATH_CHARACTER),
]


@pytest.mark.parametrize(("text", "fault"), BAD_TEMPLATES)
def test_a_bad_template_is_refused_when_it_is_read(text: str, fault: Fault) -> None:
    with pytest.raises(SpiffeFault) as caught:
        parse_template(text)
    assert caught.value.fault is fault


@pytest.mark.parametrize("value", ["", ".", "..", "a/b", "a b", "{namespace}", "a%2fb", "a\n"])
def test_a_name_smuggles_nothing_in(value: str) -> None:
    template = parse_template(TEMPLATE)
    with pytest.raises(SpiffeFault):
        template.render("td", namespace=value, service_account="web")
    with pytest.raises(SpiffeFault):
        template.render("td", namespace="shop", service_account=value)


@pytest.mark.parametrize("value", ["", "a/b", "a b", "{namespace}", "a:1", "A"])
def test_nor_does_a_trust_domain(value: str) -> None:
    with pytest.raises(SpiffeFault):
        parse_template(TEMPLATE).render(value, namespace="shop", service_account="web")


names = st.text("ab-._", min_size=1, max_size=4).filter(lambda name: name not in (".", ".."))


@given(st.tuples(names, names), st.tuples(names, names))
def test_different_workloads_have_different_ids(one: tuple[str, str], other: tuple[str, str]) -> None:
    for text in (TEMPLATE, "spiffe://{trust_domain}/x-{namespace}/{service_account}-y"):
        template = parse_template(text)
        made = [template.render("td", namespace=ns, service_account=sa) for ns, sa in (one, other)]
        assert (made[0] == made[1]) == (one == other)


def test_a_trust_domain_alone() -> None:
    assert parse_trust_domain("cluster.local") == "cluster.local"
    for name in ("", "Cluster.local", "a/b", "a:1", "a" * 256):
        with pytest.raises(SpiffeFault):
            parse_trust_domain(name)


def test_accounts_are_named_by_the_template() -> None:
    named = namer("spiffe://{trust_domain}/{service_account}/of/{namespace}", "td")
    assert named("shop", "web") == "spiffe://td/web/of/shop"
    assert named("sh/op", "web") == ""
