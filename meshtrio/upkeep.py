"""Shell. What an agent keeps true: services and settings follow their files, the kernel and the workers
follow those.

Knows the parts of an agent and which of them must hear what; agent.py says when. Starts no task that
outlives its functions.
"""

import operator
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
import trio

from meshtrio.accelerating import Accelerating
from meshtrio.announcing import announce
from meshtrio.breaker_board import BreakerBoard
from meshtrio.config.change import diff, held_back
from meshtrio.config.schema import Config
from meshtrio.config.secrecy import shown
from meshtrio.control import Parts
from meshtrio.directing import Directing
from meshtrio.discover.file import Followed, Fresh, Spoilt, follow
from meshtrio.fleet import Fleet, Seat, Subject, Told
from meshtrio.identities import Identities
from meshtrio.intercept import bpffs
from meshtrio.intercept.bpffs import BpffsError
from meshtrio.intercept.capture import Surroundings
from meshtrio.intercept.catcher import Catcher
from meshtrio.intercept.exclusions import exclude
from meshtrio.intercept.kernel import KernelRefused, open_kernel, unpin_all
from meshtrio.intercept.registry import Registry
from meshtrio.intercept.tables import OurDials, Ports
from meshtrio.intercept.workload import Rules, Spec
from meshtrio.issuers.source import sources_of
from meshtrio.messages import Credentials, Maps, Observed, Settings, Tally, Trusted
from meshtrio.naming import Naming
from meshtrio.observe import audit, log
from meshtrio.observe.sums import Sums
from meshtrio.offering import offered
from meshtrio.publisher import Publisher
from meshtrio.resolver.resolver import Resolver
from meshtrio.sources import Sources

SWEEP_S = 60.0


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """How an agent is run: what it is told, and whether it is one of its own (`meshtrio exec`)."""

    config: Config
    config_path: str = ""
    read_config: Callable[[str], Config] | None = None
    """How to understand a new text of the configuration file; None: it is not followed."""
    private: bool = False
    """No admin port, no control socket, no pins, any door port: nothing that others could meet."""


