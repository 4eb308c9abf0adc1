"""Core. Which settings hold for the traffic to one port of a service, and who says so? Does not know what
they mean.

The strongest that says something decides, for each setting by itself: a rule for the port, a rule for the
service, the service's own wishes, the section.
"""

from collections.abc import Iterator

import msgspec
from msgspec import UNSET

from meshtrio.catalog.service import Service
from meshtrio.config.traffic import Rule, Settings, Traffic
from meshtrio.config.wishes import laid_over

DEFAULT, SECTION, WISHES = "default", "traffic", "the service's own wishes"


class Held(msgspec.Struct, frozen=True):
    """One setting that holds, and who says so: DEFAULT, SECTION, WISHES, or the path of a rule."""

    name: str
    """As in breaker.open_s."""
    value: str | int | float | bool
    by: str


def traffic_of(traffic: Traffic, service: Service, port: str) -> Settings:
    """Give what holds for the port of this name. Takes time by the number of rules: to be remembered."""
    holds = Settings(**{name: getattr(traffic, name) for name in Settings.__struct_fields__})
    holds = laid_over(holds, service.wishes)
    for _, rule in _rules(traffic, service, port):
        holds = laid_over(holds, rule)
    return holds


def held(traffic: Traffic, service: Service, port: str) -> list[Held]:
    """Give each setting that holds for the port of this name, and who says so."""
    section = dict(_leaves(traffic))
    by = {name: DEFAULT if section[name] == value else SECTION for name, value in _leaves(Settings())}
    by |= dict.fromkeys((name for name, _ in _leaves(service.wishes)), WISHES)
    for at, rule in _rules(traffic, service, port):
        by |= dict.fromkeys((name for name, _ in _leaves(rule) if name in by), f"traffic.rules[{at}]")
    return [Held(name, value, by[name]) for name, value in _leaves(traffic_of(traffic, service, port))]


def _rules(traffic: Traffic, service: Service, port: str) -> list[tuple[int, Rule]]:
    """Find the rules for a port, the weakest first, each with its place."""
    rules = [
        (at, rule)
        for at, rule in enumerate(traffic.rules)
        if rule.key == service.key and rule.port in ("", port)
    ]
    return sorted(rules, key=lambda found: bool(found[1].port))


def _leaves(of: msgspec.Struct, path: str = "") -> Iterator[tuple[str, str | int | float | bool]]:
    """List what is set, by path."""
    for name in of.__struct_fields__:
        value = getattr(of, name)
        if isinstance(value, msgspec.Struct):
            yield from _leaves(value, f"{path}{name}.")
        elif value is not UNSET and not isinstance(value, tuple):
            yield f"{path}{name}", value
