"""Core. DNS messages in few words, for tests."""

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype


def query(name: str, kind: str = "A", **options: int | bool) -> bytes:
    """Write a query; the options are those of dnspython's `make_query`."""
    return dns.message.make_query(name, kind, **options).to_wire()  # type: ignore[arg-type]


def lines(raw: bytes) -> list[str]:
    """Say what an answer is: its code, TC if it is cut, and each record as `name TTL type value`."""
    said = dns.message.from_wire(raw)
    found = [dns.rcode.to_text(said.rcode()) + (" TC" if said.flags & dns.flags.TC else "")]
    for mark, section in (("", said.answer), ("! ", said.authority), ("+ ", said.additional)):
        for rrset in section:
            kind = dns.rdatatype.to_text(rrset.rdtype)
            found += [f"{mark}{rrset.name} {rrset.ttl} {kind} {rdata}" for rdata in rrset]
    return found