class Upkeep:
    """Makes the parts of one agent, and keeps them true."""

    def __init__(self, setting: Setting, cores: int) -> None:
        """Make the parts; nothing is touched yet. `workers: auto` is one a core."""
        config = setting.config
        self._setting = setting
        fleet = Fleet(cores if config.workers == "auto" else config.workers, self._heard)
        rules = Rules(
            rung=config.rung,
            outbound_port=0 if setting.private else config.ports.outbound,
            inbound_port=0 if setting.private else config.ports.inbound,
            any_port=setting.private,
            show_callers=config.source_address == "auto",
            dns=config.dns.capture,
            dns_port=0 if setting.private else config.ports.dns,
        )
        publisher = Publisher(fleet.seats)
        datacenter = config.discovery.consul.datacenter
        naming = Naming(Resolver(lambda: publisher.snapshot, config.dns, datacenter=datacenter))
        catcher = Catcher(
            rules, tell=partial(announce, fleet), dns_opened=naming.opened, dns_closed=naming.closed
        )
        registry, sums, breakers = Registry(catcher), Sums(), BreakerBoard(fleet)
        self.parts = Parts(
            config=config,
            fleet=fleet,
            breakers=breakers,
            publisher=publisher,
            sources=Sources(config, publisher, self._published, private=setting.private),
            naming=naming,
            identities=Identities(config.identity, self._tell_identity),
            registry=registry,
            direct=Directing(config, publisher, registry, sums, board=breakers),
            sums=sums,
            accelerating=Accelerating(config),
            kernel=None,
            config_path=setting.config_path,
        )
        registry.entering, registry.leaving = self._enters, self.parts.direct.withdraw
        registry.left = self._left
        audit.set_up(config.identity.audit)
        self._ports: Ports | None = None
        self.parts.sources.offered = lambda: offered(registry, config.node, self.parts.identities.ids())

    async def open_kernel(self) -> None:
        """Load our programs, or say why nf_tables has to do. KernelRefused if only eBPF would do."""
        parts, config = self.parts, self.parts.config
        if config.rung == "nft":
            parts.why_no_ebpf = "configured (rung: nft)"
        else:
            pins: Path | None = None
            if not self._setting.private:
                try:
                    pins = bpffs.ensure(Path(config.paths.pins))
                except BpffsError as cause:
                    parts.pinning_fault = str(cause)
                    log.warning("hooks will not survive this agent", why=str(cause))
            try:
                parts.kernel = await open_kernel(pins, Path(config.paths.cache))
            except KernelRefused as refused:
                if pins is not None:
                    bpffs.leave(pins)
                if config.rung == "ebpf":
                    raise
                parts.why_no_ebpf = str(refused)
                log.warning("eBPF is refused; nf_tables takes over", why=str(refused))
        if parts.kernel is None and not self._setting.private:
            # A predecessor may have stood on eBPF: its hooks would send connections to nobody.
            unpin_all(Path(config.paths.pins))
        if parts.kernel is not None:
            exclude(parts.kernel, config)
            parts.direct.use(parts.kernel)
            parts.accelerating.stopless = parts.kernel.why_no_grants
            shared = ("destinations", "our_dials", "ports", "heartbeat", "vouchers")
            parts.fleet.tell(("maps",), Maps(), [parts.kernel.maps[name] for name in shared])
            parts.naming.use_map(parts.kernel.maps["heartbeat"])
            parts.fleet.buried = OurDials(parts.kernel.maps["our_dials"]).bury
            parts.fleet.buried()
            self._ports = Ports(parts.kernel.maps["ports"])
        parts.registry.catcher.use(parts.kernel, parts.why_no_ebpf)
        parts.registry.catcher.surroundings = self._surroundings()
        parts.fleet.tell(("settings",), self._settings())

    def _settings(self) -> Settings:
        config = self.parts.config
        return Settings(config, "" if self._setting.private else config.paths.control)

    def _published(self) -> None:
        self.parts.registry.catcher.surroundings = self._surroundings()

    async def keep_identities(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep certificates fresh and the audit log written until cancelled. Ready as Identities.run is."""
        async with trio.open_nursery() as both:
            both.start_soon(audit.keep_writing)
            await both.start(self.parts.identities.run, sources_of(self.parts.config.node))
            task_status.started()

    async def sweep(self) -> None:
        """Keep the kernel's maps from filling up with ports that nobody has any more, and direct ends."""
        async with trio.open_nursery() as both:
            both.start_soon(self.parts.direct.run)
            while True:
                await trio.sleep(SWEEP_S)
                self.parts.direct.sweep_passages()
                if self._ports is not None and (swept := self._ports.sweep()):
                    log.info("ports that nobody has any more were taken out", ports=swept)

    async def follow_config(self) -> None:
        """Let what the configuration file says hold, as far as it can without a restart."""
        read = self._setting.read_config
        if read is None or not self._setting.config_path:
            return
        send, receive = trio.open_memory_channel[Fresh[Config] | Spoilt](1)
        async with trio.open_nursery() as following:
            following.start_soon(follow, Followed(self._setting.config_path, read), send)
            async for news in receive:
                if isinstance(news, Spoilt):
                    self.parts.config_fault = str(news)
                    log.error(
                        "the configuration file cannot be used; the last good one holds", faults=str(news)
                    )
                    continue
                self.parts.config_fault = ""
                self._reconfigure(news.value)

    def _reconfigure(self, wanted: Config) -> None:
        parts, old = self.parts, self.parts.config
        changes = diff(old, wanted)
        waiting = [change.path for change in changes if change.needs_restart]
        if waiting:
            parts.config_fault = f"{', '.join(waiting)} changed: restart the agent for that"
            log.warning("some settings wait for a restart", settings=waiting)
        parts.config = held_back(old, wanted)
        for change in changes:
            was, is_now = (operator.attrgetter(change.path)(shown(one)) for one in (old, wanted))
            log.info("setting changed", path=change.path, old=str(was), new=str(is_now))
        if parts.config == old:
            return
        log.set_up(parts.config.log)
        if parts.kernel is not None:
            exclude(parts.kernel, parts.config)
        parts.registry.catcher.surroundings = self._surroundings()
        parts.fleet.tell(("settings",), self._settings())
        parts.sources.reconfigure(parts.config)
        parts.direct.settle(parts.config)
        parts.accelerating.settle(parts.config)
        parts.identities.reconfigure(parts.config.identity)
        audit.set_up(parts.config.identity.audit)
        parts.naming.replace(parts.config.dns, datacenter=parts.config.discovery.consul.datacenter)

    def _surroundings(self) -> Surroundings:
        config = self.parts.config
        return Surroundings(
            outbound_ports=config.exclude.outbound_ports,
            inbound_ports=tuple(sorted(config.inbound_exclusions)),
            cidrs=config.exclude.outbound_cidrs,
            services=self.parts.publisher.loopback_addresses(),
            vips=self.parts.publisher.vips(),
        )

    async def _enters(self, number: int, spec: Spec) -> None:
        await self.parts.accelerating.tried_for(spec.acceleration)
        self.parts.direct.enter(number, spec.name)
        namespace, account = spec.namespace, spec.service_account
        await self.parts.identities.enter(number, spec.name, namespace=namespace, service_account=account)

    def _tell_identity(self, subject: Subject, news: Credentials | Trusted) -> None:
        self.parts.direct.hear(news)
        self.parts.fleet.tell(subject, news)

    def _left(self, number: int) -> None:
        self.parts.identities.leave(number)
        self.parts.direct.leave(number)
        self.parts.fleet.untell(("identity", number))

    async def _heard(self, seat: Seat, message: Told) -> None:
        if isinstance(message, Tally):
            self.parts.sums.add(message)
            audit.ended(message.ended, message.omitted, self.parts.identities.ids)
        elif isinstance(message, Observed):
            self.parts.breakers.hear(seat, message)
        else:
            self.parts.publisher.answer(seat, message)
