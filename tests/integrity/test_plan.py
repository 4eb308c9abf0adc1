"""Core. The scripts: the same on both sides, of the size asked for, and none waits for ever."""

from tests.integrity.plan import LARGEST_BYTES, WEIGHTS, Plan
from tests.integrity.script import SILENT, End, Part, Script


def plan(seed: int = 3, connections: int = 1000, total_bytes: int = 100_000_000) -> Plan:
    return Plan(seed=seed, connections=connections, total_bytes=total_bytes, greeting=True)


def test_both_sides_draw_the_same() -> None:
    one, other = plan(), plan()
    assert [one.script(number) for number in (5, 900)] == [other.script(number) for number in (5, 900)]
    assert one.script(5) != plan(seed=4).script(5)


def test_every_kind_is_there_and_total_is_kept() -> None:
    scripts = [plan_.script(number) for plan_ in [plan()] for number in range(1000)]
    assert {script.kind for script in scripts} == set(WEIGHTS)
    orderly = (End.FIN, End.CLOSE)
    whole = sum(
        one.client.sends + one.server.sends
        for one in scripts
        if one.client.end in orderly and one.server.end in orderly and one.kind in list(WEIGHTS)[:6]
    )
    assert 99_000_000 < whole < 103_000_000


def test_no_size_is_beyond_the_largest() -> None:
    assert plan(connections=3, total_bytes=10**12).largest_bytes <= LARGEST_BYTES


def test_no_script_waits_for_ever() -> None:
    drawn = plan()
    for number in range(1000):
        script = drawn.script(number)
        if script.kind not in SILENT:
            assert _ends(script), script.told()


def test_turns_alternate() -> None:
    client = Part(sends=10, hears=4, turns=2)
    server = Part(sends=4, hears=10, turns=2, first=False)
    assert [client.may_send(heard, eof=False) for heard in (0, 1, 2, 4)] == [5, 5, 10, 10]
    assert [server.may_send(heard, eof=False) for heard in (0, 4, 5, 9, 10)] == [0, 0, 2, 2, 4]


def _ends(script: Script) -> bool:
    """Play with endless buffers: at each step one side says all it may."""
    sent, gone, half_closed = [0, 0], [False, False], [False, False]
    parts = (script.client, script.server)
    for _ in range(200):
        before = (*sent, *gone, *half_closed)
        for me, other in ((0, 1), (1, 0)):
            part = parts[me]
            eof = half_closed[other] or gone[other]
            sent[me] = max(sent[me], part.may_send(sent[other], eof=eof))
            if sent[me] < part.sends:
                continue
            if part.end in (End.FIN, End.FIN_RESET) and (eof or not part.fin_after_eof):
                half_closed[me] = True
            if part.end is End.FIN:
                gone[me] = half_closed[me] and eof
            elif sent[other] >= part.after + (part.end is End.UNREAD):
                gone[me] = True
        if all(gone):
            return True
        if before == (*sent, *gone, *half_closed):
            return False
    return False
