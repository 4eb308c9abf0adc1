"""Core. Compare what both sides saw with the script: every byte, and every end.

What TCP promises, and so what whoever stands in between must keep:
- what arrives is a prefix of what was sent, byte for byte;
- a side that half-closed or closed in order is heard to its last byte, then EOF, also if it resets later:
  what was acknowledged is in the queue, and no reset empties that;
- a side that reset (SO_LINGER 0, or close with unread bytes) is heard as any prefix, then a reset, never EOF;
- a side that closed while the other was still talking is heard whole then EOF, or as a prefix then a reset:
  whether bytes lay unread at that moment is luck;
- who leaves first hears no end.
"""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from tests.integrity.plan import Plan
from tests.integrity.record import Record, greeting_ends
from tests.integrity.script import End, Kind, Part, Script


class Finding(NamedTuple):
    """One thing that is not as it is without anyone in between."""

    number: int
    what: str  # one word of a closed list, for tests: see judge()
    detail: str
    script: str

    def __str__(self) -> str:
        who = f"connection {self.number}" if self.number >= 0 else "run"
        return f"{who}: {self.what}: {self.detail}" + (f" | {self.script}" if self.script else "")


def judge(
    plan: Plan, clients: Iterable[Record], servers: Iterable[Record], *, numbers: Iterable[int]
) -> list[Finding]:
    """Give all findings of a run; none means: as if nobody stood in between.

    The words: `bytes` (wrong, invented), `short`, `end`, `hang`, `connect`, `unseen`, `twice`, `stranger`.
    """
    findings: list[Finding] = []
    heard_by_client = {record.number: record for record in clients}
    known: dict[int, Record] = {}
    nameless: list[Record] = []
    greeted: dict[int, Record] = {}
    for record in servers:
        if record.greeting >= 0:
            greeted[record.greeting] = record
        if record.number < 0:
            nameless.append(record)
        elif record.number in known:
            findings.append(Finding(record.number, "twice", "the server got this connection again", ""))
        else:
            known[record.number] = record
    excused: Counter[str] = Counter()
    for number in numbers:
        script = plan.script(number)
        client = heard_by_client.get(number)
        if client is None:
            findings.append(Finding(number, "unseen", "no record from the client", script.told()))
        elif client.greeting >= 0 and greeting_ends(client.greeting):
            findings += _of_daytime(script, client, greeted.get(client.greeting))
        else:
            findings += _of_connection(script, client, known.pop(number, None), excused)
    findings += [Finding(number, "stranger", "nobody dialled it", "") for number in known]
    return findings + _of_nameless(nameless, excused)


def _of_connection(
    script: Script, client: Record, server: Record | None, excused: Counter[str]
) -> list[Finding]:
    if client.ended.startswith("connect"):
        return [Finding(script.number, "connect", client.ended, script.told())]
    if script.kind is Kind.EMPTY:
        excused["eof"] += 1
        return []
    if script.kind is Kind.EMPTY_RESET:
        excused["reset"] += 1
        return []
    found = _of_direction(script.server, script.client, client, name="client")
    if server is not None:
        found += _of_direction(script.client, script.server, server, name="server")
    elif script.client.end in (End.RESET, End.UNREAD) and client.heard == 0:
        excused["reset"] += 1  # a reset may overtake everything, the header too
    else:
        found.append(("unseen", "the server never got it"))
    return [Finding(script.number, what, detail, script.told()) for what, detail in found]


def _of_direction(speaker: Part, listener: Part, seen: Record, *, name: str) -> list[tuple[str, str]]:
    """Judge what this listener heard of this speaker."""
    found = []
    if seen.wrong:
        found.append(("bytes", f"{name}: {seen.wrong}"))
    if seen.ended == "hang":
        found.append(("hang", f"{name} waits; sent {seen.sent}, heard {seen.heard} of {speaker.sends}"))
    elif seen.ended == "left":
        if seen.heard < listener.after:
            found.append(("short", f"{name} left before its time"))
    elif seen.ended not in ("eof", "reset"):
        found.append(("end", f"{name}: {seen.ended}"))
    else:
        found += _of_end(speaker, listener, seen, name)
    return found


def _of_end(speaker: Part, listener: Part, seen: Record, name: str) -> list[tuple[str, str]]:
    told = f"{name} heard {seen.heard} of {speaker.sends}, then {seen.ended}"
    may_reset = speaker.end in (End.RESET, End.UNREAD)
    must_reset = may_reset
    if speaker.end is End.CLOSE:
        # It hears all the other says, or the other says nothing before EOF: then nothing can lie unread.
        may_reset = speaker.after < listener.sends and not listener.waits_for_eof
    if seen.ended == "reset":
        return [] if may_reset else [("end", f"{told}; want all, then eof")]
    if must_reset:
        return [("end", f"{told}; want a reset")]
    return [] if seen.heard == speaker.sends else [("short", f"{told}; want all")]


def _of_daytime(script: Script, client: Record, server: Record | None) -> list[Finding]:
    """Judge a greeting that is the whole connection: the client hears it, then EOF, and goes."""
    found = []
    if client.wrong:
        found.append(("bytes", f"greeting {client.greeting}: {client.wrong}"))
    if client.ended != "eof" or not client.done:
        found.append(("end", f"client after greeting {client.greeting}: {client.ended}; want eof"))
    if server is None:
        found.append(("stranger", f"no server sent greeting {client.greeting}"))
    elif server.ended != "eof":
        found.append(("end", f"server after greeting {client.greeting}: {server.ended}; want eof"))
    return [Finding(script.number, what, detail, script.told()) for what, detail in found]


def _of_nameless(nameless: list[Record], excused: Counter[str]) -> list[Finding]:
    """Judge what reached the server without a whole header."""
    findings = []
    ends = Counter(record.ended for record in nameless if not greeting_ends_of(record))
    if ends["eof"] != excused["eof"]:
        what = "unseen" if ends["eof"] < excused["eof"] else "stranger"
        detail = f"the server saw {ends['eof']} connections end without a header, want {excused['eof']}"
        findings.append(Finding(-1, what, detail, ""))
    if ends["reset"] > excused["reset"]:
        detail = f"the server saw {ends['reset']} resets before a header, want at most {excused['reset']}"
        findings.append(Finding(-1, "stranger", detail, ""))
    others = [end for end in ends.elements() if end not in ("eof", "reset")]
    findings += [Finding(-1, "hang" if end == "hang" else "stranger", f"server: {end}", "") for end in others]
    return findings


def greeting_ends_of(record: Record) -> bool:
    """Say whether this connection was one whose greeting is all of it."""
    return record.greeting >= 0 and greeting_ends(record.greeting)
