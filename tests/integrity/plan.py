"""Core. Draw the scripts of a run from its seed: the same on both sides, whatever the order of connections.

Sizes are log-uniform with a share of awkward ones (0, 1, a page and one byte more). The largest size is
chosen so that the bytes that must arrive whole add up to what was asked for.
"""

import random
from functools import cached_property
from typing import NamedTuple

from tests.integrity.script import SILENT, End, Kind, Manner, Part, Script

LARGEST_BYTES = 64 << 20
AWKWARD_BYTES = (0, 0, 0, 1, 2, 1447, 4095, 4096, 4097, 16384, 16385, 65535, 65536, 65537, 131073)
WEIGHTS = {
    Kind.DUPLEX: 20,
    Kind.REQUEST: 14,
    Kind.ANSWER_FIRST: 9,
    Kind.TURNS: 12,
    Kind.ANSWER_AND_CLOSE: 8,
    Kind.READ_AND_CLOSE: 6,
    Kind.FIRE_AND_FORGET: 6,
    Kind.CLIENT_RESETS: 6,
    Kind.SERVER_RESETS: 6,
    Kind.CLIENT_UNREAD: 3,
    Kind.SERVER_UNREAD: 3,
    Kind.CLIENT_WALKS: 3,
    Kind.SERVER_WALKS: 3,
    Kind.CLIENT_FIN_RESET: 2,
    Kind.SERVER_FIN_RESET: 2,
    Kind.EMPTY: 3,
    Kind.EMPTY_RESET: 1,
}


class Draw(NamedTuple):
    """What luck said about one connection, before sizes are scaled."""

    kind: Kind
    up: float
    down: float
    awkward: tuple[int | None, int | None]


