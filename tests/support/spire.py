"""Shell. A SPIRE agent for tests: what it offers, written by hand, and the process that says so."""

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from meshtrio.identity.ca import Authority
from tests.support.identities import key, leaf, signing
from tests.support.tree import TREE


def varint(number: int) -> bytes:
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*written, number))


def field(number: int, value: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(value)) + value


def private(name: str = "leaf") -> bytes:
    return key(name).private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def svid(spiffe_id: str, chain: bytes, bundle: bytes, own: bytes | None = None) -> bytes:
    """Write an X509SVID as a field of a response, with a hint as newer SPIRE has it."""
    parts = (spiffe_id.encode(), chain, own if own is not None else private(), bundle, b"internal")
    return field(1, b"".join(field(number, part) for number, part in enumerate(parts, 1)))


def federated(trust_domain: str, roots: bytes) -> bytes:
    """Write the roots of another trust domain as a field of a response."""
    return field(3, field(1, trust_domain.encode()) + field(2, roots))


def offer(
    authority: Authority,
    root: Authority,
    at: float,
    *ids: str,
    number: int = 77,
    others: Iterable[bytes] | None = None,
) -> bytes:
    """Write a response with an SVID for each id, and another trust domain unless `others` says which."""
    made = b""
    for spiffe_id in ids:
        own = leaf(authority, spiffe_id, number, at)
        chain = own.der + b"".join(one.der for one in authority.chain)
        made += svid(spiffe_id, chain, root.certificate.der)
    usual = (federated("spiffe://other", signing("other").certificate.der),)
    return made + b"".join(usual if others is None else others)


class SpireAgent:
    """The process. Started, killed and started again at the same socket."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        command = [sys.executable, "-m", "tests.support.spire_program", str(self.path)]
        environment = {**os.environ, "PYTHONPATH": str(TREE), "GRPC_VERBOSITY": "NONE"}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self._hear("ready")

    def kill(self) -> None:
        """End it as SIGKILL does: streams are torn, and the socket's file stays."""
        process, self._process = self._process, None
        if process is not None:
            with process:
                process.kill()

    def tell(self, line: str) -> None:
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        self._hear("done")

    def offer(self, response: bytes) -> None:
        self.tell(f"offer {response.hex()}")

    def _hear(self, word: str) -> None:
        assert self._process is not None and self._process.stdout is not None
        assert self._process.stdout.readline() == f"{word}\n"
