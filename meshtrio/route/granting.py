"""Core. May a workload go to another one of its node itself, past both doors? Knows no maps of the kernel.

It may where a worker would have let it through on the kernel's word alone (`mtls.same_node: kernel`): both
have a valid identity, the called one is who is expected and takes mutual TLS, and policy allows the call. It
must ask for it, too (`acceleration: r5`), and what policy only reports (`dry_run`) is for workers to report.
"""

import msgspec

from meshtrio.accelerate.ladder import GRANTED, allows, why_no_grants
from meshtrio.config.schema import Config
from meshtrio.identity.spiffe import parse_workload
from meshtrio.route.modes import Modes
from meshtrio.route.policy import PolicyTable

BY_KERNEL = "kernel"
"""What is said of a connection within this node in place of a TLS version."""


class Resident(msgspec.Struct, frozen=True, gc=False):
    """A workload of this node."""

    id: int
    name: str
    namespace: str
    netns: int
    """The number of its namespace."""
    identity: str = ""
    """Its SPIFFE ID; empty: it has no valid certificate."""
    hooked: bool = True
    """It is caught by hooks, not by rules."""
    acceleration: str = "auto"


class Granting:
    """Judges callers and the called. Made anew when the configuration changes."""

    def __init__(self, config: Config) -> None:
        """Take the modes, the policy, and what is wanted of neighbours."""
        self.on = not why_no_grants(config) and allows(config.rung_max, GRANTED)
        """Whether anybody may be granted anything."""
        self._modes = Modes.configured(config)
        self._policy = PolicyTable.configured(config)
        self._excluded = config.inbound_exclusions

    def takes(self, called: Resident, port: int, expected: str) -> bool:
        """Say whether a workload can be called so at this port; `expected` is who it should be, if known."""
        return (
            self.on
            and called.hooked
            and called.acceleration != "off"
            and port not in self._excluded
            and called.identity != ""
            and expected in ("", called.identity)
            and self._speaks(called, port)
        )

    def asks(self, caller: Resident) -> bool:
        """Say whether a workload wants to, and is somebody."""
        return self.on and caller.hooked and caller.acceleration == GRANTED and caller.identity != ""

    def may(self, caller: Resident, called: Resident, port: int) -> bool:
        """Say whether one that asks may call one that takes it, at this port."""
        verdict = self._policy.judge(
            parse_workload(caller.identity), namespace=called.namespace, workload=called.name, port=port
        )
        return self._speaks(caller, port) and verdict.allowed and not verdict.would_deny

    def _speaks(self, one: Resident, port: int) -> bool:
        return self._modes.of(namespace=one.namespace, workload=one.name, port=port).mode != "disable"