class Plan:
    """The scripts of one run."""

    def __init__(
        self,
        *,
        seed: int,
        connections: int,
        total_bytes: int,
        longest_pause_s: float = 0.4,
        greeting: bool = False,
    ) -> None:
        self.seed = seed
        self.connections = connections
        self.total_bytes = total_bytes
        self.longest_pause_s = longest_pause_s
        self.greeting = greeting

    @cached_property
    def largest_bytes(self) -> float:
        """Give the largest size of this run, at most 64 MiB."""
        draws = [self._draw(number) for number in range(self.connections)]
        low, high = 1.0, float(LARGEST_BYTES)
        for _ in range(50):
            middle = (low * high) ** 0.5
            total = sum(sum(_sizes(draw, middle)) for draw in draws if draw.kind in _WHOLE)
            low, high = (middle, high) if total < self.total_bytes else (low, middle)
        return high

    def script(self, number: int) -> Script:
        """Give the script of one connection."""
        draw = self._draw(number)
        luck = self.luck(number, "parts")
        up, down = _sizes(draw, self.largest_bytes)
        client, server = _parts(draw.kind, up, down, luck)
        greeted = self.greeting and draw.kind not in SILENT and luck.random() < 0.1
        client = client._replace(
            manner=self._manner(client, luck, silent=not greeted, slow=draw.kind is Kind.SERVER_FIN_RESET)
        )
        server = server._replace(
            manner=self._manner(server, luck, silent=False, slow=draw.kind is Kind.CLIENT_FIN_RESET)
        )
        return Script(number=number, kind=draw.kind, client=client, server=server, greeted=greeted)

    def _draw(self, number: int) -> Draw:
        luck = self.luck(number, "draw")
        kind = luck.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        up, down = luck.random(), luck.random()
        awkward = [luck.choice(AWKWARD_BYTES) if luck.random() < 0.12 else None for _ in range(2)]
        return Draw(kind, up, down, (awkward[0], awkward[1]))

    def luck(self, number: int, name: str) -> random.Random:
        """Give the luck of one connection in one matter."""
        return random.Random(f"{self.seed}/{number}/{name}")

    def _manner(self, part: Part, luck: random.Random, *, silent: bool, slow: bool) -> Manner:
        writes, reads = luck.choice((20, 200, 2000)), luck.choice((50, 500, 4000))
        pauses = luck.choice((1, 1, 3, 20)) if luck.random() < 0.25 else 0
        slow_writer = luck.random() < 0.5
        if slow:
            pauses, slow_writer = 3, False
        return Manner(
            # A floor under the cuts: 64 MiB byte by byte would take minutes and prove nothing more.
            cut_bytes=max(int((1 << 20) ** luck.random()), 2 * part.sends // writes, 1),
            read_bytes=min(max(int((1 << 18) ** luck.random()), part.hears // reads, 1), 1 << 18),
            silence_s=luck.uniform(0.03, 0.3) if silent and luck.random() < 0.06 else 0.0,
            write_pauses=pauses if slow_writer else 0,
            read_pauses=0 if slow_writer else pauses,
            pause_s=luck.uniform(0.2, 1.0) * self.longest_pause_s / pauses if pauses else 0.0,
            # A small send buffer makes 2 MB/s of loopback: not for the large ones.
            small_buffers=luck.random() < 0.25 and part.sends + part.hears < 1 << 20,
            nodelay=luck.random() < 0.8,
        )


# What must arrive whole in both directions, and so counts towards the total.
_WHOLE = (
    Kind.DUPLEX,
    Kind.REQUEST,
    Kind.ANSWER_FIRST,
    Kind.TURNS,
    Kind.ANSWER_AND_CLOSE,
    Kind.READ_AND_CLOSE,
)

# Who talks on to one that has left must be told, not stopped by full buffers: so it has more than they hold.
_TOO_MUCH = 24 << 20
_A_LOT = 4 << 20  # more than fits between a slow listener and a reset behind it
_MORE = {
    Kind.CLIENT_UNREAD: (0, 2),
    Kind.SERVER_UNREAD: (2, 0),
    Kind.FIRE_AND_FORGET: (0, _TOO_MUCH),
    Kind.CLIENT_FIN_RESET: (_A_LOT, _TOO_MUCH),
    Kind.SERVER_FIN_RESET: (_TOO_MUCH, _A_LOT),
}


def _sizes(draw: Draw, largest_bytes: float) -> tuple[int, int]:
    drawn = [int(largest_bytes**luck) for luck in (draw.up, draw.down)]
    up, down = (size if odd is None else odd for size, odd in zip(drawn, draw.awkward, strict=True))
    return up, down


def _parts(kind: Kind, up: int, down: int, luck: random.Random) -> tuple[Part, Part]:
    """Give the parts of client and server. Neither ever waits for what the other will not do."""
    client, server = Part(up, down), Part(down, up, first=False)
    some = luck.choice((0, luck.random(), 1.0))  # how much of the other's bytes is heard before leaving
    more = _MORE.get(kind, (0, 0))
    client = client._replace(sends=up + more[0], hears=down + more[1])
    server = server._replace(sends=down + more[1], hears=up + more[0])
    part_of_down, part_of_up = int(client.hears * some), int(server.hears * some)
    match kind:
        case Kind.DUPLEX:
            pass
        case Kind.REQUEST:
            server = server._replace(waits_for_eof=True)
        case Kind.ANSWER_FIRST:
            client = client._replace(waits_for_eof=True)
        case Kind.TURNS:
            turns = luck.choice((1, 2, 10, 40))
            client, server = client._replace(turns=turns), server._replace(turns=turns)
        case Kind.ANSWER_AND_CLOSE:
            client = client._replace(fin_after_eof=True)
            server = server._replace(turns=1, end=End.CLOSE, after=up)
        case Kind.READ_AND_CLOSE:
            client = client._replace(end=End.CLOSE, after=down)
            server = server._replace(fin_after_eof=True)
        case Kind.FIRE_AND_FORGET:
            client = client._replace(end=End.CLOSE)
            server = server._replace(waits_for_eof=True)
        case Kind.CLIENT_RESETS:
            client = client._replace(end=End.RESET, after=part_of_down)
        case Kind.SERVER_RESETS:
            server = server._replace(end=End.RESET, after=part_of_up)
        case Kind.CLIENT_WALKS:
            client = client._replace(end=End.CLOSE, after=part_of_down)
        case Kind.SERVER_WALKS:
            server = server._replace(end=End.CLOSE, after=part_of_up)
        case Kind.CLIENT_UNREAD:
            client = client._replace(end=End.UNREAD, after=min(part_of_down, client.hears - 1))
        case Kind.SERVER_UNREAD:
            server = server._replace(end=End.UNREAD, after=min(part_of_up, server.hears - 1))
        case Kind.CLIENT_FIN_RESET:
            client = client._replace(end=End.FIN_RESET, after=max(min(part_of_down, down), 1))
            server = server._replace(waits_for_eof=luck.random() < 0.5)
        case Kind.SERVER_FIN_RESET:
            server = server._replace(end=End.FIN_RESET, after=max(min(part_of_up, up), 1))
            client = client._replace(waits_for_eof=luck.random() < 0.5)
        case Kind.EMPTY:
            client = Part(0, 0, end=End.CLOSE)
        case Kind.EMPTY_RESET:
            client = Part(0, 0, end=End.RESET)
    return client, server
