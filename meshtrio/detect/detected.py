"""Core. What a connection speaks, once it is known. Does not know how one finds out."""

import enum

import msgspec


class Protocol(enum.Enum):
    """What the client's first bytes begin. The value is the word in logs and metrics."""

    HTTP1 = "http1"
    HTTP2 = "http2"
    TLS = "tls"
    TCP = "tcp"
    """Anything else, also silence: carried as opaque bytes."""


class Detected(msgspec.Struct, frozen=True, gc=False):
    """The answer for one connection. Names are the client's word: good for logs, never for access."""

    protocol: Protocol
    sni: str | None = None
    """The host name of a TLS ClientHello, in lower case, or None if it has none that is well formed."""
    alpn: tuple[str, ...] = ()
    """The protocols a TLS client offers, in its order, bytes read as Latin-1."""
    ticket_bytes: int = 0
    """How long the ticket is with which a TLS client would resume a session; 0: it would not."""
