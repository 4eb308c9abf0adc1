"""Every mode, at both ends."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.config.identity import Identity, Mode, ModeRule, Mtls
from meshtrio.config.schema import Config
from meshtrio.detect.detected import Detected, Protocol
from meshtrio.outcome import Outcome
from meshtrio.route.modes import (
    ALPN,
    DEMANDS_BOUND,
    INBOUND,
    Demand,
    Hello,
    Modes,
    Treatment,
    inbound,
    outbound,
)

MESH = Detected(Protocol.TLS, alpn=("h2", ALPN))
OWN = Detected(Protocol.TLS, sni="shop.example.com", alpn=("h2", "meshtrio/2"))
HTTP = Detected(Protocol.HTTP1)
BEGINNINGS = [MESH, OWN, HTTP, None]
MODES = get_args(Mode)


def test_the_table_is_total() -> None:
    wanted = {(mode, hello, has) for mode in MODES for hello in Hello for has in (True, False)}
    assert set(INBOUND) == wanted


@pytest.mark.parametrize("has_identity", [True, False])
@pytest.mark.parametrize("detected", BEGINNINGS)
def test_disabled_touches_nothing(detected: Detected | None, has_identity: bool) -> None:
    treatment = inbound(Demand("disable"), has_identity=has_identity, detected=detected)
    assert treatment is Treatment.PLAIN


@pytest.mark.parametrize(
    ("mode", "any_alpn", "detected", "wanted"),
    [
        ("permissive", False, MESH, Treatment.MUTUAL_TLS),
        ("permissive", False, OWN, Treatment.PLAIN),
        ("permissive", False, HTTP, Treatment.PLAIN),
        ("permissive", False, None, Treatment.PLAIN),
        ("strict", False, MESH, Treatment.MUTUAL_TLS),
        ("strict", False, OWN, Treatment.REFUSE_PLAINTEXT),
        ("strict", False, HTTP, Treatment.REFUSE_PLAINTEXT),
        ("strict", False, None, Treatment.REFUSE_PLAINTEXT),
        ("strict", True, MESH, Treatment.MUTUAL_TLS),
        ("strict", True, OWN, Treatment.MUTUAL_TLS),
        ("strict", True, HTTP, Treatment.REFUSE_PLAINTEXT),
        ("strict", True, None, Treatment.REFUSE_PLAINTEXT),
    ],
)
def test_what_is_mutual_tls_needs_an_identity_and_nothing_else_changes(
    mode: Mode, any_alpn: bool, detected: Detected | None, wanted: Treatment
) -> None:
    demand = Demand(mode, any_alpn)
    assert inbound(demand, has_identity=True, detected=detected) is wanted
    without = Treatment.REFUSE_NO_IDENTITY if wanted is Treatment.MUTUAL_TLS else wanted
    assert inbound(demand, has_identity=False, detected=detected) is without


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("has_identity", [True, False])
def test_what_is_outside_of_the_mesh_is_called_plainly(mode: Mode, has_identity: bool) -> None:
    assert outbound(Demand(mode), meshed=False, has_identity=has_identity) is Treatment.PLAIN


@pytest.mark.parametrize("mode", ["strict", "permissive"])
def test_what_is_in_the_mesh_is_never_called_plainly(mode: Mode) -> None:
    assert outbound(Demand(mode), meshed=True, has_identity=True) is Treatment.MUTUAL_TLS
    assert outbound(Demand(mode), meshed=True, has_identity=False) is Treatment.REFUSE_NO_IDENTITY


def test_disabled_calls_plainly_everywhere() -> None:
    assert outbound(Demand("disable"), meshed=True, has_identity=True) is Treatment.PLAIN


def test_a_refusal_is_an_outcome() -> None:
    refusals = {treatment: treatment.refusal for treatment in Treatment}
    assert refusals == {
        Treatment.MUTUAL_TLS: None,
        Treatment.PLAIN: None,
        Treatment.REFUSE_PLAINTEXT: Outcome.PLAINTEXT,
        Treatment.REFUSE_NO_IDENTITY: Outcome.NO_IDENTITY,
    }


NAMES = st.sampled_from(["a", "b"])
PORTS = st.sampled_from([80, 443])
RULES = st.builds(
    ModeRule,
    mode=st.sampled_from(MODES),
    namespace=NAMES | st.just(""),
    workload=NAMES | st.just(""),
    port=PORTS | st.just(0),
)


@given(mode=st.sampled_from(MODES), rules=st.lists(RULES), namespace=NAMES, workload=NAMES, port=PORTS)
def test_the_first_rule_that_fits_decides(
    mode: Mode, rules: list[ModeRule], namespace: str, workload: str, port: int
) -> None:
    wanted = Demand(mode)
    for at, rule in reversed(list(enumerate(rules))):
        pairs = ((rule.namespace, namespace), (rule.workload, workload), (rule.port, port))
        if all(not mine or mine == theirs for mine, theirs in pairs):
            wanted = Demand(rule.mode, rule=f"mtls.rules[{at}]")
    modes = Modes(Mtls(mode, tuple(rules)))
    for _ in range(2):
        assert modes.of(namespace=namespace, workload=workload, port=port) == wanted


def test_any_client_is_a_matter_of_strict_alone() -> None:
    rules = (ModeRule("strict", port=1, any_alpn=True), ModeRule("permissive", port=2, any_alpn=True))
    modes = Modes(Mtls(rules=rules))
    assert modes.of(namespace="a", workload="b", port=1).any_alpn
    assert not modes.of(namespace="a", workload="b", port=2).any_alpn


def test_without_a_source_of_identities_permissive_is_disabled_and_strict_stays() -> None:
    mtls = Mtls("permissive", (ModeRule("strict", port=1),))
    modes = Modes.configured(Config(identity=Identity(source="off"), mtls=mtls))
    assert modes.of(namespace="a", workload="b", port=1).mode == "strict"
    assert modes.of(namespace="a", workload="b", port=2) == Demand("disable", rule="identity.source")
    assert Modes.configured(Config(mtls=mtls)).of(namespace="a", workload="b", port=2).mode == "permissive"


def test_what_is_remembered_is_bounded() -> None:
    modes = Modes(Mtls(rules=(ModeRule("strict", port=7),)))
    for port in range(1, DEMANDS_BOUND + 10):
        assert modes.of(namespace="a", workload="b", port=port).mode == (
            "strict" if port == 7 else "permissive"
        )
    assert len(modes._remembered) <= DEMANDS_BOUND
