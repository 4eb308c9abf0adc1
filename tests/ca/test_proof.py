"""Who calls, by what is shown; over sockets it is tests/ca/test_app.py's."""

from pathlib import Path

import pytest

from meshtrio.ca.grants import TOKEN_PREFIX, Caller, Denied, Why, node_id
from meshtrio.ca.ledger import Ledger
from meshtrio.ca.proof import Proof, Shown
from meshtrio.identity.spiffe import SpiffeId
from tests.support.identities import NOW, WEB, leaf, root

CERTIFICATE = leaf(root(), str(node_id("td", "a"))).der


async def review(token: str, wanted: SpiffeId) -> Caller:
    return Caller(token, "kubernetes")


async def why(proof: Proof, **words: object) -> Why | str:
    given: dict[str, object] = {"certificate": None, "token": "", "node": "a", "wanted": WEB, "key": b"k"}
    try:
        caller = await proof.caller(Shown(**(given | words)))  # type: ignore[arg-type]
    except Denied as denied:
        return denied.why
    return f"{caller.node} by {caller.proof}"


async def test_each_proof(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ca.db")
    proof, plain = Proof(ledger, review, lambda: NOW), Proof(ledger, None, lambda: NOW)
    token = ledger.new_token("a", (), NOW, 60)
    assert await why(proof) is Why.NO_PROOF
    assert await why(proof, certificate=CERTIFICATE) is Why.NODE_UNKNOWN
    assert await why(proof, token=token) == "a by join"
    assert await why(proof, certificate=CERTIFICATE) == "a by certificate"
    assert await why(proof, certificate=CERTIFICATE, node="b") == "a by certificate"
    assert await why(proof, certificate=leaf(root(), str(WEB)).der) is Why.NO_PROOF
    assert await why(proof, certificate=root().certificate.der) is Why.NO_PROOF
    assert await why(proof, certificate=CERTIFICATE, token="kube") == "kube by kubernetes"
    assert await why(plain, certificate=CERTIFICATE, token="kube") is Why.TOKEN_UNKNOWN
    assert await why(proof, certificate=CERTIFICATE, token=f"{TOKEN_PREFIX}x") is Why.TOKEN_UNKNOWN
    ledger.close()


async def test_a_ledger_that_cannot_be_used_is_not_a_refusal_for_ever(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ca.db")
    proof = Proof(ledger, None, lambda: NOW)
    ledger.close()
    with pytest.raises(Denied) as caught:
        await proof.caller(Shown(None, f"{TOKEN_PREFIX}x", "a", WEB, b""))
    assert caught.value.why is Why.NOT_NOW
    assert caught.value.after_s


def test_nothing_of_what_is_shown_is_printed() -> None:
    assert repr(Shown(b"c", "secret", "a", WEB, b"k")) == "Shown('a')"
