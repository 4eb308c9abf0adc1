"""Shell. The root of a CA as two files: made once, whole or not at all, and never by mistake again. Blocks.

`root.pem` has the roots that are trusted, `root.key` the key of the one that signs. A root that nobody has
seen may be made anew at any time; one that may have signed never is. So what is there and cannot be used is
an error, and the order of writing leaves no state in between that could be either:

    root.pem.new, root.key.new    nobody has used it: written over at the next start
    root.key (by link)            from here on it is the root; only one of two agents can do this
    root.pem (by rename)          finished at the next start, if we were killed before

A root is not used before its files and their folder are on the disk.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from meshtrio.identity.ca import Authority, PrivateKey
from meshtrio.identity.certificate import Certificate, accepted_key, key_bytes, read_pem
from meshtrio.identity.refusal import Refused
from meshtrio.identity.svid import check_anchor, check_signing, check_time
from meshtrio.issuers.issuer import IssueError
from meshtrio.issuers.whole_file import locked, sync, write_new, write_whole
from meshtrio.observe import log

FILE_BYTES = 1 << 20
SKEW_S = 300.0
_OTHERS = 0o077


class RootError(IssueError):
    """There is no root that can be used now. The words name the file, and say what to do."""


class Place(msgspec.Struct, frozen=True):
    """The two files of a root."""

    certificates: Path
    key: Path

    @property
    def folder(self) -> Path:
        """Where it is."""
        return self.certificates.parent


class Root(msgspec.Struct, frozen=True):
    """Who signs, and all roots that are trusted."""

    authority: Authority
    anchors: tuple[Certificate, ...]
    since: float = 0.0
    """Wall time since which this one signs."""
    created: bool = False


def own_place(folder: str) -> Place:
    """Say where the root of an agent is that makes its own."""
    return Place(Path(folder, "root.pem"), Path(folder, "root.key"))


def open_root(place: Place, trust_domain: str, wall_now: float, make: Callable[[], Authority]) -> Root:
    """Read the root; at the first start make and save one. RootError if neither can be done: then nothing
    was made, or it will be found whole at the next try."""
    with _saying(place.folder), locked(place.folder):
        _finish(place)
        created = not place.key.exists() and not place.certificates.exists()
        if created:
            _save_first(place, make())
    return msgspec.structs.replace(read_root(place, trust_domain, wall_now), created=created)


def read_root(place: Place, trust_domain: str, wall_now: float) -> Root:
    """Read a root that is there. RootError if it is broken, half there, ended, or another trust domain's."""
    anchors = read_anchors(place.certificates, _text(place.certificates, place))
    key = _key(place)
    with _blaming(place.key, f"put the key of a root in {place.certificates} there"):
        public = key_bytes(accepted_key(key.public_key()))
    fitting = [one for one in anchors if key_bytes(one.key) == public]
    if not fitting:
        raise RootError(
            f"{place.key} is the key of no root in {place.certificates}: restore both files from one backup"
        )
    signs = max(fitting, key=lambda one: one.not_after)
    advice = "put a root that is valid there, with its key; every node must trust it"
    with _blaming(place.certificates, advice):
        check_signing(signs, trust_domain)
        # What it signs would begin before now by a clock that is late; it cannot end after it.
        check_time(signs, min(wall_now, signs.not_after), SKEW_S)
        check_time(signs, max(wall_now, signs.not_before), 0.0)
    with _saying(place.folder):
        return Root(Authority(signs, key, trust_domain), anchors, place.key.stat().st_mtime)


def read_anchors(path: Path, text: bytes) -> tuple[Certificate, ...]:
    """Read the roots of a PEM text. RootError if one of them is none."""
    with _blaming(path, _restore(path)):
        anchors = tuple(dict.fromkeys(read_pem(text)))
        for one in anchors:
            check_anchor(one)
    return anchors


def replace_root(place: Place, root: Root, fresh: Authority) -> None:
    """Let another root sign, beside which the others stay trusted. RootError, and the old one signs still, if
    that cannot be saved. Killed in between, the new one is trusted and the old one signs."""
    with _saying(place.folder), locked(place.folder):
        write_whole(place.certificates, _pem((*root.anchors, fresh.certificate)))
        write_whole(place.key, _key_pem(fresh.key))


def keep_anchors(place: Place, anchors: tuple[Certificate, ...]) -> None:
    """Let these roots be the trusted ones. RootError if that cannot be saved."""
    with _saying(place.folder), locked(place.folder):
        write_whole(place.certificates, _pem(anchors))


def _save_first(place: Place, made: Authority) -> None:
    fresh_pem, fresh_key = _fresh(place)
    write_new(fresh_pem, _pem((made.certificate,)))
    write_new(fresh_key, _key_pem(made.key))
    sync(place.folder)
    # Not renamed: on a disk where locks do nothing it must fail for the second of two agents.
    place.key.hardlink_to(fresh_key)
    sync(place.folder)
    _finish(place)


def _finish(place: Place) -> None:
    """Finish what somebody began who was killed: the root is made, and its certificate not in place."""
    fresh_pem, fresh_key = _fresh(place)
    if place.key.exists() and not place.certificates.exists() and fresh_pem.exists():
        with contextlib.suppress(Refused):
            (made,) = read_pem(fresh_pem.read_bytes())
            if key_bytes(made.key) == key_bytes(accepted_key(_key(place).public_key())):
                fresh_pem.replace(place.certificates)
    if place.key.exists() and place.certificates.exists():
        fresh_pem.unlink(missing_ok=True)
        fresh_key.unlink(missing_ok=True)
    sync(place.folder)


def _fresh(place: Place) -> tuple[Path, Path]:
    return place.folder / "root.pem.new", place.folder / "root.key.new"


@contextlib.contextmanager
def _saying(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as cause:
        words = f"the root of the CA cannot be kept in {folder}: {cause.strerror}"
        raise RootError(f"{words}; make room there, or set identity.directory") from cause


@contextlib.contextmanager
def _blaming(path: Path, advice: str) -> Iterator[None]:
    try:
        yield
    except Refused as refused:
        raise RootError(f"{path} cannot be the root of our CA: {refused}; {advice}") from refused


def _text(path: Path, place: Place) -> bytes:
    try:
        with open(path, "rb") as file:
            text = file.read(FILE_BYTES + 1)
            mode = os.fstat(file.fileno()).st_mode
    except OSError as cause:
        raise RootError(f"{path} cannot be read: {cause.strerror}; {_restore(path)}") from cause
    if len(text) > FILE_BYTES:
        raise RootError(f"{path} is larger than {FILE_BYTES} bytes; {_restore(path)}")
    if path == place.key and mode & _OTHERS:
        log.rarely(
            "others than its owner can read the key of the root", path=str(path), mode=oct(mode & 0o777)
        )
    return text


def _key(place: Place) -> PrivateKey:
    text = _text(place.key, place)
    try:
        key = load_pem_private_key(text, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # What the library says might quote what it read.
        raise RootError(f"{place.key} is no private key without password; {_restore(place.key)}") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise RootError(f"{place.key} is a key of another kind than ECDSA and RSA; {_restore(place.key)}")
    return key


def _restore(path: Path) -> str:
    return (
        f"restore {path.name} from a backup, or remove both files of {path.parent} to begin with a new root"
    )


def _pem(anchors: tuple[Certificate, ...]) -> bytes:
    return b"".join(one.pem for one in anchors)


def _key_pem(key: PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
