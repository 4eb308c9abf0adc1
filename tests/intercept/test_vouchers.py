"""Notes of who calls, in a map of the kernel."""

import os
from collections.abc import Iterator

import pytest

from meshtrio.address import Address
from meshtrio.intercept import bpf
from meshtrio.intercept.layout import VOUCHER_BYTES, VOUCHER_WORKLOAD_BYTES
from meshtrio.intercept.vouchers import Vouchers

pytestmark = pytest.mark.kernel

LRU_HASH = 9  # BPF_MAP_TYPE_LRU_HASH, include/uapi/linux/bpf.h
FROM, TO = Address.of("10.0.0.1", 40_000), Address.of("10.0.0.2", 80)


@pytest.fixture
def vouchers() -> Iterator[Vouchers]:
    descriptor = bpf.create_map(LRU_HASH, "vouchers", (VOUCHER_BYTES, VOUCHER_WORKLOAD_BYTES, 8192))
    yield Vouchers(descriptor)
    os.close(descriptor)


def test_a_note_is_taken_once_by_whom_it_is_for(vouchers: Vouchers) -> None:
    vouchers.vouch(1, FROM, TO, 7)
    for netns, source, to in ((2, FROM, TO), (1, TO, TO), (1, FROM, FROM)):
        assert vouchers.take(netns, source, to) is None
    assert vouchers.take(1, FROM, TO) == 7
    assert vouchers.take(1, FROM, TO) is None


def test_a_new_note_replaces_one_that_nobody_took(vouchers: Vouchers) -> None:
    vouchers.vouch(1, FROM, TO, 7)
    vouchers.vouch(1, FROM, TO, 8)
    assert vouchers.take(1, FROM, TO) == 8


def test_when_it_is_full_the_newest_are_there(vouchers: Vouchers) -> None:
    for at in range(20_000):
        vouchers.vouch(at, FROM, TO, 7)
    assert vouchers.take(19_999, FROM, TO) == 7
    assert vouchers.take(0, FROM, TO) is None
