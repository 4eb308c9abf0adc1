"""TLS that others made meets a meshed service, on both rungs: openssl's client and server, and curl."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meshtrio.route.modes import ALPN
from meshtrio.secure.keyring import _pem
from tests.support.attackers import FRIEND, context_of, friend
from tests.support.fort import (
    ANY_PORT,
    ELSEWHERE,
    ELSEWHERE_PORT,
    ORDERS,
    OTHER_PORT,
    PORT,
    WRONG_PORT,
    Fort,
    fort_of,
)
from tests.support.mesh import SOAK_BOTH
from tests.support.namespace import Namespace
from tests.support.rings import private
from tests.support.world import RIGHT, VIP

pytestmark = pytest.mark.world


@pytest.fixture(scope="module", params=SOAK_BOTH)
def rung(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture(scope="module")
def fort(rung: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fort]:
    with fort_of(rung, tmp_path_factory.mktemp("root")) as made:
        yield made


class Papers:
    """Certificates as files."""

    def __init__(self, folder: Path, fort: Fort) -> None:
        self.root = str(folder / "root.pem")
        keys = fort.mesh.ask("GET", "/v1/certs/bundle").body["keys"]
        (folder / "root.pem").write_text(
            "".join(
                f"-----BEGIN CERTIFICATE-----\n{key['x5c'][0]}\n-----END CERTIFICATE-----\n" for key in keys
            )
        )
        self._folder = folder

    def of(self, spiffe_id: str) -> list[str]:
        """Write down what this id shows, and give it as openssl's options."""
        what = friend(spiffe_id)
        chain, key = self._folder / "chain.pem", self._folder / "key.pem"
        chain.write_text("".join(_pem("CERTIFICATE", der) for der in what.chain))
        key.write_text(_pem("PRIVATE KEY", private(what.own)))
        return ["-cert", str(chain), "-cert_chain", str(chain), "-key", str(key), "-CAfile", self.root]


@pytest.fixture
def papers(tmp_path: Path, fort: Fort) -> Papers:
    return Papers(tmp_path, fort)


def begun(space: Namespace, *command: str) -> "subprocess.Popen[str]":
    """Start a program that reads and writes."""
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return space.run(lambda: subprocess.Popen(command, text=True, bufsize=1, **pipes))


def s_client(papers: Papers, *options: str) -> list[str]:
    who = papers.of(FRIEND)
    where = ["-connect", f"{RIGHT}:{PORT}", "-alpn", ALPN, "-verify_return_error"]
    return ["openssl", "s_client", *where, *who, *options]


def test_openssl_calls_a_meshed_service(fort: Fort, papers: Papers) -> None:
    with begun(fort.spaces[0], *s_client(papers, "-quiet")) as process:
        assert process.stdin and process.stdout
        try:
            assert json.loads(process.stdout.readline())["name"] == "web"
            process.stdin.write("and an echo\n")
            assert process.stdout.readline() == "and an echo\n"
        finally:
            process.kill()
    (ended,) = fort.mesh.wait_ended(1, peer=FRIEND, direction="inbound", tls="TLSv1.3")
    assert ended["sent_bytes"] >= len("and an echo\n")


def test_openssl_without_a_certificate_does_not(fort: Fort) -> None:
    command = ["openssl", "s_client", "-connect", f"{RIGHT}:{PORT}", "-alpn", ALPN, "-quiet"]
    with begun(fort.spaces[0], *command) as process:
        out, err = process.communicate(timeout=10)
    assert out == ""
    assert process.returncode != 0, err
    fort.mesh.wait_ended(1, outcome="client_tls", detail="no certificate was shown")


def test_curl_calls_a_port_that_is_for_any_client(fort: Fort, papers: Papers) -> None:
    chain, key = papers.of(FRIEND)[1], papers.of(FRIEND)[5]
    command = ["curl", "-sS", "-m", "10", "--http0.9", "--insecure"]
    with_papers = [*command, "--cert", chain, "--key", key, f"https://{RIGHT}:{ANY_PORT}/"]
    assert json.loads(fort.spaces[0].command(*with_papers)) == {"name": "any"}
    with pytest.raises(subprocess.CalledProcessError):
        fort.spaces[0].command(*command, f"https://{RIGHT}:{ANY_PORT}/")
    with pytest.raises(subprocess.CalledProcessError):  # this one is for meshes
        fort.spaces[0].command(*with_papers[:-1], f"https://{RIGHT}:{PORT}/")
    fort.mesh.wait_ended(1, outcome="plaintext", direction="inbound")


