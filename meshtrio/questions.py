"""Core. What the agent asks all workers, and what they answer: a part of messages.py. Each question has a
number, and its answer has the same.
"""

import msgspec

from meshtrio.balance.told import Explanation, PortLoad
from meshtrio.catalog.service import Service


class Report(msgspec.Struct, frozen=True, tag=True):
    """To the worker: send a `Live` with this number."""

    number: int


class AskLoads(msgspec.Struct, frozen=True, tag=True):
    """To the worker: how do you balance these service ports ("namespace/name:port")?"""

    number: int
    ports: tuple[str, ...]


class AskPick(msgspec.Struct, frozen=True, tag=True):
    """To the worker: whom would you pick for the next call to this port of the service, and why?"""

    number: int
    service: Service
    port: str
    key: int | None = None
    """As of balance.hashing; None: the call has none."""


class Loads(msgspec.Struct, frozen=True, tag=True):
    """To the agent: the answer to `AskLoads`. Ports that the worker never dialled are left out."""

    number: int
    ports: dict[str, PortLoad]


class Picked(msgspec.Struct, frozen=True, tag=True):
    """To the agent: the answer to `AskPick`."""

    number: int
    explanation: Explanation
    load: PortLoad | None = None
    """None: this worker never dialled that port, and explained what would be at its first call."""
    omitted: int = 0
    """How many endpoints the explanation leaves out."""
