"""Shell. Certificates with their keys, and the roots above them, on disk, mode 0600, for an agent that starts
without its CA. Blocks.

Only where that is asked for. Does not judge what it finds: a file that cannot be read is one that is not
there.
"""

import contextlib
import hashlib
from pathlib import Path

import msgspec

from meshtrio.identity.bundle import BUNDLE_BYTES, Bundle, read_bundle, write_bundle
from meshtrio.identity.plan import Validity
from meshtrio.identity.spiffe import parse_workload
from meshtrio.issuers.issuer import Issued
from meshtrio.issuers.whole_file import write_whole

_ROOTS = "roots.jwks"
KEPT = 4096
"""How many files are read. More than a node has workloads are of workloads that have gone."""


class _Kept(msgspec.Struct, frozen=True):
    spiffe_id: str
    chain: tuple[bytes, ...]
    key: bytes
    serial: str
    not_before: float
    not_after: float


class Cache:
    """A folder with a file for each identity."""

    def __init__(self, folder: Path) -> None:
        """Name the folder; it is made when something is saved."""
        self._folder = folder

    def save(self, issued: Issued) -> None:
        """Keep a certificate in place of the last one of its identity. OSError if that cannot be."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        begin, end = issued.validity
        said = str(issued.spiffe_id)
        kept = _Kept(said, issued.chain, issued.key, f"{issued.serial:x}", begin, end)
        write_whole(self._folder / _name(said), msgspec.json.encode(kept))

    def save_roots(self, bundle: Bundle) -> None:
        """Keep the roots of our trust domain, without which certificates prove nothing. OSError as `save`."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path, text = self._folder / _ROOTS, write_bundle(bundle)
        with contextlib.suppress(OSError):
            if path.read_bytes() == text:
                return
        write_whole(path, text)

    def load_roots(self, trust_domain: str) -> Bundle | None:
        """Find them; None if there are none that can be used."""
        with contextlib.suppress(OSError, ValueError), open(self._folder / _ROOTS, "rb") as file:
            bundle = read_bundle(trust_domain, file.read(BUNDLE_BYTES + 1))
            return bundle if bundle.anchors else None
        return None

    def load(self, wall_now: float) -> dict[str, Issued]:
        """Find what has not ended, by identity, and delete what has."""
        found: dict[str, Issued] = {}
        for path in sorted(self._folder.glob("*.json"))[:KEPT] if self._folder.is_dir() else ():
            with contextlib.suppress(OSError, ValueError):  # msgspec's and SPIFFE's faults are ValueErrors
                kept = msgspec.json.decode(path.read_bytes(), type=_Kept)
                if kept.not_after < wall_now:
                    path.unlink(missing_ok=True)
                elif path.name == _name(kept.spiffe_id):
                    validity = Validity(kept.not_before, kept.not_after)
                    own, serial = parse_workload(kept.spiffe_id), int(kept.serial, 16)
                    found[kept.spiffe_id] = Issued(own, kept.chain, kept.key, serial, validity)
        return found


def _name(spiffe_id: str) -> str:
    return f"{hashlib.sha256(spiffe_id.encode()).hexdigest()[:32]}.json"
