"""Shell. What the agent can say of breakers, and let an operator do to them.

An operator speaks of services and addresses, breakers of ports and ids; here they meet. Changes nothing but
what is forced.
"""

from collections.abc import Callable
from typing import Any, Literal

from meshtrio.balance.board import Port
from meshtrio.balance.breaker_table import WHOLE, State
from meshtrio.breaker_board import BreakerBoard
from meshtrio.catalog import question
from meshtrio.catalog.service import Endpoint, Service, ServicePort
from meshtrio.catalog.snapshot import Snapshot
from meshtrio.observe import log
from meshtrio.observe.sums import Gauge

ROWS = 10_000
"""How many breakers one answer lists at most; `omitted` says how many more there are."""
SERIES = 500
"""How many service ports have metrics of their own. The others are added up as service_port "other"."""
Word = Literal["open", "close", "auto"]
_BLOCKING = (State.OPEN, State.FORCED_OPEN)
_LEVELS = {"closed": 0, "degraded": 1, "open": 2}


class NoSuchPart(Exception):
    """The service has no such port or endpoint; the message says which it has."""


class BreakerAnswers:
    """Answers about the breakers that one agent knows."""

    def __init__(self, breakers: BreakerBoard, snapshot: Callable[[], Snapshot]) -> None:
        """Answer by what workers told, and by the catalog of the moment."""
        self._breakers = breakers
        self._snapshot = snapshot

    def listed(self, service: str = "") -> dict[str, Any]:
        """Return each endpoint that has a breaker, and each port that is forced as a whole.

        NoSuchService or WhichNamespace if the service is not one.
        """
        key = self._named(service).key if service else ""
        rows = [
            row
            for name, port in sorted(self._breakers.board.ports.items())
            if not key or name.rpartition(":")[0] == key
            for row in self._rows(name, port)
        ]
        return {"breakers": rows[:ROWS], "omitted": len(rows[ROWS:])}

    def force(self, service: str, word: Word, *, endpoint: str = "", port: str = "") -> dict[str, Any]:
        """Force a service, or one port or one endpoint of it, and return its breakers.

        An endpoint is named by id or address, a port by name or number. `auto` for a whole service lets all
        of its endpoints go, too. NoSuchService, WhichNamespace, NoSuchPart or BoardFull if that cannot be.
        """
        one = self._named(service)
        ports = [each for each in one.ports if port in ("", each.name, str(each.port))]
        if not ports:
            names = ", ".join(f"{each.name or '-'} ({each.port})" for each in one.ports) or "none"
            raise NoSuchPart(f"{one.key} has no port {port} (it has: {names})")
        chosen = [(each, found.id) for each in ports for found in each.endpoints if _is(found, endpoint)]
        chosen = chosen if endpoint else [(each, WHOLE) for each in ports]
        if not chosen and word == "auto":
            # One that has left the catalog can still be let go.
            chosen = [
                (each, endpoint)
                for each in ports
                if endpoint in getattr(self._breakers.board.ports.get(_key(one, each)), "forced", {})
            ]
        if not chosen:
            raise NoSuchPart(_no_endpoint(one, ports, endpoint))
        for each, ident in chosen:
            self._breakers.force([_key(one, each)], [ident], None if word == "auto" else word)
        log.info("breaker forced", service=one.key, port=port, endpoint=endpoint, state=word)
        return self.listed(one.key)

    def gauges(self) -> list[Gauge]:
        """Return what is counted and measured of each service port that ever had an open breaker."""
        state = "Whether a service port is cut off by breakers: 0 no, 1 some of its endpoints, 2 all"
        blocked = "Endpoints of a service port that get no connections because a breaker is open"
        opens = "How often breakers of a service port opened"
        board, now = self._breakers.board, self._breakers.clock()
        found: list[Gauge] = []
        others = [0, 0]
        for number, (name, port) in enumerate(sorted(board.ports.items())):
            out = self._blocked(name, port, now)
            if number >= SERIES:
                others[0] += out
                others[1] += port.opens
                continue
            labels = {"service_port": name}
            level = _LEVELS[self._level(name, port, out)]
            found.append(Gauge("meshtrio_breaker_state", state, level, labels))
            found.append(Gauge("meshtrio_breaker_open_endpoints", blocked, out, labels))
            found.append(Gauge("meshtrio_breaker_opens_total", opens, port.opens, labels, grows=True))
        if len(board.ports) > SERIES:
            labels = {"service_port": "other"}
            found.append(Gauge("meshtrio_breaker_open_endpoints", blocked, others[0], labels))
            found.append(Gauge("meshtrio_breaker_opens_total", opens, others[1], labels, grows=True))
        passed_over = "Words of workers about breakers that were passed over"
        for why, count in (("absurd", board.absurd), ("full", board.dropped + self._breakers.untold)):
            labels = {"why": why}
            found.append(
                Gauge("meshtrio_breaker_words_ignored_total", passed_over, count, labels, grows=True)
            )
        return found

    def _named(self, service: str) -> Service:
        namespace, _, name = service.rpartition("/")
        return question.named(self._snapshot(), namespace, name)

    def _endpoints(self, name: str) -> dict[str, Endpoint]:
        key, _, port_name = name.rpartition(":")
        one = self._snapshot().service(key)
        ports = [each for each in one.ports if each.name == port_name] if one else []
        return {endpoint.id: endpoint for each in ports for endpoint in each.endpoints}

    def _blocked(self, name: str, port: Port, now: float) -> int:
        here = self._endpoints(name)
        if WHOLE in port.forced:
            return len(here) if port.forced[WHOLE] == "open" else 0
        known = {*port.stands, *port.forced} & here.keys()
        return sum(port.state(one, now) in _BLOCKING for one in known)

    def _level(self, name: str, port: Port, blocked: int) -> str:
        if port.forced.get(WHOLE) == "open" or (blocked and blocked == len(self._endpoints(name))):
            return "open"
        return "degraded" if blocked else "closed"

    def _rows(self, name: str, port: Port) -> list[dict[str, Any]]:
        now, here = self._breakers.clock(), self._endpoints(name)
        level = self._level(name, port, self._blocked(name, port, now))
        key, _, port_name = name.rpartition(":")
        namespace, _, service = key.partition("/")
        rows = []
        for ident in sorted({*port.stands, *port.forced}):
            stand, endpoint = port.stands.get(ident), here.get(ident)
            state = port.state(ident, now)
            rows.append(
                {
                    "namespace": namespace,
                    "service": service,
                    "port": port_name,
                    "port_state": level,
                    "endpoint": ident,
                    "address": str(endpoint.address) if endpoint else "",
                    "known": ident == WHOLE or endpoint is not None,
                    "state": state.value,
                    "forced": ident in port.forced,
                    "since_s": round(now - stand.since, 1) if stand else None,
                    "retry_in_s": round(stand.until - now, 1) if stand and state is State.OPEN else None,
                    "streak": stand.streak if stand else 0,
                }
            )
        return rows


def _key(one: Service, port: ServicePort) -> str:
    return f"{one.key}:{port.name}"


def _is(found: Endpoint, named: str) -> bool:
    return named in (found.id, str(found.address))


def _no_endpoint(one: Service, ports: list[ServicePort], named: str) -> str:
    addresses = sorted({str(found.address) for port in ports for found in port.endpoints})
    more = f" and {len(addresses) - 5} more" if len(addresses) > 5 else ""
    has = ", ".join(addresses[:5]) + more if addresses else "none"
    return f"{one.key} has no endpoint {named} (it has: {has}; `meshtrio endpoints {one.key}` lists them)"
