"""World. Real files. Whatever happens to them there is one root, or an error that says what to do."""

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from meshtrio.identity.ca import Authority, Term, make_root
from meshtrio.issuers import whole_file
from meshtrio.issuers.root_file import (
    Place,
    Root,
    RootError,
    keep_anchors,
    open_root,
    own_place,
    read_root,
    replace_root,
)
from meshtrio.issuers.signing import fresh_root
from tests.support.identities import DAY_S, NOW, key, leaf, root, serial, signing


def made(trust_domain: str = "td") -> Authority:
    return fresh_root(trust_domain, NOW, 300.0)


def opened(place: Place, at: float = NOW) -> Root:
    return open_root(place, "td", at, made)


def never() -> Authority:
    raise AssertionError("a second root is made")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return own_place(str(tmp_path / "identity"))


@pytest.fixture
def kept(place: Place) -> Root:
    return opened(place)


def pem_of(one: Authority) -> bytes:
    return one.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def give(place: Place, *roots: Authority, signs: Authority) -> None:
    place.folder.mkdir(exist_ok=True)
    place.certificates.write_bytes(b"".join(one.certificate.pem for one in roots))
    place.key.write_bytes(pem_of(signs))


def test_the_first_start_makes_a_root_for_its_owner_alone(place: Place) -> None:
    first = opened(place)
    assert first.created
    assert first.anchors == (first.authority.certificate,)
    assert {path.name: path.stat().st_mode & 0o777 for path in place.folder.iterdir()} == {
        "root.pem": 0o600,
        "root.key": 0o600,
    }
    assert place.folder.stat().st_mode & 0o777 == 0o700
    again = open_root(place, "td", NOW, never)
    assert (again.created, again.authority.certificate) == (False, first.authority.certificate)
    assert pem_of(again.authority) == pem_of(first.authority)


def test_openssl_reads_it(place: Place, kept: Root) -> None:
    argv = [
        "openssl",
        "verify",
        "-attime",
        str(int(NOW)),
        "-check_ss_sig",
        "-CAfile",
        str(place.certificates),
        str(place.certificates),
    ]
    assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout.endswith("OK\n")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize("name", ["root.pem", "root.key"])
@pytest.mark.parametrize(
    "spoil",
    [cut, Path.unlink, lambda path: path.write_bytes(b""), lambda path: path.write_bytes(b"\xff" * 99)],
    ids=["cut", "gone", "empty", "rubbish"],
)
def test_what_is_broken_is_an_error_and_never_another_root(
    place: Place, kept: Root, name: str, spoil: Callable[[Path], object]
) -> None:
    spoil(place.folder / name)
    for _ in range(2):
        with pytest.raises(RootError, match=rf"{name}.*restore {name} from a backup") as caught:
            open_root(place, "td", NOW, never)
        assert str(caught.value).isprintable()
    assert b"PRIVATE" not in str(caught.value).encode()


def test_a_key_of_another_root_is_an_error(place: Place, kept: Root) -> None:
    place.key.write_bytes(pem_of(made()))
    with pytest.raises(RootError, match=r"is the key of no root in .*restore both"):
        open_root(place, "td", NOW, never)


def test_a_root_that_has_ended_is_an_error(place: Place, kept: Root) -> None:
    end = kept.authority.certificate.not_after
    assert opened(place, end - 1).authority.certificate == kept.authority.certificate
    with pytest.raises(RootError, match=r"root\.pem cannot be the root of our CA: expired 1 s ago"):
        open_root(place, "td", end + 1, never)


def test_a_clock_may_be_late_by_five_minutes(place: Place) -> None:
    give(place, root(), signs=root())
    begin = root().certificate.not_before
    assert read_root(place, "td", begin - 299).authority.certificate == root().certificate
    with pytest.raises(RootError, match="valid only in"):
        read_root(place, "td", begin - 301)


def test_a_root_of_another_trust_domain_is_an_error(place: Place, kept: Root) -> None:
    with pytest.raises(RootError, match="spiffe://td, want spiffe://other"):
        open_root(place, "other", NOW, never)


def test_a_key_with_password_is_an_error(place: Place, kept: Root) -> None:
    secret = BestAvailableEncryption(b"hunter2")
    place.key.write_bytes(kept.authority.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, secret))
    with pytest.raises(RootError, match="no private key without password"):
        open_root(place, "td", NOW, never)


