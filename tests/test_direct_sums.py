"""Core. The numbers of direct services and connections, as metrics."""

from meshtrio.direct_sums import gauges
from meshtrio.observe.exposition import exposition
from meshtrio.observe.sums import Sums

DIRECT = {"services": 1, "active": 2, "connections": 3, "failed": 4, "no_room": 5, "grants": 6}
UDP = {"services": 7, "flows": 8, "no_room": 9}


def test_each_number_has_its_gauge() -> None:
    """Connections that have ended are counted with all others, and so have none."""
    assert {one.name: one.value for one in gauges(DIRECT, UDP)} == {
        "meshtrio_direct_services": 1,
        "meshtrio_direct_active": 2,
        "meshtrio_direct_no_room": 5,
        "meshtrio_direct_grants": 6,
        "meshtrio_udp_services": 7,
        "meshtrio_udp_flows": 8,
        "meshtrio_udp_no_room": 9,
    }


def test_they_go_up_and_down_and_say_what_they_are() -> None:
    made = gauges(DIRECT, UDP)
    assert not any(one.grows or one.labels for one in made)
    assert len({one.help for one in made}) == len(made)
    text = exposition(Sums(), made, {}).decode()
    for one in made:
        assert f"# TYPE {one.name} gauge\n{one.name} {float(one.value)}\n" in text
        assert f"# HELP {one.name} {one.help}\n" in text
