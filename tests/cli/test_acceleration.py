"""What `meshtrio check` says of sk_msg."""

import sys
from pathlib import Path

import msgspec
import pytest

from meshtrio.accelerate.hazards import Finding, Hazard
from meshtrio.cli.acceleration import acceleration, told
from meshtrio.config.schema import Config, Paths


def test_hazards_and_rungs_in_words() -> None:
    wrong = {Hazard.COUNT: "0 with 400 native bytes waiting (IPv4, IPv6)"}
    said = {one.name: one for one in told(Finding(hazard, wrong.get(hazard, "")) for hazard in Hazard)}
    assert said["sk_msg: order"][1:3] == ("ok", "as with TCP alone")
    assert said["sk_msg: FIONREAD"][1:3] == ("note", wrong[Hazard.COUNT])
    assert said["R3 door to door"].state == "ok"
    assert said["R5 app to app"][1:3] == ("note", "refused for FIONREAD")
    assert not [one for one in said.values() if one.state == "missing"]


async def test_a_machine_on_which_it_cannot_be_tried_lacks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    config = msgspec.structs.replace(Config(), paths=Paths(cache=str(tmp_path)))
    (one,) = await acceleration(config)
    assert (one.name, one.state) == ("sk_msg", "note")
    assert one.says.startswith("not tried: ")
