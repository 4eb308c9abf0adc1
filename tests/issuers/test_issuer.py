"""What is said of a certificate with its key, and what is not."""

from meshtrio.identity.plan import Validity
from meshtrio.identity.spiffe import parse
from meshtrio.issuers.issuer import Issued


def test_a_key_is_not_shown() -> None:
    made = Issued(parse("spiffe://td/a"), (b"chain",), b"secret", 255, Validity(0.0, 1.0))
    assert repr(made) == str(made) == f"{made}" == "Issued(spiffe://td/a, serial ff)"
