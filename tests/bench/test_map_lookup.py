"""The kernel. What is timed is a look-up that finds the key, of any length."""

import os

import pytest

from meshtrio.intercept import bpf
from tests.bench.map_lookup import lookup_ns

pytestmark = pytest.mark.kernel

HASH = 1


@pytest.mark.parametrize("key", [b"k" * 8, bytes(range(200, 218)), b"\xff" * 18])
def test_a_key_is_looked_up(key: bytes) -> None:
    descriptor = bpf.create_map(HASH, "bench", (len(key), 4, 100))
    try:
        with pytest.raises(KeyError):
            lookup_ns(descriptor, key)
        bpf.update(descriptor, key, b"here")
        assert lookup_ns(descriptor, key) > 0
        with pytest.raises(KeyError):
            lookup_ns(descriptor, key[:-1] + b"?")
    finally:
        os.close(descriptor)
