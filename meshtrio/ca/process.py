"""Shell. The CA as a process: root, ledger and port opened, served, kept fresh, and closed on SIGTERM.

Does not know the command line.
"""

import ipaddress
import signal
import socket
import ssl
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import trio

from meshtrio.ca.app import Desk, Parts, Terms
from meshtrio.ca.ledger import Ledger
from meshtrio.ca.proof import Proof
from meshtrio.ca.root import bundle_of, found_root, place_of, stamp
from meshtrio.ca.server import open_port, serve
from meshtrio.ca.signer import Names, Signer, is_half_over
from meshtrio.config.schema import Config
from meshtrio.identity.bundle import BundleFault
from meshtrio.identity.certificate import Certificate
from meshtrio.identity.refusal import Refused
from meshtrio.identity.spiffe import parse_template
from meshtrio.issuers.root_file import RootError
from meshtrio.notify import notify
from meshtrio.observe import audit, log

if TYPE_CHECKING:
    # It brings the kubernetes package with it (37 MB), which a CA without a cluster does not carry.
    from meshtrio.ca.review import Reviews

LEDGER = "ca.db"
"""In identity.directory."""
LOOK_S = 10.0
"""How often it is looked whether the root files are others, and whether our own certificate is due."""


class Wish(msgspec.Struct, frozen=True):
    """What the command line says."""

    bind: str
    port: int
    names: tuple[str, ...] = ()
    """By which the CA is called, beside the address it listens on."""
    agents: tuple[str, ...] = ()
    """Kubernetes service accounts (namespace/name) whose pods are agents; none: no Kubernetes."""
    terms: Terms = Terms()


def names_of(wish: Wish, host: str) -> Names:
    """Say by which names the CA is found. ValueError for one that is none."""
    found = list(wish.names)
    if ipaddress.ip_address(wish.bind).is_unspecified:
        found += ["localhost", "127.0.0.1", "::1", host.lower()]
    else:
        found.append(wish.bind)
    dns, addresses = [], []
    for name in dict.fromkeys(found):
        try:
            addresses.append(str(ipaddress.ip_address(name)))
        except ValueError:
            dns.append(name)
    return Names(tuple(dns), tuple(addresses))


class Office:
    """The CA at work."""

    def __init__(self, config: Config, wish: Wish) -> None:
        """Open the root. RootError, BundleFault, or Refused, if it cannot be used."""
        self._settings = config.identity
        self._place = place_of(config.identity)
        self._names = names_of(wish, socket.gethostname())
        self._stamp = stamp(self._place)
        root = found_root(config.identity, log.wall_now())
        if root.created:
            log.info("a root is made", file=str(self._place.certificates))
        bundle = bundle_of(root)
        self._stamp = stamp(self._place)
        self.signer = Signer(root.authority, bundle, config.identity.skew_s, log.wall_now)
        self._tls, self._own = self._shown()

    def context(self) -> ssl.SSLContext:
        """Give the TLS settings as they are now."""
        return self._tls

    def _shown(self) -> tuple[ssl.SSLContext, Certificate]:
        return self.signer.server_context(self._names)

    async def keep(self) -> None:
        """Keep root and own certificate as they should be, until cancelled. What cannot be used changes
        nothing, and is told of."""
        while True:
            await trio.sleep(LOOK_S)
            try:
                changed = self._stamp != stamp(self._place)
                if changed:
                    self._stamp = stamp(self._place)
                    root = await trio.to_thread.run_sync(found_root, self._settings, log.wall_now())
                    self.signer.use(root.authority, bundle_of(root))
                    log.info("the root files have changed", roots=len(root.anchors))
                if changed or is_half_over(self._own, log.wall_now()):
                    self._tls, self._own = self._shown()
            except (RootError, BundleFault, Refused, OSError) as cause:
                log.rarely("the root files cannot be used; the CA goes on with what it has", why=str(cause))


async def run(
    config: Config, wish: Wish, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED
) -> None:
    """Be a CA until SIGTERM, SIGINT or cancelled; started, with the port, when it answers.

    CannotListen, LedgerError, RootError, BundleFault or Refused if it cannot begin.
    """
    office = Office(config, wish)
    with ExitStack() as undo:
        ledger = undo.enter_context(closing(Ledger(Path(config.identity.directory, LEDGER))))
        listener = undo.enter_context(open_port(wish.bind, wish.port))
        port = listener.getsockname()[1]
        reviews = undo.enter_context(closing(await _reviews(config, wish))) if wish.agents else None
        proof = Proof(ledger, reviews.caller if reviews else None, log.wall_now)
        desk = Desk(Parts(office.signer, proof, log.wall_now), wish.terms)
        audit.set_up(config.identity.audit)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(audit.keep_writing)
            await nursery.start(serve, desk.application(), listener, office.context)
            nursery.start_soon(office.keep)
            with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
                trust_domain = office.signer.trust_domain
                log.info("the CA answers", bind=wish.bind, port=port, trust_domain=trust_domain)
                notify("READY=1")
                task_status.started(port)
                async for _ in signals:
                    break
            notify("STOPPING=1")
            nursery.cancel_scope.cancel()


async def _reviews(config: Config, wish: Wish) -> "Reviews":
    from meshtrio.ca.review import LINES, Reviews, Rules
    from meshtrio.discover.kubernetes_pace import Pace
    from meshtrio.discover.kubernetes_reach import find_reach

    identity = config.identity
    rules = Rules(frozenset(wish.agents), identity.trust_domain, parse_template(identity.template))
    return Reviews(await find_reach(config.discovery.kubernetes, Pace(), LINES), rules)
