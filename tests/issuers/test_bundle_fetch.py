"""World. A bundle over HTTPS, from a real server with a certificate of its own on loopback."""

import http.server
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from meshtrio.identity.bundle import Bundle, make_bundle, write_bundle
from meshtrio.identity.ca import Order, Term, issue
from meshtrio.identity.spiffe import parse
from meshtrio.issuers import bundle_fetch as module
from meshtrio.issuers.bundle_fetch import FetchError, fetch
from meshtrio.issuers.signing import fresh_key, fresh_root
from meshtrio.observe.log import wall_now
from tests.support.identities import DAY_S, root


class Endpoint:
    """What a trust domain answers at https://localhost."""

    def __init__(self, folder: Path) -> None:
        self.bundle = make_bundle("td", (root().certificate,), 3)
        self.text = write_bundle(self.bundle)
        self.status = 200
        self.ca_file = str(folder / "ca.pem")
        self.chain = folder / "server.pem"
        now = wall_now()
        own, key = fresh_root("td", now, 300), fresh_key()
        order = Order(
            parse("spiffe://td/a"), key.public_key(), bytes(15) + b"\x09", ("localhost",), ("127.0.0.1",)
        )
        leaf = issue(own, order, Term(now, DAY_S))
        Path(self.ca_file).write_bytes(own.certificate.pem)
        secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self.chain.write_bytes(leaf.pem + secret)
        self.url = ""

    def fetched(self, trust_domain: str = "td", **other: str) -> Bundle:
        return fetch(trust_domain, other.get("url", self.url), other.get("ca_file", self.ca_file))


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[Endpoint]:
    made = Endpoint(tmp_path)

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(made.status)
            self.send_header("content-length", str(len(made.text)))
            self.end_headers()
            self.wfile.write(made.text)

        def log_message(self, *_: object) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.chain)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as listening:
        listening.socket = context.wrap_socket(listening.socket, server_side=True)
        made.url = f"https://localhost:{listening.server_address[1]}/bundle?x=1"
        thread = threading.Thread(target=listening.serve_forever, args=(0.02,))
        thread.start()
        yield made
        listening.shutdown()
        thread.join()


def test_a_bundle_comes(endpoint: Endpoint) -> None:
    assert endpoint.fetched() == endpoint.bundle


def test_who_is_not_proved_is_not_believed(endpoint: Endpoint, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="certificate verify failed"):
        endpoint.fetched(ca_file="")
    other = tmp_path / "other.pem"
    other.write_bytes(fresh_root("td", wall_now(), 300).certificate.pem)
    with pytest.raises(FetchError, match="certificate verify failed"):
        endpoint.fetched(ca_file=str(other))
    with pytest.raises(FetchError, match=r"none\.pem"):
        endpoint.fetched(ca_file=str(tmp_path / "none.pem"))


@pytest.mark.parametrize(
    ("status", "text", "why"),
    [
        (302, b"", "answered 302, want 200"),
        (404, b"no", "answered 404"),
        (200, b"<html>", "the bundle cannot be read"),
        (200, b" " * ((1 << 20) + 1), "bytes, want"),
    ],
    ids=["elsewhere", "missing", "no bundle", "endless"],
)
def test_what_is_no_bundle(endpoint: Endpoint, status: int, text: bytes, why: str) -> None:
    endpoint.status, endpoint.text = status, text
    with pytest.raises(FetchError, match=why):
        endpoint.fetched()


def test_nobody_answers(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_S", 0.3)
    with pytest.raises(FetchError, match=r"does not answer: .*refused"):
        endpoint.fetched(url="https://127.0.0.1:1/")
    with pytest.raises(FetchError, match="nonnumeric port"):
        endpoint.fetched(url="https://localhost:x/")
