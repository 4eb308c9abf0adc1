"""Shell. A workload as values: what was asked for, what holds for all, what became of it, and the list on
disk by which a successor of a crashed agent finds them. Does not catch anything.
"""

import os
import re
from pathlib import Path

import msgspec

from meshtrio.intercept.capture import EbpfCapture
from meshtrio.intercept.dns_door import DnsDoor
from meshtrio.intercept.nft_capture import NftCapture
from meshtrio.intercept.site import NetnsSite
from meshtrio.messages import Rung, WorkloadName
from meshtrio.observe import log
from meshtrio.observe.process import is_alive

# The name becomes a folder, a table and a label of metrics; the same as config.schema.Label.
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


class WorkloadError(Exception):
    """A workload cannot be added or removed; the message says why and what to do."""


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody asks for."""

    name: str
    namespace: str = "default"
    service_account: str = "default"
    cgroup: str = ""
    netns: str = ""
    ports: tuple[int, ...] = ()
    on_agent_loss: str = "open"
    acceleration: str = "auto"
    pid: int = 0
    """The process whose end is the end of the workload; 0: it stays until it is removed."""

    @property
    def accelerated(self) -> bool:
        """Whether connections may do without a relay that copies."""
        return self.acceleration != "off"

    def known_as(self, number: int) -> WorkloadName:
        """Return what a worker knows of it."""
        return WorkloadName(number, self.name, self.namespace, self.accelerated)

    def check(self) -> None:
        """Raise WorkloadError if the name is no DNS label, or a port is none."""
        if not _LABEL.fullmatch(self.name):
            raise WorkloadError(f"workload {self.name!r}: the name is no DNS label, as shop-2 is")
        for what, label in (("namespace", self.namespace), ("service account", self.service_account)):
            if not _LABEL.fullmatch(label):
                raise WorkloadError(f"workload {self.name}: {what} {label!r} is no DNS label, as shop-2 is")
        for port in self.ports:
            if not 1 <= port <= 65535:
                raise WorkloadError(f"workload {self.name}: port {port} is not in 1 to 65535")


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for all workloads of this agent."""

    rung: str
    outbound_port: int
    inbound_port: int
    any_port: bool = False
    show_callers: bool = True
    dns: bool = False
    """Queries for names are caught."""
    dns_port: int = 0


class Kept(msgspec.Struct, frozen=True):
    """A workload as the list on disk has it."""

    spec: Spec
    id: int
    netns_inode: int
    rung: str = ""

    def check(self) -> None:
        """Raise WorkloadError if the namespace's path means another namespace by now, or none."""
        if self.spec.netns and Path(self.spec.netns).stat().st_ino != self.netns_inode:
            raise WorkloadError(f"the network namespace {self.spec.netns} has been replaced")


class Workload(msgspec.Struct):
    """A workload that is caught."""

    spec: Spec
    id: int
    cgroup: Path | None
    made_cgroup: bool
    site: NetnsSite
    capture: EbpfCapture | NftCapture
    doors: list[int]
    why: str = ""
    """Why this rung, if it is not the best one."""
    dns: DnsDoor | None = None
    """Where its queries for names go."""
    why_no_dns: str = ""
    """Why they go nowhere else, if that was wanted."""
    kept: bytes = b""
    """As the list on disk has it. Nothing of that changes while it is caught."""
    told: str = ""
    """What has become of its cgroup, as the log was told."""

    @property
    def rung(self) -> Rung:
        """The rung it stands on."""
        return "ebpf" if isinstance(self.capture, EbpfCapture) else "nft"

    @property
    def inbound_port(self) -> int:
        """Where connections to it arrive."""
        if self.site.inbound is not None:
            return self.site.inbound.port
        inbound = getattr(self.capture, "inbound", None)
        return inbound.port if inbound else 0

    @property
    def has_ended(self) -> bool:
        """Say whether the process has ended whose end is the end of the workload."""
        return bool(self.spec.pid) and not is_alive(self.spec.pid)

    @property
    def lost_cgroup(self) -> str:
        """Say what has become of its cgroup, so that nothing new is caught; empty: nothing.

        One that comes back under its path is the same workload, and is caught again.
        """
        try:
            if self.cgroup is None or self.cgroup.stat().st_ino == self.capture.cgroup_id:
                return ""
        except OSError:
            return f"its cgroup {self.cgroup} has gone; it is caught again when that is back"
        return f"its cgroup {self.cgroup} was made anew and is not caught yet; if that lasts, see the log"

    @property
    def lost(self) -> str:
        """Say what it has lost, cgroup or network namespace; empty: nothing.

        A namespace is not caught again: paths such as /proc/PID/ns/net lead to whoever has that number next.
        """
        netns = self.spec.netns
        if self.lost_cgroup or not netns:
            return self.lost_cgroup
        try:
            if Path(netns).stat().st_ino != self.site.netns.inode:
                return f"{netns} is another network namespace by now; remove the workload, and add it again"
        except OSError:
            return f"its network namespace is no longer at {netns}; remove it if nothing runs there any more"
        return ""

    def tell(self, *, anew: bool) -> None:
        """Tell the log that its cgroup has gone, if it was not told yet, or that it was caught anew."""
        lost = self.lost_cgroup
        if anew:
            log.info("the cgroup of a workload was made anew, and is caught again", workload=self.spec.name)
        elif lost and lost != self.told:
            log.info("a workload has lost its cgroup", workload=self.spec.name, why=lost)
        self.told = lost


def write_list(path: Path | None, workloads: list[Workload]) -> None:
    """Write down who is caught, whole or not at all. None: nobody will come after us.

    Where it cannot be written (a full disk) the old list stays: workloads are served all the same, but a
    successor of a crashed agent would not find the newest.
    """
    if path is None:
        return
    for one in workloads:
        one.kept = one.kept or msgspec.json.encode(Kept(_placed(one), one.id, one.site.netns.inode, one.rung))
    fresh = path.with_suffix(f".{os.getpid()}")
    try:
        fresh.write_bytes(b"[" + b",\n".join(one.kept for one in workloads) + b"]\n")
        fresh.replace(path)
    except OSError as cause:
        log.warning("the list of workloads cannot be written", path=str(path), why=cause.strerror)
        fresh.unlink(missing_ok=True)


def read_list(path: Path | None) -> list[Kept]:
    """Read who was caught. A list that is missing or broken is an empty one."""
    if path is None or not path.exists():
        return []
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[Kept])
    except (OSError, ValueError):  # msgspec's errors are ValueErrors, and so is what is not UTF-8
        return []


def _placed(workload: Workload) -> Spec:
    """Return the spec with the cgroup that was made for it."""
    if workload.cgroup is None:
        return workload.spec
    return msgspec.structs.replace(workload.spec, cgroup=str(workload.cgroup))
