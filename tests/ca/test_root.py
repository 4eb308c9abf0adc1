"""Which files are the root, and what the bundle says of them. How they are kept is test_root_file.py's."""

import os
from pathlib import Path

import pytest
from msgspec.structs import replace

from meshtrio.ca.root import bundle_of, found_root, place_of, stamp
from meshtrio.config.identity import Identity
from meshtrio.issuers.root_file import RootError, replace_root
from meshtrio.issuers.signing import fresh_root
from tests.support.identities import NOW


def test_made_once_and_read_again(tmp_path: Path) -> None:
    settings = Identity(trust_domain="td", directory=str(tmp_path))
    first = found_root(settings, NOW)
    again = found_root(settings, NOW + 1000)
    assert (first.created, again.created) == (True, False)
    assert first.authority.certificate == again.authority.certificate
    given = replace(
        settings,
        root_certificate=str(tmp_path / "root.pem"),
        root_key=str(tmp_path / "root.key"),
        directory="",
    )
    assert found_root(given, NOW).authority.certificate == first.authority.certificate


def test_a_given_root_is_never_made(tmp_path: Path) -> None:
    settings = Identity(root_certificate=str(tmp_path / "a.pem"), root_key=str(tmp_path / "a.key"))
    with pytest.raises(RootError):
        found_root(settings, NOW)
    assert list(tmp_path.iterdir()) == []


def test_another_root_is_seen_and_raises_the_sequence(tmp_path: Path) -> None:
    settings = Identity(trust_domain="td", directory=str(tmp_path))
    place = place_of(settings)
    assert stamp(place) == [None, None]
    first = found_root(settings, NOW)
    before = stamp(place)
    assert stamp(place) == before
    replace_root(place, first, fresh_root("td", NOW + 100, 300))
    assert stamp(place) != before
    second = found_root(settings, NOW + 100)
    assert second.authority.certificate != first.authority.certificate
    assert [bundle_of(one).sequence for one in (first, second)] == [int(NOW) - 300, int(NOW) - 200]
    assert set(bundle_of(second).anchors) > set(bundle_of(first).anchors)
    assert os.listdir(tmp_path) and not (tmp_path / "root.pem.new").exists()
