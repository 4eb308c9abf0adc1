"""Workloads on the screen."""

from typing import Any

import pytest

from meshtrio.cli.workload_rows import note_unmet, show_workloads

ONE = dict.fromkeys(("netns", "cgroup", "on_agent_loss", "source_address"), "x")
ONE |= {"name": "shop", "rung": "ebpf", "why": "", "outbound_port": "1", "inbound_port": "2", "pid": ""}


def test_what_a_workload_has_to_do_without(capsys: pytest.CaptureFixture[str]) -> None:
    one = dict.fromkeys(("netns", "cgroup", "on_agent_loss", "source_address"), "x")
    one |= {"name": "shop", "rung": "nft", "why": "no\nhooks", "why_no_dns": "no\nname hooks"}
    show_workloads([{**one, "outbound_port": 1, "inbound_port": 2, "pid": 0}])
    said = capsys.readouterr().out.splitlines()
    assert said[-2:] == ["shop is on nft: no hooks", "shop has no DNS capture: no name hooks"]
    show_workloads([{**one, "outbound_port": 1, "inbound_port": 2, "pid": 0, "lost": "its cgroup has gone"}])
    assert "shop has lost its place: its cgroup has gone\n" in capsys.readouterr().out
    older: dict[str, Any] = {**one, "outbound_port": 1, "inbound_port": 2, "pid": 0, "why": ""}
    del older["why_no_dns"]
    show_workloads([older])
    assert "DNS" not in capsys.readouterr().out


def test_what_cannot_be_had_is_noted_for_who_asked(capsys: pytest.CaptureFixture[str]) -> None:
    told = {"accelerated": "r2", "why_no_faster": "because"}
    for wish in ("auto", "off"):
        note_unmet({**told, "acceleration": wish})
    note_unmet({"rung": "ebpf"})  # an older agent does not say it
    assert capsys.readouterr() == ("", "")
    note_unmet({**told, "acceleration": "r4"})
    assert capsys.readouterr() == ("", "meshtrio: accelerated as r2: because\n")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("auto", ""),
        ("off", "shop is accelerated as r1: because"),
        ("r4", "shop is accelerated as r1: because"),
    ],
)
def test_why_a_wish_is_not_met_is_said_of_who_has_one(
    asked: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    show_workloads([{**ONE, "acceleration": asked, "accelerated": "r1", "why_no_faster": "because"}])
    head, row, *more = capsys.readouterr().out.splitlines()[1:]
    assert row.split()[head.split().index("RUNG") : head.split().index("NETNS")] == ["ebpf", "r1"]
    assert more == ([said] if said else [])
