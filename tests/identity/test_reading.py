"""What a template wrote is read back, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.identity.reading import Reading
from meshtrio.identity.spiffe import TEMPLATE, SpiffeId, parse_template

TURNED = "spiffe://{trust_domain}/{service_account}/in-{namespace}"


@pytest.mark.parametrize(
    ("template", "path", "said"),
    [
        (TEMPLATE, "/ns/a.b/sa/c", {"namespace": "a.b", "service_account": "c"}),
        (TEMPLATE, "/ns/a/sa/c/d", None),
        (TEMPLATE, "/x/ns/a/sa/c", None),
        (TEMPLATE, "", None),
        (TURNED, "/web/in-shop", {"namespace": "shop", "service_account": "web"}),
        (TURNED, "/web/on-shop", None),
        ("spiffe://{trust_domain}/v1.0/{namespace}", "/v1.0/shop", {"namespace": "shop"}),
        ("spiffe://{trust_domain}/v1.0/{namespace}", "/v1x0/shop", None),
        ("spiffe://{trust_domain}/{service_account}", "/web", {"service_account": "web"}),
    ],
)
def test_an_id_is_read_by_its_template(template: str, path: str, said: dict[str, str] | None) -> None:
    reading = Reading(parse_template(template))
    assert reading.read(SpiffeId("td", path)) == said
    assert reading.namespace(SpiffeId("td", path)) == (said or {}).get("namespace", "")


LABELS = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,6}[a-z0-9])?", fullmatch=True)


@given(namespace=LABELS, account=LABELS, template=st.sampled_from([TEMPLATE, TURNED]))
def test_what_was_rendered_is_read_back(namespace: str, account: str, template: str) -> None:
    made = parse_template(template)
    who = made.render("td", namespace=namespace, service_account=account)
    assert Reading(made).read(who) == {"namespace": namespace, "service_account": account}
