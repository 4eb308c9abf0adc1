"""World. Certificates on disk: found again, ended ones gone, and nothing believed that is broken."""

from pathlib import Path

from meshtrio.identity.bundle import make_bundle
from meshtrio.identity.spiffe import parse
from meshtrio.issuers.cache import Cache
from meshtrio.issuers.issuer import Issued, Wanted
from meshtrio.issuers.signing import Signer
from tests.support.identities import DAY_S, NOW, root


def made(name: str, at: float = NOW) -> Issued:
    return Signer().issue(root(), Wanted(parse(f"spiffe://td/ns/shop/sa/{name}"), name, DAY_S), at, 300.0)


def test_what_is_saved_is_found(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    assert cache.load(NOW) == {}
    web, cart = made("web"), made("cart")
    for one in (made("web"), web, cart):
        cache.save(one)
    assert cache.load(NOW) == {str(web.spiffe_id): web, str(cart.spiffe_id): cart}
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "cache").iterdir()} == {0o600}
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700


def test_what_has_ended_goes(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.save(made("web"))
    assert cache.load(NOW + DAY_S + 1) == {}
    assert list(tmp_path.iterdir()) == []


def test_what_is_broken_is_not_there(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.save(made("web"))
    (path,) = tmp_path.iterdir()
    text = path.read_bytes()
    for broken in (text[:50], b"", b"{}", b"\xff", text.replace(b"spiffe://td", b"spiffe:/td")):
        path.write_bytes(broken)
        assert cache.load(NOW) == {}
    path.write_bytes(text)
    path.rename(tmp_path / "other.json")
    assert cache.load(NOW) == {}, "a file that stands under another's name"


def test_roots_are_kept_beside_certificates(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    assert cache.load_roots("td") is None
    bundle = make_bundle("td", (root().certificate, root(number=2).certificate), 7)
    cache.save_roots(bundle)
    cache.save_roots(bundle)
    assert cache.load_roots("td") == bundle
    assert cache.load(NOW) == {}, "they are no certificate of anybody"
    (path,) = (tmp_path / "cache").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    for broken in (b"", b"{}", b'{"keys": []}', b"\xff", path.read_bytes()[:-9]):
        path.write_bytes(broken)
        assert cache.load_roots("td") is None
