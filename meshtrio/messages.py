"""Core. What agent and worker say to each other. Does not know how it travels (channel.py).

File descriptors travel beside a message, in the order that its docstring gives.
"""

from typing import Literal

import msgspec

from meshtrio.address import Address
from meshtrio.balance.breaker_table import Force
from meshtrio.balance.hearsay import Counts, Stand
from meshtrio.balance.told import Balanced
from meshtrio.catalog.service import Found
from meshtrio.config.schema import Config
from meshtrio.outcome import Outcome
from meshtrio.questions import AskLoads, AskPick, Loads, Picked, Report

Direction = Literal["outbound", "inbound"]
Rung = Literal["ebpf", "nft"]


class WorkloadName(msgspec.Struct, frozen=True):
    """A workload as a worker knows it: the id that the hooks give, its name, whether it is spliced."""

    id: int
    name: str
    namespace: str = "default"
    accelerated: bool = True


class Settings(msgspec.Struct, frozen=True, tag=True):
    """To the worker, first and after each change: the configuration, and where a successor would answer."""

    config: Config
    successor: str = ""
    """The control socket that a worker without agent watches; empty: nobody will come, end when idle."""


class Maps(msgspec.Struct, frozen=True, tag=True):
    """To the worker: kernel maps. Descriptors: destinations, our_dials, ports, heartbeat, vouchers."""


class OpenDoor(msgspec.Struct, frozen=True, tag=True):
    """To the worker: accept here. Descriptors: the network namespace, then `listeners` listening sockets."""

    door: int
    direction: Direction
    rung: Rung
    netns: int
    workload: WorkloadName
    listeners: int
    transparent: bool = False
    """The called process may be shown the caller's address."""


class CloseDoor(msgspec.Struct, frozen=True, tag=True):
    """To the worker: accept no more here. Connections that came through this door go on."""

    door: int


class KnowWorkload(msgspec.Struct, frozen=True, tag=True):
    """To the worker: this id has this name, or (empty name) has gone."""

    workload: WorkloadName


class Credentials(msgspec.Struct, frozen=True, tag=True):
    """To the worker: who a workload is, and how it proves that from now on. Has a private key: never logged.

    Without a chain it has no valid certificate now, and `why` says why.
    """

    workload: int
    """Its id."""
    spiffe_id: str = ""
    chain: tuple[bytes, ...] = ()
    """DER, the leaf first, without the root."""
    key: bytes = b""
    """PKCS #8, DER."""
    not_after: float = 0.0
    """Wall time."""
    why: str = ""

    def __repr__(self) -> str:
        return (
            f"Credentials({self.workload}, {self.spiffe_id!r}, {len(self.chain)} certificates, {self.why!r})"
        )


class Trusted(msgspec.Struct, frozen=True, tag=True):
    """To the worker: whom to believe from now on."""

    own: str
    """Our trust domain."""
    bundles: dict[str, tuple[bytes, ...]] = {}
    """The roots of each trust domain, DER."""
    revoked_serials: dict[str, float] = {}
    """Serials (hexadecimal) and the wall time until which they are revoked; 0: for ever."""
    revoked_ids: dict[str, float] = {}
    """SPIFFE IDs, and the same."""


class Resolved(msgspec.Struct, frozen=True, tag=True):
    """To the worker: what this address is now. Sent as the answer, and again whenever it changes."""

    address: Address
    found: Found | None


class Observed(msgspec.Struct, frozen=True, tag=True):
    """To the agent: what was seen at endpoints since the word before.

    By service port ("namespace/name:port") and endpoint id.
    """

    counts: dict[str, dict[str, Counts]] = {}
    stands: dict[str, dict[str, Stand]] = {}
    """What breakers came to."""


class SeenElsewhere(msgspec.Struct, frozen=True, tag=True):
    """To the worker: what other workers saw at endpoints lately, as in `Observed`."""

    counts: dict[str, dict[str, Counts]]


class KnowBreakers(msgspec.Struct, frozen=True, tag=True):
    """To the worker: all that is known of the breakers of a service port. What is not here is not forced."""

    port: str
    stands: dict[str, Stand]
    forced: dict[str, Force]


class Drain(msgspec.Struct, frozen=True, tag=True):
    """To the worker: accept no more, let connections end until the deadline, then end."""

    drain_s: float


class Ready(msgspec.Struct, frozen=True, tag=True):
    """To the agent: everything that was sent so far is in effect."""

    pid: int


class Resolve(msgspec.Struct, frozen=True, tag=True):
    """To the agent: what is this address? And tell me when that changes."""

    address: Address


class Forget(msgspec.Struct, frozen=True, tag=True):
    """To the agent: this address interests me no more."""

    address: Address


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """One connection, live (outcome None) or ended. Of a `direct` one the bytes are known at the end."""

    id: int
    direction: Direction
    workload: str
    source: str
    destination: str
    service: str = ""
    endpoint: str = ""
    protocol: str = ""
    sni: str = ""
    peer: str = ""
    """The SPIFFE ID of the other side; empty: it did not prove one."""
    tls: str = ""
    """How the other side is secured by us: "TLSv1.3", "kernel" (same node, not encrypted), or not."""
    cipher: str = ""
    resumed: bool = False
    """The TLS session was resumed."""
    policy: str = ""
    """What policy said, where it said more than that all may call."""
    sent_bytes: int = 0
    received_bytes: int = 0
    began: float
    """Wall time, seconds since 1970."""
    lasted_s: float = 0.0
    outcome: Outcome | None = None
    detail: str = ""
    rung: Rung = "ebpf"
    path: Literal["relay", "direct"] = "relay"


class Count(msgspec.Struct, frozen=True):
    """How many connections of one kind ended, and what they carried."""

    direction: Direction
    workload: str
    service: str
    outcome: Outcome
    connections: int
    sent_bytes: int
    received_bytes: int


class Handshakes(msgspec.Struct, frozen=True):
    """How many connections were secured in one way, or failed to be for one reason."""

    direction: Direction
    result: str
    """full, resumed, kernel (same node, not encrypted); else why it failed, as in identity.refusal."""
    count: int


class Tally(msgspec.Struct, frozen=True, tag=True):
    """To the agent: what ended since the last tally. `omitted` more ended and are counted, but not listed."""

    counts: list[Count]
    ended: list[Connection]
    omitted: int = 0
    open: int = 0
    handshakes: list[Handshakes] = []
    balanced: list[Balanced] = []


class Live(msgspec.Struct, frozen=True, tag=True):
    """To the agent: the answer to `Report`."""

    number: int
    connections: list[Connection]
    omitted: int = 0


ToWorker = (
    Settings
    | Maps
    | OpenDoor
    | CloseDoor
    | KnowWorkload
    | Credentials
    | Trusted
    | Resolved
    | SeenElsewhere
    | KnowBreakers
    | Drain
    | Report
    | AskLoads
    | AskPick
)
ToAgent = Ready | Resolve | Forget | Tally | Live | Observed | Loads | Picked
