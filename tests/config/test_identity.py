"""What can be said of identities and policies, and what is refused with a path and words."""

import pytest

from meshtrio.config.identity import Callers, ModeRule, PolicyRule
from meshtrio.config.schema import Config
from meshtrio.config.shape import Shaping


def shaped(tree: object) -> tuple[Config | None, list[str]]:
    shaping = Shaping({})
    made = shaping.struct(Config, tree)
    return made, [f"{fault.path} {fault.says}" for fault in shaping.faults]


def test_rules_are_read_as_they_are_written() -> None:
    made, faults = shaped(
        {
            "mtls": {"mode": "strict", "rules": [{"mode": "permissive", "namespace": "old", "port": 80}]},
            "policy": {
                "default": "deny",
                "rules": [
                    {
                        "name": "shop",
                        "action": "allow",
                        "callers": {"ids": ["spiffe://cluster.local/ns/shop/*"], "namespaces": ["web"]},
                        "workloads": ["cart"],
                        "ports": [8080],
                    }
                ],
            },
        }
    )
    assert made is not None
    assert faults == []
    assert made.mtls.rules == (ModeRule("permissive", "old", port=80),)
    callers = Callers(("spiffe://cluster.local/ns/shop/*",), ("web",))
    assert made.policy.rules == (PolicyRule("allow", "shop", callers, workloads=("cart",), ports=(8080,)),)


@pytest.mark.parametrize(
    "pattern",
    ["", "*", "/*", "spiffe://*", "spiffe://td/ns/*/sa/x", "spiffe://td/ns/a*", "spiffe://td//*", "td/ns/a"],
)
def test_what_is_no_pattern_of_ids_is_refused(pattern: str) -> None:
    _, faults = shaped({"policy": {"rules": [{"action": "allow", "callers": {"ids": [pattern]}}]}})
    assert len(faults) == 1
    assert faults[0].startswith("policy.rules[0].callers.ids[0] is ")
    assert faults[0].endswith(
        " (want a SPIFFE ID, as in spiffe://cluster.local/ns/shop/sa/cart, or one that ends with /*)"
    )


@pytest.mark.parametrize(
    ("tree", "says"),
    [
        ({"policy": {"rules": [{"name": "a"}]}}, "policy.rules[0].action is missing (want allow or deny)"),
        ({"policy": {"default": "ask"}}, 'policy.default is "ask" (want allow or deny)'),
        ({"mtls": {"mode": "on"}}, 'mtls.mode is "on" (want strict or permissive or disable)'),
        (
            {"identity": {"trust_domain": "Td"}},
            'identity.trust_domain is "Td" (want a trust domain, as in cluster.local)',
        ),
        ({"identity": {"life_s": 1}}, "identity.life_s is 1 (want seconds, 10 to 31536000)"),
    ],
)
def test_what_is_wrong_is_said_in_its_own_words(tree: object, says: str) -> None:
    assert shaped(tree)[1] == [says]
