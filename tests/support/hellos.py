"""Real ClientHellos, as OpenSSL makes them, and hand-made ones for what it would never send."""

import ssl


def real_hello(host: str | None = "web.example", alpn: tuple[str, ...] = ("h2", "http/1.1")) -> bytes:
    """Make the bytes with which a TLS client begins."""
    context = ssl.create_default_context()
    if alpn:
        context.set_alpn_protocols(list(alpn))
    context.check_hostname = False
    arriving, leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(arriving, leaving, server_hostname=host)
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        return leaving.read()
    raise AssertionError("no handshake ends before the server has answered")


def vector(length_bytes: int, body: bytes) -> bytes:
    """Write bytes with their length in front."""
    return len(body).to_bytes(length_bytes, "big") + body


def extension(kind: int, body: bytes) -> bytes:
    """Write one extension."""
    return kind.to_bytes(2, "big") + vector(2, body)


def server_name(name: bytes, kind: int = 0) -> bytes:
    """Write the extension that names the host."""
    return extension(0, vector(2, bytes([kind]) + vector(2, name)))


def hello(*extensions: bytes, tail: bytes = b"") -> bytes:
    """Write a ClientHello message with these extensions, without the record around it."""
    body = b"\x03\x03" + bytes(32) + vector(1, b"") + vector(2, b"\x13\x01") + vector(1, b"\x00")
    if extensions:
        body += vector(2, b"".join(extensions))
    return b"\x01" + vector(3, body + tail)


def records(message: bytes, fragment_bytes: int = 1 << 14) -> bytes:
    """Put a message into records of this size."""
    pieces = [message[at : at + fragment_bytes] for at in range(0, len(message), fragment_bytes)]
    return b"".join(b"\x16\x03\x01" + vector(2, piece) for piece in pieces)
