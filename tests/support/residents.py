"""Shell. Workloads of a node as registry and hooks know them: in namespaces, listening, with identities."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import msgspec

from meshtrio.address import Address
from meshtrio.config.schema import Config
from meshtrio.intercept import bpf
from meshtrio.intercept.capture import EbpfCapture
from meshtrio.intercept.layout import LISTENER_BYTES, PORT_KEY_BYTES, port_key
from meshtrio.intercept.netns import Netns
from meshtrio.intercept.nft_capture import NftCapture
from meshtrio.intercept.site import NetnsSite
from meshtrio.intercept.tables import Ports
from meshtrio.intercept.workload import Spec, Workload
from meshtrio.messages import Credentials
from meshtrio.neighbours import Nearby
from tests.support.namespace import Namespace

LEFT, RIGHT = "10.81.0.1", "10.82.0.1"
"""Addresses of the two namespaces."""
LEFT6, RIGHT6 = "fd81::1", "fd82::1"
_HASH, _NO_PREALLOC = 1, 1


def granting_config(**changes: Any) -> Config:
    """Return a configuration in which workloads may be granted to call each other."""
    settings: dict[str, Any] = {
        "mtls": {"mode": "strict", "same_node": "kernel"},
        "traffic": {"direct": "auto", "retries": {"attempts": 0}, "slow_start_s": 0},
        **changes,
    }
    return msgspec.convert(settings, Config)


def identity(account: str) -> str:
    """Return the SPIFFE ID of a service account."""
    return f"spiffe://cluster.local/ns/shop/sa/{account}"


FAR_OFF = 4e9
"""Wall time, when certificates end."""


def credentials(number: int, account: str, *, proved: bool = True, not_after: float = FAR_OFF) -> Credentials:
    """Say who a workload is, and whether it can prove that."""
    chain = (b"a certificate",) if proved else ()
    return Credentials(number, identity(account), chain=chain, not_after=not_after)


class Residents:
    """The workloads, in two namespaces."""

    def __init__(self, left: Netns, right: Netns, ports: int) -> None:
        """Begin with none; `ports` is the hooks' map of who listens."""
        self.left, self.right = left, right
        self.workloads: list[Workload] = []
        self._listening: set[tuple[Netns, int]] = set()
        self._map = ports
        self._ports = Ports(ports)
        self.near = Nearby(lambda: (left, right), lambda: self._ports)

    def reside(
        self, number: int, netns: Netns, acceleration: str = "r5", *, name: str = "", hooks: bool = True
    ) -> None:
        """Let one more be here."""
        capture = EbpfCapture.__new__(EbpfCapture) if hooks else NftCapture.__new__(NftCapture)
        spec = Spec(name=name or f"w{number}", namespace="shop", acceleration=acceleration)
        self.workloads.append(Workload(spec, number, None, False, NetnsSite(netns), capture, []))

    def leave(self, number: int) -> None:
        """Let one be here no more."""
        self.workloads[:] = [one for one in self.workloads if one.id != number]

    def listen(self, number: int, netns: Netns, port: int) -> None:
        """Let it listen, whoever did so before."""
        self.deafen(netns, port)
        self._ports.note(netns.id, port, number)
        self._listening.add((netns, port))

    def deafen(self, netns: Netns, port: int) -> None:
        """Let nobody listen."""
        if self._ports.listener(netns.id, port) is not None:
            bpf.delete(self._map, port_key(netns.id, port))

    def deafen_all(self) -> None:
        """Let nobody listen anywhere."""
        for netns, port in self._listening:
            self.deafen(netns, port)


@contextlib.contextmanager
def two_spaces(ports: int = -1) -> Iterator[Residents]:
    """Have two namespaces with nobody in them; `ports` is the hooks' map, if it shall not be a new one.

    What is known of who listens is a second old (LISTENED_S).
    """
    with contextlib.ExitStack() as stack:
        spaces = []
        for addresses in ((LEFT, LEFT6), (RIGHT, RIGHT6)):
            space = stack.enter_context(Namespace())
            for host in addresses:
                bits = 32 if Address.of(host, 0).is_v4 else 128
                space.add_address(f"{host}/{bits}", "lo")
            spaces.append(Netns.adopt(os.dup(space.fd), named="a pod"))
            stack.callback(spaces[-1].close)
        if ports < 0:
            ports = bpf.create_map(_HASH, "ports", (PORT_KEY_BYTES, LISTENER_BYTES, 64), _NO_PREALLOC)
            stack.callback(os.close, ports)
        made = Residents(spaces[0], spaces[1], ports)
        stack.callback(made.deafen_all)
        yield made
