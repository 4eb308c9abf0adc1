"""Core. What the two sides of a connection do: the values. Does not know who draws them, nor sockets."""

import enum
from typing import NamedTuple


class End(enum.StrEnum):
    """How a side leaves, once it has sent all and heard enough."""

    FIN = "fin"  # shutdown(SHUT_WR), then listen until the other side ends
    CLOSE = "close"  # close() at once, with nothing unread unless the other side goes on talking
    RESET = "reset"  # SO_LINGER 0 and close(): RST
    UNREAD = "unread"  # close() with bytes in the receive queue: RST
    FIN_RESET = (
        "fin_reset"  # shutdown(SHUT_WR), wait until that is acknowledged, then RST amid the other's bytes
    )


class Kind(enum.StrEnum):
    """The plot of a connection."""

    DUPLEX = "duplex"
    REQUEST = "request"  # the client half-closes, then the server answers
    ANSWER_FIRST = "answer_first"  # the server half-closes, then the client sends
    TURNS = "turns"  # ping-pong
    ANSWER_AND_CLOSE = "answer_and_close"  # HTTP/1.0: the server closes behind its answer
    READ_AND_CLOSE = "read_and_close"
    FIRE_AND_FORGET = "fire_and_forget"
    CLIENT_RESETS = "client_resets"
    SERVER_RESETS = "server_resets"
    CLIENT_UNREAD = "client_unread"
    SERVER_UNREAD = "server_unread"
    CLIENT_WALKS = "client_walks"  # closes while the other side is talking
    SERVER_WALKS = "server_walks"
    CLIENT_FIN_RESET = "client_fin_reset"
    SERVER_FIN_RESET = "server_fin_reset"
    EMPTY = "empty"  # connect and close
    EMPTY_RESET = "empty_reset"  # connect and RST


SILENT = (Kind.EMPTY, Kind.EMPTY_RESET)


class Manner(NamedTuple):
    """How fast and in which cuts a side talks and listens; nothing that the other side must know."""

    cut_bytes: int = 1 << 20
    read_bytes: int = 1 << 18
    silence_s: float = 0.0
    write_pauses: int = 0
    read_pauses: int = 0
    pause_s: float = 0.0
    small_buffers: bool = False
    nodelay: bool = True


class Part(NamedTuple):
    """What one side does. Bytes are payload: neither the header nor the greeting counts."""

    sends: int
    hears: int
    end: End = End.FIN
    after: int = 0  # bytes to hear before the end
    waits_for_eof: bool = False  # says nothing before the other side has half-closed
    fin_after_eof: bool = False
    turns: int = 0  # 0: no turns, talk at once
    first: bool = True
    manner: Manner = Manner()

    def may_send(self, heard: int, *, eof: bool) -> int:
        """Give how many bytes it may have sent by now."""
        if self.waits_for_eof:
            return self.sends if eof else 0
        if not self.turns:
            return self.sends
        lead = 0 if self.first else 1
        turn = self.turns if heard >= self.hears else heard * self.turns // max(self.hears, 1)
        # Rounding may claim a turn too early or too late by one: ask the boundary itself.
        while turn < self.turns and heard >= self.hears * (turn + lead) // self.turns:
            turn += 1
        while turn > 0 and heard < self.hears * (turn - 1 + lead) // self.turns:
            turn -= 1
        return self.sends * turn // self.turns


class Script(NamedTuple):
    """Both parts of one connection."""

    number: int
    kind: Kind
    client: Part
    server: Part
    greeted: bool = False

    def told(self) -> str:
        """Say it in one line, for a finding."""
        plot = f"{self.kind} after a greeting" if self.greeted else str(self.kind)
        return f"{plot}; client {_told(self.client)}; server {_told(self.server)}"


def _told(part: Part) -> str:
    manner = part.manner
    words = [f"sends {part.sends} then {part.end}"]
    if part.after:
        words.append(f"after hearing {part.after}")
    if part.waits_for_eof:
        words.append("once it has EOF")
    if part.turns:
        words.append(f"in {part.turns} turns")
    if manner.pause_s:
        words.append(f"pauses {manner.write_pauses}w/{manner.read_pauses}r of {manner.pause_s:.2f} s")
    return ", ".join(words)
