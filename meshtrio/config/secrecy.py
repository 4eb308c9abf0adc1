"""Core. What of a configuration may be shown to others: in the log, at the admin port. Does not know them.

Tokens stand in files of their own. But what probes send may be one, too.
"""

from msgspec.structs import replace

from meshtrio.config.schema import Config

HIDDEN = "..."


def shown(config: Config) -> Config:
    """Give the configuration as it may be shown: without the values of probes' headers."""
    if not any(check.headers for check in config.health_checks):
        return config
    checks = (replace(check, headers=dict.fromkeys(check.headers, HIDDEN)) for check in config.health_checks)
    return replace(config, health_checks=tuple(checks))
