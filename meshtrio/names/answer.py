"""Core. A query's bytes become an answer's bytes, or "forward this". Knows no sockets, and no other resolver.

- Virtual IPs are the answer if there are any. Else another name, if the service stands for one. Else the
  addresses of the ready endpoints, in random order.
- A family or type that a service does not have is told as such (NODATA), never forwarded: another resolver
  would say that the name does not exist at all.
- Names for another name (Kubernetes's ExternalName) are followed here as long as they are ours; the last one
  is looked up elsewhere (`Chase`), for a stub resolver does not follow a lone CNAME.
"""

import enum

import msgspec

from meshtrio.catalog.snapshot import Snapshot
from meshtrio.config.discovery import Dns
from meshtrio.names import wire
from meshtrio.names.index import Index
from meshtrio.names.names import Asker, Bare, Named, labels_of, meaning
from meshtrio.names.question import HEADER_BYTES, Malformed, Question, read
from meshtrio.names.records import Records, Shuffle
from meshtrio.names.wire import Sections

UDP_ADDRESSES = 16
"""So many endpoints are told by UDP; who wants them all asks by TCP."""
ALIASES = 8
"""How many names for names are followed."""

_OURS = b"\x04mesh\0"
_WANTED_SHORT = frozenset((wire.A, wire.AAAA, wire.SRV, wire.SVCB, wire.HTTPS, wire.ANY))


class Drop(enum.Enum):
    """Why a query gets no answer at all. The value is the word in metrics."""

    GARBAGE = "garbage"
    """Too short to have an id."""
    RESPONSE = "response"
    """Answering answers would go round for ever."""


class Forward(msgspec.Struct, frozen=True, gc=False):
    """This is not ours to answer."""

    question: Question


class Chase(msgspec.Struct, frozen=True, gc=False):
    """The name stands for one that is not ours: that is to be looked up, and told behind `aliases`."""

    question: Question
    target: str
    aliases: tuple[bytes, ...]
    """CNAME records, from the name in the question to the target."""


Verdict = bytes | Forward | Chase | Drop


class Answers:
    """Says what a query deserves, by the catalog. Lives as long as its settings; holds only an index."""

    def __init__(self, settings: Dns, shuffle: Shuffle, *, datacenter: str = "") -> None:
        """Answer by these settings. `shuffle` mixes a list in place; `datacenter` is Consul's own."""
        self._datacenter = datacenter.lower()
        self._negative_ttl_s = settings.negative_ttl_s
        self._cluster = labels_of(settings.cluster_domain)
        self._records = Records(settings.ttl_s, self._cluster, shuffle)
        self._index = Index()

    def verdict(self, query: bytes, snapshot: Snapshot, *, namespace: str, tcp: bool) -> Verdict:
        """Answer a query, or say what else is to be done with it. Never raises, whatever the bytes are."""
        if len(query) < HEADER_BYTES:
            return Drop.GARBAGE
        if query[2] & 0x80:
            return Drop.RESPONSE
        if query[2] & 0x78:
            return wire.error(query, wire.NOTIMP)
        if query[4:6] != b"\0\x01":
            return wire.error(query, wire.FORMERR)
        try:
            question = read(query)
        except Malformed:
            return wire.error(query, wire.FORMERR)
        if question.type in (wire.AXFR, wire.IXFR):
            return wire.error(query, wire.REFUSED, question)  # its answer is not one message
        if question.in_class != wire.IN:
            return Forward(question)
        self._index.keep_up(snapshot)
        asker = Asker(snapshot, namespace, self._cluster, self._datacenter)
        meant = meaning(question.labels, asker, self._index)
        if meant is None or (isinstance(meant, Named) and meant.short and not _wanted(query, question)):
            return Forward(question)
        if not question.sound:
            return wire.error(query, wire.FORMERR, question)
        limit = wire.limit_of(question, tcp=tcp)
        if question.version:
            return wire.message(query, question, Sections(code=wire.BADVERS, flags=0), limit)
        said = self._said(query, question, meant, asker)
        if isinstance(said, Chase):
            return said
        if not tcp and len(said.answers) > UDP_ADDRESSES:
            said = msgspec.structs.replace(
                said, answers=said.answers[:UDP_ADDRESSES], additional=said.additional[:UDP_ADDRESSES]
            )
        return wire.message(query, question, said, limit)

    def _said(self, query: bytes, question: Question, meant: Named | Bare, asker: Asker) -> Sections | Chase:
        aliases: list[bytes] = []
        owner = wire.ASKED
        for _ in range(ALIASES):
            if isinstance(meant, Bare):
                if meant.apex and question.type in (wire.SOA, wire.ANY):
                    return Sections(answers=(self._soa(asker, _OURS),))
                code = wire.NOERROR if meant.exists else wire.NXDOMAIN
                return Sections(aliases, self._soa(asker, _OURS), code=code)
            target = meant.service.external if _is_alias(meant) else ""
            if not target:
                own_name = _behind_prefix(query, question, meant, owner)
                records, additional = self._records.of(meant, question.type, owner, own_name)
                if records:
                    return Sections([*aliases, *records] if aliases else records, b"", additional)
                return Sections(aliases, self._soa(asker, _OURS if meant.ours else owner))
            try:
                alias, name = self._records.alias(owner, target)
            except ValueError:
                break
            aliases.append(alias)
            if question.type in (wire.CNAME, wire.ANY):
                return Sections(aliases)
            # A target is a whole name: what is short could be one of ours only by accident.
            following = meaning(labels_of(target), asker, self._index)
            if following is None or (isinstance(following, Named) and following.short):
                return Chase(question, target, tuple(aliases))
            meant, owner = following, name
        return Sections(code=wire.SERVFAIL, flags=0)

    def _soa(self, asker: Asker, zone: bytes) -> bytes:
        value = wire.soa_value(_OURS, asker.snapshot.version, self._negative_ttl_s)
        return wire.record(zone, wire.SOA, self._negative_ttl_s, value)


def _wanted(query: bytes, question: Question) -> bool:
    """Say whether a short name is asked for by somebody who wants to connect.

    A resolver inside the workload that works its way down from the root (RD is not set) asks for public
    names, label by label.
    """
    return question.type in _WANTED_SHORT and bool(query[2] & 1)


def _is_alias(meant: Named) -> bool:
    less = meant.port or meant.ip or meant.tag or meant.reverse
    return bool(meant.service.external) and not meant.service.vips and not less


def _behind_prefix(query: bytes, question: Question, meant: Named, owner: bytes) -> bytes:
    """Give the service's name as it was asked for: what stands behind _http._tcp in the question."""
    if owner != wire.ASKED:
        return owner
    skipped = sum(len(label) + 1 for label in question.labels[:2]) if meant.port else 0
    return query[HEADER_BYTES + skipped : question.end - 4]
