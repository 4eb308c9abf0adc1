"""Core. May an issuer with name constraints have signed for these names? Knows no path and no time.

Of the kinds of names (RFC 5280, 4.2.1.10) only URIs are compared, for they are all that an SVID is trusted
for. A certificate that has a name of another kind that is constrained is refused: to compare it wrongly
would be worse.
"""

from urllib.parse import urlsplit

from cryptography import x509

from meshtrio.identity.certificate import Certificate
from meshtrio.identity.refusal import Reason, Refused


def check_names(issuer: Certificate, below: Certificate) -> None:
    """Pass if `below` has only names that the issuer may sign for. Refused if not, or if we cannot tell."""
    if issuer.constraints is None:
        return
    permitted = tuple(issuer.constraints.permitted_subtrees or ())
    excluded = tuple(issuer.constraints.excluded_subtrees or ())
    kinds = {type(name) for name in below.names}
    if len(tuple(below.parsed.subject)):
        kinds.add(x509.DirectoryName)
    for tree in (*permitted, *excluded):
        if not isinstance(tree, x509.UniformResourceIdentifier) and type(tree) in kinds:
            words = f"constraints on {type(tree).__name__}, which we do not compare"
            raise Refused(Reason.NAME_CONSTRAINTS, words)
    hosts = [(urlsplit(uri).hostname or "") for uri in below.uris]
    allowed = [tree.value for tree in permitted if isinstance(tree, x509.UniformResourceIdentifier)]
    denied = [tree.value for tree in excluded if isinstance(tree, x509.UniformResourceIdentifier)]
    for host in hosts:
        if allowed and not any(_within(host, tree) for tree in allowed):
            raise Refused(Reason.NAME_CONSTRAINTS, f"its issuer may not sign for {ascii(host)[:80]}")
        if any(_within(host, tree) for tree in denied):
            raise Refused(Reason.NAME_CONSTRAINTS, f"its issuer must not sign for {ascii(host)[:80]}")


def _within(host: str, tree: str) -> bool:
    """A tree that begins with a dot has all hosts below it, and not itself; any other has only itself."""
    tree = tree.lower()
    return host.endswith(tree) and host != tree if tree.startswith(".") else host == tree
