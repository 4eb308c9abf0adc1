"""Shell. A session that is kept, and offered to its endpoint again: as Python's `ssl` does it, or without its
detour through DER.

`ssl` offers a copy, since OpenSSL changes what it is given. It makes that by writing the session as DER and
reading it anew, with the endpoint's certificate in it; and OpenSSL 3.0 looks for a decoder of that key for
longer than anything else takes: 200 of 460 us of the dialling side's TLS in a resumed handshake (2026-11-29).
SSL_SESSION_dup (OpenSSL 1.1.1) makes the same copy and shares the certificate: 7 us. `ssl` has no name for
that, so it is called on the pointers in two objects of `ssl`. Where they are there is CPython's affair
(PySSLSocket and PySSLSession in Modules/_ssl.c), so this is done where that is known, and nowhere else.

What `ssl` gives as the session of a connection is the very one that the connection has. OpenSSL calls it bad
when that ends without close_notify, and its copies with it; only DER forgets that. So what is kept is a copy
of our own, made while the connection is well.
"""

import _ssl
import ctypes
import ssl
import sys

_HEAD_BYTES = 16
"""PyObject_HEAD: the count of references, and the type."""
_KNOWN = (3, 11)
"""The version of CPython in whose source was looked: the SSL is the second pointer, the session the first."""
_INNER = getattr(_ssl, "_SSLSocket", None)
_SOCKET_BYTES, _SESSION_BYTES = _HEAD_BYTES + 8, _HEAD_BYTES


def _is_known() -> bool:
    """Say whether the objects are laid out as in the source that was looked at."""
    return (
        sys.implementation.name == "cpython"
        and sys.version_info[:2] == _KNOWN
        and object.__basicsize__ == _HEAD_BYTES  # more in builds for debugging (Py_TRACE_REFS)
        and ssl.SSLSession.__basicsize__ == _HEAD_BYTES + 2 * 8
    )


def _found() -> ctypes.CDLL | None:
    """Find the functions in the libraries that `ssl` itself uses; None: go the long way."""
    if not _is_known():
        return None
    try:
        library = ctypes.CDLL(_ssl.__file__)
        for name, result, arguments in (
            ("SSL_SESSION_dup", ctypes.c_void_p, [ctypes.c_void_p]),
            ("SSL_SESSION_free", None, [ctypes.c_void_p]),
            ("SSL_set_session", ctypes.c_int, [ctypes.c_void_p, ctypes.c_void_p]),
        ):
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except (AttributeError, OSError):  # built into the interpreter, or against another library
        return None
    return library


_openssl = _found()


class Kept:
    """A session of a connection that is well now, whatever becomes of that."""

    __slots__ = ("_copy", "_free", "session")

    def __init__(self, session: ssl.SSLSession) -> None:
        self.session = session
        self._copy: int | None = None
        if _openssl is not None and type(session) is ssl.SSLSession:  # in nothing else a pointer is read
            self._copy = _openssl.SSL_SESSION_dup(_pointer(session, _SESSION_BYTES))
            # By name, for at the end of the process modules go before their objects.
            self._free = _openssl.SSL_SESSION_free

    def __del__(self) -> None:
        if self._copy is not None:
            self._free(self._copy)

    def offer(self, tls: ssl.SSLObject) -> None:
        """Let the handshake that is about to begin, with the same context, offer it."""
        inner = tls._sslobj  # type: ignore[attr-defined]  # what a SSLObject passes all on to
        if _openssl is None or self._copy is None or type(inner) is not _INNER:
            tls.session = self.session
            return
        copy = _openssl.SSL_SESSION_dup(self._copy)
        offered = copy is not None and _openssl.SSL_set_session(_pointer(inner, _SOCKET_BYTES), copy)
        _openssl.SSL_SESSION_free(copy)
        if not offered:
            raise MemoryError("a session could not be copied")


def _pointer(of: object, at_bytes: int) -> int | None:
    """Read a pointer out of an object."""
    return ctypes.c_void_p.from_address(id(of) + at_bytes).value
