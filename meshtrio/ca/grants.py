"""Core. Who a caller of the CA is, and which identities it may have signed. Does not know how it proved that.

Ids under /meshtrio are the mesh's own: a node's is in its certificate, and nobody else gets it, whatever the
patterns say.
"""

import enum
import hashlib
import re

import msgspec

from meshtrio.identity.spiffe import SpiffeFault, SpiffeId, parse, parse_workload

OWN = "/meshtrio"
NODE = f"{OWN}/node"
TOKEN_PREFIX = "meshtrio-join-"
PATTERNS_BOUND = 64
_NODE_NAME = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._-]{1,253}")


class Why(enum.Enum):
    """Why a caller gets nothing: a closed list, for audit and metrics."""

    NO_PROOF = "no_proof"
    """Nothing was shown that could prove who asks."""
    TOKEN_UNKNOWN = "token_unknown"
    TOKEN_USED = "token_used"
    TOKEN_EXPIRED = "token_expired"
    TOKEN_OTHER_NODE = "token_other_node"
    """The token is another node's."""
    NODE_UNKNOWN = "node_unknown"
    """The certificate is good, but the node has been forgotten."""
    ACCOUNT = "account"
    """A service account that is no agent's."""
    NOT_ALLOWED = "not_allowed"
    """An identity that is not on that node, or is none of this trust domain."""
    BAD_REQUEST = "bad_request"
    TOO_MANY = "too_many"
    NOT_NOW = "not_now"
    """What we have to ask first (the API server, the disk) does not answer."""


STATUS = {
    **dict.fromkeys((Why.NO_PROOF, Why.TOKEN_UNKNOWN, Why.TOKEN_USED, Why.TOKEN_EXPIRED), 401),
    **dict.fromkeys((Why.TOKEN_OTHER_NODE, Why.NODE_UNKNOWN, Why.ACCOUNT, Why.NOT_ALLOWED), 403),
    Why.BAD_REQUEST: 400,
    Why.TOO_MANY: 429,
    Why.NOT_NOW: 503,
}


class Denied(Exception):
    """A caller gets nothing. The words are for the caller, and hold no secret."""

    def __init__(self, why: Why, words: str, after_s: float | None = None) -> None:
        """`after_s`: when to come back."""
        super().__init__(words)
        self.why = why
        self.after_s = after_s


class Caller(msgspec.Struct, frozen=True, gc=False):
    """Somebody who has proved which node it is."""

    node: str
    proof: str
    """By what: join, certificate or kubernetes."""
    patterns: tuple[str, ...] = ()
    """Ids, and prefixes of ids that end with /*."""
    ids: frozenset[SpiffeId] = frozenset()
    """Ids that are on that node now."""

    def check(self, wanted: SpiffeId, trust_domain: str) -> None:
        """Pass if it may have a certificate of this id. Denied if not."""
        if wanted.trust_domain != trust_domain:
            raise Denied(Why.NOT_ALLOWED, f"{wanted} is not of trust domain {trust_domain}")
        if self.proof != "kubernetes" and wanted == node_id(trust_domain, self.node):
            return
        if self.proof == "join":
            words = f"a join token is for {node_id(trust_domain, self.node)} alone; ask with that certificate"
            raise Denied(Why.NOT_ALLOWED, words)
        if wanted.under(SpiffeId(trust_domain, OWN)):
            raise Denied(Why.NOT_ALLOWED, f"{wanted} is no workload's")
        if wanted not in self.ids and not any(fits(one, wanted) for one in self.patterns):
            raise Denied(Why.NOT_ALLOWED, f"{wanted} is not on node {self.node}")


def node_id(trust_domain: str, node: str) -> SpiffeId:
    """Give the id that a node's own certificate has."""
    return SpiffeId(trust_domain, f"{NODE}/{node}")


def node_of(spiffe_id: SpiffeId) -> str:
    """Say which node's own id this is. Denied if it is none's."""
    head, _, node = spiffe_id.path.rpartition("/")
    if head != NODE or not is_node_name(node):
        raise Denied(Why.NO_PROOF, f"{spiffe_id} is no node's certificate")
    return node


def is_node_name(name: str) -> bool:
    """Say whether a node can be called this: what can stand in an id, at one place."""
    return _NODE_NAME.fullmatch(name) is not None


def fits(pattern: str, wanted: SpiffeId) -> bool:
    """Say whether an id is the pattern's, or below it if that ends with /*."""
    prefix = pattern.removesuffix("/*")
    if prefix == pattern:
        return pattern == str(wanted)
    above = parse(prefix)
    return wanted != above and wanted.under(above)


def checked_patterns(patterns: tuple[str, ...], trust_domain: str) -> tuple[str, ...]:
    """Give the patterns back; none: everything of the trust domain. ValueError if one could fit nothing."""
    if len(patterns) > PATTERNS_BOUND:
        raise ValueError(f"{len(patterns)} patterns, want {PATTERNS_BOUND} at most")
    for pattern in patterns:
        prefix = pattern.removesuffix("/*")
        read = parse_workload if prefix == pattern else parse
        try:
            found = read(prefix)
        except SpiffeFault as fault:
            raise ValueError(str(fault)) from fault
        if found.trust_domain != trust_domain:
            raise ValueError(f"{pattern} is not of trust domain {trust_domain}")
    return patterns or (f"{SpiffeId(trust_domain)}/*",)


def digest(token: str) -> bytes:
    """Give what is kept of a token: enough to know it again, and not to use it (it is 256 random bits)."""
    return hashlib.sha256(token.encode()).digest()
