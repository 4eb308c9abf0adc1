"""Core. The bytes of direct connections: bpf/include, built here, against followed_layout.py."""

import ctypes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.intercept import followed_layout as layout
from meshtrio.intercept.direct_layout import Seat
from meshtrio.intercept.followed_layout import DirectEnded, DirectLive
from tests.support.layouts import laid_out, lives, living, moments, seated, seats, u32, u64
from tests.support.native import numbers


@pytest.fixture(scope="module")
def c(library: ctypes.CDLL) -> dict[str, int]:
    return numbers(library)


def test_sizes_are_those_of_c(c: dict[str, int]) -> None:
    names = ("live", "followed", "berth", "ended")
    assert {name: c[f"sizeof {name}"] for name in names} == {
        "live": layout.LIVE_BYTES,
        "followed": layout.FOLLOWED_BYTES,
        "berth": layout.BERTH_BYTES,
        "ended": layout.ENDED_BYTES,
    }


def test_constants_are_those_of_c(c: dict[str, int]) -> None:
    assert c["BERTHS"] == layout.BERTHS
    assert c["FLOW_BEGUN"] == layout.FLOW_BEGUN
    assert c["FLOW_RELEASED"] == layout.FLOW_RELEASED
    assert c["FLOW_RETRANSMITTED"] == layout.FLOW_RETRANSMITTED
    assert c["FLOW_ASTRAY"] == layout.FLOW_ASTRAY


@given(live=living, seat=seats, others=u32, there=u64, has_begun=st.booleans())
def test_a_live_connection(
    c: dict[str, int], live: DirectLive, seat: Seat, others: int, there: int, *, has_begun: bool
) -> None:
    flags = others & ~layout.FLOW_BEGUN | layout.FLOW_BEGUN * has_begun
    raw = laid_out(
        c,
        "followed",
        live=(f"{layout.LIVE_BYTES}s", lives(c, live)),
        there=("Q", there),
        seat=("8s", seated(c, seat)),
        flags=("I", flags),
    )
    assert layout.unpack_followed(raw) == (live, has_begun, seat, there)
    berths = [
        laid_out(
            c,
            "berth",
            claims=("I", 1),
            cookie=("Q", cookie),
            followed=(f"{layout.FOLLOWED_BYTES}s", raw),
        )
        for cookie in (0, 7, others + 1)
    ]
    assert list(layout.unpack_berths(b"".join(berths))) == [
        (cookie, (live, has_begun, seat, there)) for cookie in (7, others + 1)
    ]


@given(
    ended=st.builds(
        DirectEnded,
        living,
        u64,
        moments,
        u64,
        u64,
        u32,
        st.booleans(),
        st.booleans(),
        st.booleans(),
    )
)
def test_an_ended_connection(c: dict[str, int], ended: DirectEnded) -> None:
    flags = layout.FLOW_RELEASED * ended.released
    flags |= layout.FLOW_RETRANSMITTED * ended.retransmitted
    flags |= layout.FLOW_ASTRAY * ended.astray
    raw = laid_out(
        c,
        "ended",
        was=(f"{layout.LIVE_BYTES}s", lives(c, ended.was)),
        cookie=("Q", ended.cookie),
        at=("Q", int(ended.at * 1e9)),
        sent=("Q", ended.sent),
        received=("Q", ended.received),
        state=("I", ended.state),
        flags=("I", flags),
    )
    words = layout.unpack_ended(raw)
    assert words.whole() == ended
    told = words.released, words.retransmitted, words.astray
    assert told == (ended.released, ended.retransmitted, ended.astray)
