"""Core. What a SPIFFE ID is, and which one a workload gets. Does not know certificates.

By the SPIFFE-ID standard (section 2, and the character rules that came with its version 1.0). What a reader
could take for something else is refused and never mended: upper case in the trust domain, percent signs, a
trailing slash. So two ids are equal exactly if their texts are.
"""

import enum
import re
from collections.abc import Callable, Iterator
from functools import lru_cache

import msgspec

ID_BYTES = 2048
"""The longest id that everyone must take, and so the longest that we make or accept."""
TRUST_DOMAIN_BYTES = 255
NAMED = 4096
"""Accounts whose ids are remembered, for the pods of an account are many."""
CHECKED = 1024
"""Ids of workloads that are remembered as read: each secured connection asks for the same few."""
SCHEME = "spiffe://"
TEMPLATE = "spiffe://{trust_domain}/ns/{namespace}/sa/{service_account}"

# `fullmatch` only: "$" would let a line feed at the end pass.
_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]+")
_SEGMENT = re.compile(r"[a-zA-Z0-9._-]+")
_PLACE = re.compile(r"\{([^{}]*)\}")
_PLACES = ("namespace", "service_account")


class Fault(enum.Enum):
    """Why a text is no SPIFFE ID, or no template of one."""

    TOO_LONG = "too_long"
    WRONG_SCHEME = "wrong_scheme"
    NO_TRUST_DOMAIN = "no_trust_domain"
    TRUST_DOMAIN_TOO_LONG = "trust_domain_too_long"
    TRUST_DOMAIN_CHARACTER = "trust_domain_character"
    """Also a port, user information and upper case."""
    EMPTY_SEGMENT = "empty_segment"
    """Also a slash at the end."""
    DOT_SEGMENT = "dot_segment"
    PATH_CHARACTER = "path_character"
    """Also a query, a fragment and percent-encoding."""
    NO_PATH = "no_path"
    """A workload's id has a path; without one it names the trust domain itself."""
    UNKNOWN_PLACE = "unknown_place"
    """A template has a placeholder that is none of ours, or a brace alone."""
    TWO_PLACES = "two_places"
    """A template has two placeholders in one segment, or one of them twice: two workloads may share an id."""


class SpiffeFault(ValueError):
    """A text is no SPIFFE ID; `fault` says in which way, the words show where."""

    def __init__(self, fault: Fault, words: str) -> None:
        super().__init__(words)
        self.fault = fault


class SpiffeId(msgspec.Struct, frozen=True, order=True, gc=False):
    """An id. Made by `parse`, which is what vouches for its parts; `path` is empty or begins with a slash."""

    trust_domain: str
    path: str = ""

    def __str__(self) -> str:
        return f"{SCHEME}{self.trust_domain}{self.path}"

    def under(self, prefix: "SpiffeId") -> bool:
        """Say whether this is `prefix` or below it, segment by segment: /ns/a is not above /ns/ab."""
        if self.trust_domain != prefix.trust_domain:
            return False
        return self.path == prefix.path or self.path.startswith(f"{prefix.path}/")

    def patterns(self) -> Iterator[str]:
        """Give all patterns that this fits: itself, and /* after each thing that it is below.

        So spiffe://td/ns/a/* is what is below /ns/a, and neither that itself nor /ns/ab.
        """
        text = str(self)
        yield text
        at = len(SCHEME)
        while (at := text.find("/", at) + 1) > 0:
            yield f"{text[:at]}*"


def parse(text: str) -> SpiffeId:
    """Read an id, with a path or without. SpiffeFault if it is none."""
    # Longer in bytes than in characters only with what the characters below refuse anyway.
    if len(text) > ID_BYTES:
        raise SpiffeFault(Fault.TOO_LONG, f"it has {len(text)} characters, want {ID_BYTES} at most")
    if not text.startswith(SCHEME):
        raise SpiffeFault(Fault.WRONG_SCHEME, f"{_shown(text)} does not begin with {SCHEME}")
    trust_domain, slash, path = text[len(SCHEME) :].partition("/")
    parse_trust_domain(trust_domain)
    if not slash:
        return SpiffeId(trust_domain)
    for segment in path.split("/"):
        _check_segment(segment, text)
    return SpiffeId(trust_domain, f"/{path}")


