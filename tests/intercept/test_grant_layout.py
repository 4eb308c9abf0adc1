"""Core. The bytes of grants: bpf/include, built here, against grant_layout.py."""

import ctypes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.address import Address
from meshtrio.intercept import grant_layout as layout
from meshtrio.intercept.followed_layout import DirectLive
from tests.support.layouts import addresses, laid_out, living, moments, u32, u64
from tests.support.native import numbers


@pytest.fixture(scope="module")
def c(library: ctypes.CDLL) -> dict[str, int]:
    return numbers(library)


def test_sizes_are_those_of_c(c: dict[str, int]) -> None:
    assert {name: c[f"sizeof {name}"] for name in ("grantee", "grant", "passage", "passenger")} == {
        "grantee": layout.GRANTEE_BYTES,
        "grant": layout.GRANT_BYTES,
        "passage": layout.PASSAGE_BYTES,
        "passenger": layout.PASSENGER_BYTES,
    }


@given(service=addresses, workload=u32, number=u32, until=moments)
def test_a_grant(c: dict[str, int], service: Address, workload: int, number: int, until: float) -> None:
    key = layout.grantee(service, workload)
    assert key == laid_out(c, "grantee", service=("18s", service.pack()), workload=("I", workload))
    assert layout.unpack_grantee(key) == (service, workload)
    value = layout.grant(until, number)
    assert value == laid_out(c, "grant", until=("Q", int(until * 1e9)), generation=("I", number))
    assert layout.unpack_grant(value) == (until, number)


@given(live=living, netns=u64)
def test_a_passage(c: dict[str, int], live: DirectLive, netns: int) -> None:
    raw = layout.passage(netns, live)
    assert raw == laid_out(
        c,
        "passage",
        netns=("Q", netns),
        source=("18s", live.source.pack()),
        member=("18s", live.member.pack()),
    )


@given(cookie=u64, called=u32, arrived=st.integers(0, 1))
def test_a_passenger(c: dict[str, int], cookie: int, called: int, arrived: int) -> None:
    raw = laid_out(c, "passenger", cookie=("Q", cookie), called=("I", called), arrived=("I", arrived))
    assert layout.unpack_passenger(raw) == cookie
