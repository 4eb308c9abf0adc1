"""Core. What must hold between settings. Does not know where they come from."""

from collections.abc import Iterator

import msgspec

from meshtrio.config.schema import Config
from meshtrio.config.traffic import Retries, Settings
from meshtrio.config.wishes import RetryWishes, idle_hedges, laid_over

SOCKET_PATH_BYTES = 107
"""The longest path of a unix socket (sun_path without its last zero, unix(7))."""

EXCLUSIONS = 4096
"""The room in the kernel's maps of excluded ports and networks (bpf/include/maps.h)."""


class Breach(msgspec.Struct, frozen=True):
    """A rule that is broken: what it is about, the first path being the one to blame."""

    paths: tuple[str, ...]
    says: str


def breaches(config: Config) -> Iterator[Breach]:
    """Find all rules that this configuration breaks."""
    yield from _paths(config)
    yield from _ports(config)
    yield from _exclusions(config)
    yield from _workloads(config)
    yield from _dns(config)
    yield from _modes(config)
    yield from _policy(config)
    yield from _identity(config)
    yield from _traffic(config)


def _paths(config: Config) -> Iterator[Breach]:
    if len(config.paths.control.encode()) > SOCKET_PATH_BYTES:
        yield Breach(("paths.control",), f"is too long for a socket (want {SOCKET_PATH_BYTES} bytes at most)")


def _ports(config: Config) -> Iterator[Breach]:
    ports = config.ports
    taken: dict[int, str] = {}
    for name in ports.__struct_fields__:
        path, port = f"ports.{name}", getattr(ports, name)
        if port in taken:
            yield Breach((path, taken[port]), f"is {port}, and so is {taken[port]} (want different ports)")
        taken.setdefault(port, path)


def _exclusions(config: Config) -> Iterator[Breach]:
    ports = len({*config.exclude.outbound_ports}) + len(config.inbound_exclusions)
    if ports > EXCLUSIONS:
        both = ("exclude.outbound_ports", "exclude.inbound_ports")
        yield Breach(both, f"and exclude.inbound_ports are {ports} ports (want {EXCLUSIONS} at most)")
    networks = len({*config.exclude.outbound_cidrs})
    if networks > EXCLUSIONS:
        yield Breach(("exclude.outbound_cidrs",), f"has {networks} networks (want {EXCLUSIONS} at most)")


def _workloads(config: Config) -> Iterator[Breach]:
    first: dict[str, int] = {}
    for at, workload in enumerate(config.workloads):
        path = f"workloads[{at}]"
        if workload.name in first:
            says = f'is "{workload.name}", as workloads[{first[workload.name]}] is (want different names)'
            yield Breach((f"{path}.name",), says)
        first.setdefault(workload.name, at)
        if not workload.cgroup and not workload.netns:
            yield Breach((path,), "has neither cgroup nor netns (want at least one)")


def _dns(config: Config) -> Iterator[Breach]:
    for at, service in enumerate(config.discovery.dns):
        if not service.port and not service.host.startswith("_"):
            says = "is 0, and only SRV records bring a port (want one, or a host like _http._tcp.example.com)"
            yield Breach((f"discovery.dns[{at}].port",), says)


def _modes(config: Config) -> Iterator[Breach]:
    if config.identity.source == "off":
        modes = {"mtls.mode": config.mtls.mode}
        modes |= {f"mtls.rules[{at}].mode": rule.mode for at, rule in enumerate(config.mtls.rules)}
        for path, mode in modes.items():
            if mode == "strict":
                says = "is strict, and identity.source is off: everyone would be refused"
                yield Breach((path, "identity.source"), f"{says} (want a source, or another mode)")
    for at, rule in enumerate(config.mtls.rules):
        if rule.any_alpn and rule.mode != "strict":
            yield Breach(
                (f"mtls.rules[{at}].any_alpn",), f"is true in a rule of mode {rule.mode} (want strict)"
            )


def _policy(config: Config) -> Iterator[Breach]:
    first = {"default": "what decides where no rule fits"}
    for at, rule in enumerate(config.policy.rules):
        path = f"policy.rules[{at}].name"
        if rule.name in first:
            says = f'is "{rule.name}", as {first[rule.name]} is (want different names)'
            yield Breach((path,), says)
        first.setdefault(rule.name, f"policy.rules[{at}]")


def _identity(config: Config) -> Iterator[Breach]:
    identity = config.identity
    if bool(identity.root_certificate) != bool(identity.root_key):
        both = ("identity.root_certificate", "identity.root_key")
        yield Breach(both, "and identity.root_key are one root (want both, or neither)")
    if identity.cache == "disk" and not identity.directory:
        yield Breach(("identity.cache",), "is disk, and identity.directory is empty (want a directory)")
    needed = {"identity.remote.address": identity.remote.address}
    needed["identity.remote.ca_file"] = identity.remote.ca_file
    for path, value in needed.items():
        if identity.source == "remote" and not value:
            yield Breach((path, "identity.source"), "is empty, and identity.source is remote (want one)")
    known = {identity.trust_domain: "identity.trust_domain"}
    for at, federated in enumerate(identity.federated):
        path = f"identity.federated[{at}].trust_domain"
        if federated.trust_domain in known:
            says = f'is "{federated.trust_domain}", as {known[federated.trust_domain]} is (want another one)'
            yield Breach((path,), says)
        known.setdefault(federated.trust_domain, path)


def _traffic(config: Config) -> Iterator[Breach]:
    traffic = config.traffic
    yield from _seconds("traffic", traffic, None)
    yield from _hedges("traffic", traffic, traffic.retries)
    first: dict[tuple[str, str], str] = {}
    for at, rule in enumerate(traffic.rules):
        path, named = f"traffic.rules[{at}]", f"{rule.key}:{rule.port}".rstrip(":")
        before = first.setdefault((rule.key, rule.port), path)
        if before != path:
            yield Breach((f"{path}.service",), f"is {named}, as {before} is (want one rule for each)")
        holds = laid_over(traffic, rule)
        yield from _seconds(path, holds, traffic)
        yield from _hedges(path, holds, rule.retries)


def _seconds(path: str, settings: Settings, known: Settings | None) -> Iterator[Breach]:
    """Hold times against each other, unless they are as they are known to be."""
    for section, least, most in (("retries", "base_s", "max_s"), ("breaker", "open_s", "open_max_s")):
        held = getattr(settings, section)
        low, high = getattr(held, least), getattr(held, most)
        if low > high and (known is None or held != getattr(known, section)):
            says = f"has {least} {low:g} and {most} {high:g} (want {most} to be at least {least})"
            yield Breach((f"{path}.{section}",), says)


def _hedges(path: str, holds: Settings, said: Retries | RetryWishes) -> Iterator[Breach]:
    """Let nobody ask for hedges where nothing is tried again. Who ends retries ends hedges: no breach."""
    if says := idle_hedges(said.hedge_after_s, holds.retries.attempts):
        yield Breach((f"{path}.retries",), says)
