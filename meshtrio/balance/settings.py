"""Core. Which settings hold for the traffic to one port of a service? Does not know what they mean.

The strongest that says something decides, for each setting by itself: a rule for the port, a rule for the
service, the service's own wishes, the section.
"""

from meshtrio.catalog.service import Service
from meshtrio.config.traffic import Settings, Traffic
from meshtrio.config.wishes import laid_over


def traffic_of(traffic: Traffic, service: Service, port: str) -> Settings:
    """Give what holds for the port of this name. Takes time by the number of rules: to be remembered."""
    holds = Settings(**{name: getattr(traffic, name) for name in Settings.__struct_fields__})
    holds = laid_over(holds, service.wishes)
    rules = [rule for rule in traffic.rules if rule.key == service.key and rule.port in ("", port)]
    for rule in sorted(rules, key=lambda rule: bool(rule.port)):
        holds = laid_over(holds, rule)
    return holds
