"""Core. What a connection tells a breaker, and with which ticket. Does not know breakers."""

import enum

REFUSED = 0
"""The ticket of who may not connect."""
ORDINARY = 1
"""The ticket of who proves nothing. Greater ones prove a half-open endpoint."""


class Verdict(enum.Enum):
    """What a connection says of its endpoint."""

    SUCCESS = "success"
    FAILURE = "failure"
    NEUTRAL = "neutral"
    """Nothing: it was given up for a reason that is not the endpoint's. It only gives its permit back."""
