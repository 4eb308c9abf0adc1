"""Shell. Which root the CA signs with: the files of an agent's own CA, so that one can follow it. Blocks.

Does not know how they are kept (root_file.py), nor what is signed.
"""

from pathlib import Path

from meshtrio.config.identity import Identity
from meshtrio.identity.bundle import Bundle, make_bundle
from meshtrio.identity.ca import Authority
from meshtrio.issuers.root_file import Place, Root, open_root, own_place, read_root
from meshtrio.issuers.signing import fresh_root


def place_of(settings: Identity) -> Place:
    """Say where the root is, or will be."""
    if settings.root_certificate:
        return Place(Path(settings.root_certificate), Path(settings.root_key))
    return own_place(settings.directory)


def found_root(settings: Identity, wall_now: float) -> Root:
    """Read the root, or make the first one where none was given. RootError."""
    place, trust_domain = place_of(settings), settings.trust_domain
    if settings.root_certificate:
        return read_root(place, trust_domain, wall_now)

    def make() -> Authority:
        return fresh_root(trust_domain, wall_now, settings.skew_s)

    return open_root(place, trust_domain, wall_now, make)


def bundle_of(root: Root) -> Bundle:
    """Put the trusted roots together. The sequence grows with each root that is added, and is the same for
    two CAs that have the same roots."""
    sequence = int(max(one.not_before for one in root.anchors))
    return make_bundle(root.authority.trust_domain, root.anchors, sequence)


def stamp(place: Place) -> object:
    """Say what tells whether the files are others than before."""
    found: list[object] = []
    for path in (place.certificates, place.key):
        try:
            status = path.stat()
        except OSError:
            found.append(None)
        else:
            found.append((status.st_ino, status.st_size, status.st_mtime_ns))
    return found
