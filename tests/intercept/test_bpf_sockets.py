"""An sk_msg program and the sockets of a map. What it then does is in tests/bpf/test_grants.py."""

import os

import pytest

from meshtrio.intercept import bpf, bpf_sockets

pytestmark = pytest.mark.kernel

SOCKHASH, HASH = 18, 1
DROP = bytes.fromhex("b7000000000000009500000000000000")
"""r0 = SK_DROP; exit."""


@pytest.mark.parametrize("kind", [SOCKHASH, HASH])
def test_it_looks_at_the_sockets_of_a_map_of_sockets(kind: int) -> None:
    made = bpf.create_map(kind, "strays", (8, 4, 16))
    program = bpf.load_program(bpf_sockets.SK_MSG, bpf_sockets.TO_SK_MSG_VERDICT, "drop", DROP)
    try:
        if kind == SOCKHASH:
            bpf_sockets.attach(program, made)
            bpf_sockets.attach(program, made)  # as a successor does
            return
        with pytest.raises(OSError, match="Errno"):
            bpf_sockets.attach(program, made)
    finally:
        os.close(program)
        os.close(made)
