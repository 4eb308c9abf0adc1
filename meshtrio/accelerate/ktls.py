"""Shell. Whether the kernel could encrypt for us (kTLS), found by asking it. Nothing uses it yet."""

import errno
import os
import socket

_TCP_ULP = 31
"""linux/tcp.h. Python's socket module does not name it."""


def why_no_ktls() -> str:
    """Say why a connected socket cannot be given to the kernel's TLS; empty: it can.

    For who may, the kernel loads its module by this, where it has one.
    """
    try:
        with (
            socket.create_server(("127.0.0.1", 0)) as door,
            socket.create_connection(door.getsockname()) as client,
        ):
            client.setsockopt(socket.IPPROTO_TCP, _TCP_ULP, b"tls")
    except OSError as refused:
        if refused.errno == errno.ENOENT:
            return "kernel has no tls ULP"
        return f"the kernel refuses the tls ULP: {os.strerror(refused.errno or 0)}"
    return ""
