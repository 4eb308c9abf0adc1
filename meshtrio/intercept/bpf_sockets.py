"""Shell. Programs that look at what the sockets in a map send. A part of bpf.py."""

import struct

from meshtrio.intercept import bpf

SK_MSG, TO_SK_MSG_VERDICT = 16, 7
"""Program type and attach type of include/uapi/linux/bpf.h."""
_PROG_ATTACH = 8


def attach(program: int, sockets: int) -> None:
    """Let an sk_msg program look at all that the sockets of a map send; it stays with the map."""
    bpf.call(_PROG_ATTACH, struct.pack("<4I", sockets, program, TO_SK_MSG_VERDICT, 0))