@lru_cache(CHECKED)
def parse_workload(text: str) -> SpiffeId:
    """Read an id that a workload can have: one with a path. SpiffeFault if it is none."""
    found = parse(text)
    if not found.path:
        raise SpiffeFault(Fault.NO_PATH, f"{_shown(text)} has no path, so it is no workload's")
    return found


def parse_trust_domain(name: str) -> str:
    """Give the name back if it can be a trust domain's. SpiffeFault if it cannot."""
    if not name:
        raise SpiffeFault(Fault.NO_TRUST_DOMAIN, "the trust domain is empty")
    if len(name) > TRUST_DOMAIN_BYTES:
        words = f"the trust domain has {len(name)} characters, want {TRUST_DOMAIN_BYTES} at most"
        raise SpiffeFault(Fault.TRUST_DOMAIN_TOO_LONG, words)
    if not _TRUST_DOMAIN.fullmatch(name):
        words = f"trust domain {_shown(name)} has other characters than a-z 0-9 . - _"
        raise SpiffeFault(Fault.TRUST_DOMAIN_CHARACTER, words)
    return name


class Template(msgspec.Struct, frozen=True, gc=False):
    """How ids of workloads are made. From `parse_template`; different workloads get different ids, as far as
    the template names what they differ in."""

    text: str

    def render(self, trust_domain: str, *, namespace: str, service_account: str) -> SpiffeId:
        """Make the id of a workload. SpiffeFault if a value cannot stand in one, so nothing can be smuggled
        in by a name that has a slash or dots."""
        values = {"trust_domain": trust_domain, "namespace": namespace, "service_account": service_account}
        for place in _PLACES:
            _check_segment(values[place], f"{place} {values[place]}")
        parse_trust_domain(trust_domain)
        return parse_workload(_PLACE.sub(lambda found: values[found[1]], self.text))


def parse_template(text: str) -> Template:
    """Read a template such as TEMPLATE. SpiffeFault if it could make something else than ids.

    The trust domain is the host and stands nowhere else; each other placeholder stands once at most, and no
    two in one segment, for {namespace}-{service_account} makes a-b-c of two different workloads.
    """
    head = f"{SCHEME}{{trust_domain}}"
    if not text.startswith(head):
        raise SpiffeFault(Fault.WRONG_SCHEME, f"template {_shown(text)} does not begin with {head}")
    path = text[len(head) :]
    if not path.startswith("/"):
        raise SpiffeFault(Fault.NO_PATH, f"template {_shown(text)} has no path after {{trust_domain}}")
    places = _PLACE.findall(path)
    for place in places:
        if place not in _PLACES:
            words = f"template has {{{place[:40]}}}, want one of {', '.join(_PLACES)}"
            raise SpiffeFault(Fault.UNKNOWN_PLACE, words)
    if re.search(r"[{}]", _PLACE.sub("", path)):
        raise SpiffeFault(Fault.UNKNOWN_PLACE, f"template {_shown(text)} has a brace alone")
    crowded = [segment for segment in path.split("/") if len(_PLACE.findall(segment)) > 1]
    if crowded or len(set(places)) < len(places):
        words = f"template {_shown(text)} has a placeholder twice, or two in one segment"
        raise SpiffeFault(Fault.TWO_PLACES, words)
    template = Template(text)
    template.render("example.org", namespace="a", service_account="a")
    return template


def namer(template: str, trust_domain: str) -> Callable[[str, str], str]:
    """Make what gives the id of a namespace's service account; empty where there can be none."""
    parsed = parse_template(template)

    @lru_cache(NAMED)
    def named(namespace: str, service_account: str) -> str:
        try:
            return str(parsed.render(trust_domain, namespace=namespace, service_account=service_account))
        except SpiffeFault:
            return ""

    return named


def _check_segment(segment: str, whole: str) -> None:
    if not segment:
        raise SpiffeFault(Fault.EMPTY_SEGMENT, f"{_shown(whole)} has an empty segment")
    if segment in (".", ".."):
        raise SpiffeFault(Fault.DOT_SEGMENT, f"{_shown(whole)} has a segment of dots")
    if not _SEGMENT.fullmatch(segment):
        words = f"{_shown(whole)} has other characters in its path than a-z A-Z 0-9 . - _"
        raise SpiffeFault(Fault.PATH_CHARACTER, words)


def _shown(text: str) -> str:
    """Show what someone sent us in one line of a log, whatever it is."""
    return ascii(text if len(text) <= 80 else f"{text[:77]}...")
