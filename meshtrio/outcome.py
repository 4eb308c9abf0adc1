"""Core. How a connection ended: one closed list, shared by metrics, logs, the CLI and the tests."""

import enum


class Outcome(enum.Enum):
    """How one connection ended. The value is the word in logs and metrics, `flag` Envoy's response flag."""

    CARRIED = "carried"
    """Both sides ended cleanly; every byte went through."""
    CLIENT_RESET = "client_reset"
    """The calling process reset or vanished before the end."""
    UPSTREAM_RESET = "upstream_reset"
    """The called side reset the established connection after bytes of its own."""
    UPSTREAM_RESET_EARLY = "upstream_reset_early"
    """The called side reset the established connection before a byte of it reached the caller."""
    CONNECT_FAILED = "connect_failed"
    """Every endpoint that was tried refused or was unreachable."""
    CONNECT_TIMEOUT = "connect_timeout"
    """Every endpoint that was tried stayed silent until the connect deadline."""
    NO_ENDPOINT = "no_endpoint"
    """The service is known and has no endpoint that may be used."""
    BREAKER_OPEN = "breaker_open"
    """The service has endpoints, and circuit breakers cut all of them off."""
    NO_ROUTE = "no_route"
    """The destination is no service and pass-through is denied."""
    NO_DESTINATION = "no_destination"
    """Someone dialled the door itself: there is no original destination."""
    LOOP = "loop"
    """The destination is one of our own doors."""
    LIMIT = "limit"
    """A connection limit was reached; refused at once."""
    NO_IDENTITY = "no_identity"
    """Mutual TLS is a must, and the workload has no valid certificate."""
    UPSTREAM_TLS = "upstream_tls"
    """The handshake with the endpoint failed: it is not who it should be, or refused us."""
    CLIENT_TLS = "client_tls"
    """The handshake with the caller failed: it is not who it says, or speaks no TLS that we accept."""
    PLAINTEXT = "plaintext"
    """The mode is strict and the caller does not speak mutual TLS."""
    DENIED = "denied"
    """Policy does not let this caller call this workload."""
    IDLE = "idle"
    """No byte in either direction for the idle time."""
    DRAINED = "drained"
    """Cut by us at the drain deadline."""
    OUR_BUG = "our_bug"
    """An exception that nobody foresaw; the log has the trace."""

    @property
    def flag(self) -> str:
        """The letters that Envoy users know, "-" for a clean end."""
        return _FLAGS[self]


_FLAGS = {
    Outcome.CARRIED: "-",
    Outcome.CLIENT_RESET: "DC",
    Outcome.UPSTREAM_RESET: "UC",
    Outcome.UPSTREAM_RESET_EARLY: "UC",
    Outcome.CONNECT_FAILED: "UF",
    Outcome.CONNECT_TIMEOUT: "UF",
    Outcome.NO_ENDPOINT: "UH",
    Outcome.BREAKER_OPEN: "UO",
    Outcome.NO_ROUTE: "NR",
    Outcome.NO_DESTINATION: "DPE",
    Outcome.LOOP: "NR",
    Outcome.LIMIT: "UO",
    Outcome.NO_IDENTITY: "UF",
    Outcome.UPSTREAM_TLS: "UF",
    Outcome.CLIENT_TLS: "DPE",
    Outcome.PLAINTEXT: "UAEX",
    Outcome.DENIED: "UAEX",
    Outcome.IDLE: "SI",
    Outcome.DRAINED: "LR",
    Outcome.OUR_BUG: "LR",
}