def test_a_given_root_may_be_rsa_but_not_weak(place: Place) -> None:
    for bits, good in ((2048, True), (1024, False)):
        own = rsa.generate_private_key(65537, bits)
        if good:
            given = make_root(own, "td", serial(5), Term(NOW, 10 * DAY_S))
            give(place, given, signs=given)
            assert read_root(place, "td", NOW).authority.certificate == given.certificate
        else:
            place.key.write_bytes(own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
            with pytest.raises(RootError, match=r"root\.key .*1024 bits"):
                read_root(place, "td", NOW)


def test_a_leaf_is_no_root(place: Place) -> None:
    place.folder.mkdir()
    place.certificates.write_bytes(leaf(signing()).pem)
    place.key.write_bytes(key("leaf").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(RootError, match="an issuer that is no CA"):
        read_root(place, "td", NOW)


# Rotation


def test_another_root_signs_and_the_old_one_stays_trusted(place: Place, kept: Root) -> None:
    fresh = made()
    replace_root(place, kept, fresh)
    now = open_root(place, "td", NOW, never)
    assert now.authority.certificate == fresh.certificate
    assert set(now.anchors) == {kept.authority.certificate, fresh.certificate}
    keep_anchors(place, (fresh.certificate,))
    assert open_root(place, "td", NOW, never).anchors == (fresh.certificate,)


# Crashes


class Deadly:
    """Kills this process at the n-th step that touches the disk."""

    def __init__(self, at: int) -> None:
        self.left = at

    def __call__(self, act: Callable[..., Any]) -> Callable[..., Any]:
        def acting(*args: Any, **kwargs: Any) -> Any:
            self.left -= 1
            if not self.left:
                os.kill(os.getpid(), signal.SIGKILL)
            return act(*args, **kwargs)

        return acting


def killed(place: Place, at: int, how: str) -> tuple[int, list[str]]:
    """Open a root in another process, and rotate it, until it is killed; say what it had in use."""
    reads, writes = os.pipe()
    child = os.fork()
    if not child:
        deadly, say = Deadly(at), os.write
        for name in ("open", "write", "fsync"):
            setattr(os, name, deadly(getattr(os, name)))
        for name in ("replace", "hardlink_to", "unlink", "mkdir"):
            setattr(Path, name, deadly(getattr(Path, name)))
        first = opened(place)
        say(writes, f"{first.authority.certificate.serial:x} ".encode())
        if how == "rotate":
            fresh = made()
            replace_root(place, first, fresh)
            say(writes, f"{fresh.certificate.serial:x} ".encode())
        os._exit(0)
    os.close(writes)
    with open(reads) as told:
        used = told.read().split()
    return os.waitpid(child, 0)[1], used


@pytest.mark.parametrize("how", ["first", "rotate"])
def test_killed_anywhere_there_is_one_root_afterwards(tmp_path: Path, how: str) -> None:
    """Every root that was ever used is trusted by who comes next, and a later start sees no other."""
    for at in range(1, 80):
        place = own_place(str(tmp_path / f"{how}{at}"))
        code, used = killed(place, at, how)
        after = opened(place)
        trusted = {f"{one.serial:x}" for one in after.anchors}
        assert set(used) <= trusted, at
        assert open_root(place, "td", NOW, never).anchors == after.anchors
        assert sorted(path.name for path in place.folder.iterdir()) == ["root.key", "root.pem"], at
        if code == 0:
            assert at > 15
            return
    raise AssertionError("it never got to the end")


def test_two_agents_that_race_have_one_root(place: Place) -> None:
    found: list[Root] = []
    racers = [threading.Thread(target=lambda: found.append(opened(place))) for _ in range(8)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert len({one.authority.certificate.serial for one in found}) == 1
    assert [one.created for one in found].count(True) == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k", "small", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.world
def test_a_full_disk_makes_no_root_until_there_is_room(small_disk: Path) -> None:
    ballast, place = small_disk / "ballast", own_place(str(small_disk))
    ballast.write_bytes(bytes(8192))
    for _ in range(2):
        with pytest.raises(RootError, match=r"cannot be kept in .*No space left on device; make room"):
            opened(place)
    assert not place.key.exists() and not place.certificates.exists()
    ballast.unlink()
    assert opened(place).created


@pytest.mark.world
def test_a_full_disk_keeps_the_old_root(small_disk: Path) -> None:
    place = own_place(str(small_disk))
    before = opened(place)
    many = tuple(make_root(key("r"), "td", serial(n), Term(NOW, DAY_S)).certificate for n in range(1, 30))
    with pytest.raises(RootError, match="No space left"):
        replace_root(place, Root(before.authority, (*before.anchors, *many)), made())
    assert open_root(place, "td", NOW, never).anchors == before.anchors


def test_a_folder_that_somebody_keeps_locked_is_an_error(
    place: Place, kept: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whole_file, "PATIENCE_S", 0.05)
    with whole_file.locked(place.folder), pytest.raises(RootError, match="another process has locked it"):
        opened(place)
    assert read_root(place, "td", NOW).authority.certificate == kept.authority.certificate