def test_openssl_is_an_endpoint_and_is_verified(fort: Fort, papers: Papers) -> None:
    command = ["openssl", "s_server", "-accept", f"{RIGHT}:{ELSEWHERE_PORT}", "-alpn", ALPN, "-quiet"]
    command += [*papers.of(ELSEWHERE), "-Verify", "3", "-verify_return_error", "-rev"]
    with begun(fort.spaces[1], *command) as process:
        try:
            until = time.monotonic() + 10
            while fort.client.app.tell("open_", keep="it", host=VIP, port=OTHER_PORT, may_fail=True):
                said = fort.client.app.tell("say", keep="it", text="palindrome\n", may_fail=True)
                if said.get("heard") == "emordnilap\n":
                    break
                assert time.monotonic() < until, said
                time.sleep(0.1)
            fort.client.app.tell("close", keep="it")
            # Who it is not, it is not, with the best of certificates.
            fort.client.app.tell("open_", keep="no", host=VIP, port=WRONG_PORT, may_fail=True)
            assert "error" in fort.client.app.tell("say", keep="no", text="secret\n", may_fail=True)
        finally:
            process.kill()
    found = fort.mesh.wait_ended(1, peer=ELSEWHERE, direction="outbound", outcome="carried")
    assert found[0]["tls"] == "TLSv1.3"
    (refused,) = fort.mesh.wait_ended(1, outcome="upstream_tls")
    assert ORDERS in refused["detail"] and ELSEWHERE in refused["detail"]


def test_openssl_finds_nothing_wrong_with_our_certificates(
    fort: Fort, papers: Papers, tmp_path: Path
) -> None:
    shown = subprocess.run(
        [*nsenter(fort.spaces[0]), *s_client(papers, "-showcerts")],
        input="", capture_output=True, text=True, timeout=20, check=False,
    ).stdout  # fmt: skip
    parts = [
        one.partition("-----END CERTIFICATE-----")[0] for one in shown.split("-----BEGIN CERTIFICATE-----")
    ]
    found = [f"-----BEGIN CERTIFICATE-----{one}-----END CERTIFICATE-----\n" for one in parts[1:]]
    leaf, rest = tmp_path / "leaf.pem", tmp_path / "rest.pem"
    leaf.write_text(found[0])
    rest.write_text("".join(found[1:]))
    check = ["openssl", "verify", "-x509_strict", "-CAfile", papers.root, "-untrusted", str(rest)]
    for purpose in ("sslserver", "sslclient"):
        done = openssl(*check[1:], "-purpose", purpose, str(leaf))
        assert done == f"{leaf}: OK\n"
    purposes = openssl("x509", "-in", str(leaf), "-noout", "-purpose")
    for line in ("SSL client : Yes", "SSL server : Yes", "SSL client CA : No", "SSL server CA : No"):
        assert line in purposes
    serial = openssl("x509", "-in", str(leaf), "-noout", "-serial").strip().removeprefix("serial=")
    listed = {
        one["spiffe_id"]: one["serial"] for one in fort.mesh.ask("GET", "/v1/certs").body["certificates"]
    }
    assert int(serial, 16) == int(listed[ORDERS], 16)
    assert f"URI:{ORDERS}" in openssl("x509", "-in", str(leaf), "-noout", "-ext", "subjectAltName")


def test_a_friend_is_let_in_and_one_without_papers_is_not(fort: Fort) -> None:
    with fort.call() as call:
        assert call.greeted(context_of(friend()))
    with fort.call() as call:
        assert call.greeted(context_of(None)) == b""
    assert fort.ended(call)["outcome"] == "client_tls"
    assert fort.is_well()


def openssl(*words: str) -> str:
    done = subprocess.run(["openssl", *words], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def nsenter(space: Namespace) -> list[str]:
    return ["nsenter", f"--net=/proc/{os.getpid()}/fd/{space.fd}"]
