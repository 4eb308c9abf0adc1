"""The list: what is on it holds until its time, and it never forgets for want of room."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.identity import revocation
from meshtrio.identity.revocation import RevocationFault, Revocations, read, write
from meshtrio.identity.spiffe import parse
from tests.support.identities import WEB


def test_an_entry_holds_until_its_time() -> None:
    listed = Revocations().with_serial(7, until=100.0).with_id(WEB)
    assert listed.has_serial(7, 99.9) and not listed.has_serial(7, 100.0)
    assert not listed.has_serial(8, 0.0)
    assert listed.has_id(WEB, 1e12)
    assert not listed.has_id(parse("spiffe://td/ns/shop/sa/db"), 0.0)
    assert len(listed) == 2
    assert len(listed.current(100.0)) == 1
    assert listed.current(99.0) is listed


def test_nothing_changed_is_the_same_object() -> None:
    listed = Revocations().with_serial(7).with_id(WEB)
    assert listed.with_serial(7) is listed and listed.with_id(WEB) is listed
    assert listed.without(8) is listed
    assert len(listed.without(7)) == 1 and len(listed.without(WEB)) == 1
    assert listed.has_serial(7, 0.0)


def test_full_takes_no_more_and_forgets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revocation, "REVOCATIONS_BOUND", 2)
    listed = Revocations().with_serial(7).with_id(WEB)
    with pytest.raises(RevocationFault, match="full"):
        listed.with_serial(8)
    with pytest.raises(RevocationFault, match="full"):
        listed.with_id(parse("spiffe://td/x"))
    assert listed.with_serial(7, until=5.0).has_serial(7, 4.0)  # what is there can still be changed


@pytest.mark.parametrize("serial", [0, -1, 1 << 160])
def test_a_serial_is_positive_and_short(serial: int) -> None:
    with pytest.raises(RevocationFault):
        Revocations().with_serial(serial)


@given(st.dictionaries(st.integers(1, (1 << 160) - 1), st.floats(0, 1e12)), st.booleans())
def test_what_is_written_is_read(serials: dict[int, float], with_id: bool) -> None:
    listed = Revocations(serials, {WEB: float("inf")} if with_id else {})
    assert read(write(listed)) == listed


def test_people_write_serials_as_openssl_does() -> None:
    text = b'{"revoked": [{"serial": "4A:00:FF"}, {"id": "spiffe://td/ns/shop/sa/web", "until": 5}]}'
    listed = read(text)
    assert listed.has_serial(0x4A00FF, 0.0)
    assert listed.has_id(WEB, 4.0) and not listed.has_id(WEB, 5.0)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b'{"revoked": [{"serial": "\xd0"}]}',
        b'{"revoked": ' + b"[" * 100_000,
        b"{}",
        b'{"revoked": [{}]}',
        b'{"revoked": [{"serial": "1", "id": "spiffe://td/x"}]}',
        b'{"revoked": [{"serial": ""}]}',
        b'{"revoked": [{"serial": "xyz"}]}',
        b'{"revoked": [{"serial": "-1"}]}',
        b'{"revoked": [{"serial": "1", "untill": 5}]}',
        b'{"revoked": [{"id": "spiffe://td"}]}',
        b'{"revoked": [{"id": "web"}]}',
        b'{"revoked": [{"serial": "' + b"f" * 41 + b'"}]}',
    ],
)
def test_half_a_list_is_none(text: bytes) -> None:
    with pytest.raises(RevocationFault):
        read(text)


def test_a_list_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revocation, "REVOCATIONS_BOUND", 1)
    with pytest.raises(RevocationFault, match="more than 1"):
        read(b'{"revoked": [{"serial": "1"}, {"serial": "2"}]}')
