"""Shell. What the agent can say of balancing: what workers hold of endpoints, and whom they would pick.

Workers balance, each by itself; here their words are put beside those of the catalog. Changes nothing.
"""

import ipaddress
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from meshtrio.address import Address
from meshtrio.balance.breaker_table import State
from meshtrio.balance.hashing import key_hash
from meshtrio.balance.settings import held, traffic_of
from meshtrio.balance.told import EndpointLoad
from meshtrio.breaker_answers import NoSuchPart
from meshtrio.breaker_board import BreakerBoard
from meshtrio.catalog import question
from meshtrio.catalog.service import Service, ServicePort
from meshtrio.catalog.snapshot import Snapshot
from meshtrio.config.schema import Config
from meshtrio.config.traffic import Settings
from meshtrio.fleet import Fleet
from meshtrio.questions import AskLoads, AskPick, Loads, Picked
from meshtrio.route.directness import Way

PORTS_NAMED = 5
_NOBODY = EndpointLoad(0, 0.0, 0.0, ejected=False)


class WhichPort(Exception):
    """The service has several ports, or none; the message says which."""


class WrongKey(Exception):
    """A key was given that says nothing to the algorithm; the message says why."""


class BalanceAnswers:
    """Answers about how the workers of one agent balance."""

    def __init__(
        self,
        fleet: Fleet,
        breakers: BreakerBoard,
        known: Callable[[], tuple[Snapshot, Config]],
        way: Callable[[str, str], Way],
    ) -> None:
        """Answer by what these say at the moment; `way` is how a port's connections go."""
        self._fleet, self._breakers, self._known, self._way = fleet, breakers, known, way

    async def beside(self, page: dict[str, Any]) -> dict[str, Any]:
        """Return a page of endpoints with what breakers and workers say of each put beside it.

        Active connections are those of all workers together, the latency is the longest that one of them
        has, and an endpoint is ejected if one of them leaves it alone. None if no worker has answered.
        """
        rows: list[dict[str, Any]] = page["endpoints"]
        names = tuple({_name(row) for row in rows})
        told = await self._fleet.ask(lambda number: AskLoads(number, names), Loads) if rows else []
        silent = len(self._fleet.seats) - len(told) if rows else 0
        found = [{**row, **self._breaker(row), **_load(row, [one for _, one in told])} for row in rows]
        return {**page, "endpoints": found, "silent_workers": silent}

    async def explain(self, namespace: str, name: str, *, port: str = "", key: str = "") -> dict[str, Any]:
        """Return whom each worker would pick for the next call, why, and which settings hold for it.

        NoSuchService, WhichNamespace, NoSuchPart, WhichPort or WrongKey if that is not to be answered.
        """
        snapshot, config = self._known()
        service = question.named(snapshot, namespace, name)
        chosen = _port(service, port)
        settings = traffic_of(config.traffic, service, chosen.name)
        hashed = _hashed(f"{service.key}:{chosen.name}", settings, key)
        # Of its other ports nothing is needed, and they may have many endpoints.
        asked = msgspec.structs.replace(service, ports=(chosen,))
        told = await self._fleet.ask(lambda number: AskPick(number, asked, chosen.name, hashed), Picked)
        way = self._way(service.key, chosen.name)
        return {
            "namespace": service.namespace,
            "service": service.name,
            "port": chosen.name,
            "key": key,
            "zone": config.zone,
            "path": way.path,
            "why": way.why,
            "settings": [msgspec.to_builtins(one) for one in held(config.traffic, service, chosen.name)],
            "unheeded": list(service.unheeded),
            "workers": [_worker(seat.number, seat.pid, one) for seat, one in told],
            "silent_workers": len(self._fleet.seats) - len(told),
        }

    def _breaker(self, row: dict[str, Any]) -> dict[str, Any]:
        now, port = self._breakers.clock(), self._breakers.board.ports.get(_name(row))
        state = port.state(row["id"], now) if port else State.CLOSED
        left_s = port.stands[row["id"]].until - now if port and state is State.OPEN else None
        return {"breaker": state.value, "retry_in_s": None if left_s is None else round(left_s, 1)}


def _name(row: dict[str, Any]) -> str:
    return f"{row['namespace']}/{row['service']}:{row['port']}"


def _load(row: dict[str, Any], told: Iterable[Loads]) -> dict[str, Any]:
    name, ident = _name(row), row["id"]
    loads = [port.endpoints.get(ident, _NOBODY) if (port := one.ports.get(name)) else _NOBODY for one in told]
    if not loads:
        return {"active": None, "latency_s": None, "ejected": None}
    return {
        "active": sum(one.active for one in loads),
        "latency_s": round(max(one.latency_s for one in loads), 6),
        "ejected": any(one.ejected for one in loads),
    }


def _port(service: Service, wanted: str) -> ServicePort:
    ports = service.ports
    if not ports:
        raise WhichPort(f"{service.key} has no ports, so nothing of it is balanced")
    chosen = [one for one in ports if wanted in (one.name, str(one.port))] if wanted else list(ports)
    if len(chosen) == 1:
        return chosen[0]
    named = [f"{one.name or '-'} ({one.port})" for one in ports[:PORTS_NAMED]]
    more = f" and {len(ports) - PORTS_NAMED} more" if len(ports) > PORTS_NAMED else ""
    has = ", ".join(named) + more
    if not chosen:
        raise NoSuchPart(f"{service.key} has no port {wanted} (it has: {has})")
    first = ports[0].name or ports[0].port
    raise WhichPort(f"{service.key} has {len(ports)} ports: {has} (want one, as in --port {first})")


def _hashed(name: str, settings: Settings, key: str) -> int | None:
    """Hash the key as a worker would that finds it in a call."""
    if not key:
        return None
    # Only this needs the algorithms, and hardly anybody asks with a key: the agent stays without them.
    from meshtrio.balance.algorithm import HASHING

    if settings.algorithm not in HASHING:
        knowing = " and ".join(sorted(HASHING))
        says = f"{name} is balanced by {settings.algorithm}, which knows no keys"
        raise WrongKey(f"{says} (leave the key out; {knowing} know some, see traffic.algorithm)")
    if settings.hash_key != "source_ip":
        return key_hash(key.encode())
    try:
        return key_hash(Address.of(str(ipaddress.ip_address(key)), 0).ip)
    except ValueError:
        says = f"{name} is balanced by the caller's address (hash_key: source_ip), and {key!r} is none"
        raise WrongKey(f"{says} (want one, as in 10.0.0.7)") from None


def _worker(number: int, pid: int, told: Picked) -> dict[str, Any]:
    said, load = msgspec.to_builtins(told.explanation), told.load
    picked = next((one["address"] for one in said["endpoints"] if one["id"] == said["picked"]), "")
    return {
        "worker": number,
        "pid": pid,
        "dialled": load is not None,
        "picked_address": picked,
        "full": load.full if load else "",
        "active": load.active if load else 0,
        "pending": load.pending if load else 0,
        "retries": {
            "allowed": load.retries_allowed if load else 0,
            "denied": load.retries_denied if load else 0,
            "hedges": load.hedges if load else 0,
            "hedges_won": load.hedges_won if load else 0,
        },
        **said,
        "omitted": told.omitted,
    }
