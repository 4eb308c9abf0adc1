"""What `meshtrio check` says of sk_msg."""

import sys
from pathlib import Path

import msgspec
import pytest

from meshtrio.accelerate.hazards import Finding, Hazard
from meshtrio.accelerate.ladder import UNKNOWN
from meshtrio.cli.acceleration import acceleration, configured, ktls, records, told
from meshtrio.config.identity import Mtls
from meshtrio.config.schema import Config, Paths, Workload
from meshtrio.forward.sealed import NOT_IN_C


def test_hazards_and_rungs_in_words() -> None:
    wrong = {Hazard.COUNT: "0 with 400 native bytes waiting (IPv4, IPv6)"}
    said = {one.name: one for one in told(Finding(hazard, wrong.get(hazard, "")) for hazard in Hazard)}
    assert said["sk_msg: order"][1:3] == ("ok", "as with TCP alone")
    assert said["sk_msg: FIONREAD"][1:3] == ("note", wrong[Hazard.COUNT])
    assert said["R3 door to door"].state == "ok"
    assert said["R5 app to app, by sk_msg"][1:3] == ("note", "refused for FIONREAD")
    assert not [one for one in said.values() if one.state == "missing"]


async def test_a_machine_on_which_it_cannot_be_tried_lacks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    config = msgspec.structs.replace(Config(), paths=Paths(cache=str(tmp_path)))
    one, ktls, in_c, chosen = await acceleration(config)
    assert (one.name, one.state) == ("sk_msg", "note")
    assert one.says.startswith("not tried: ")
    assert (ktls.name, ktls.state) == ("kTLS", "note")
    assert (in_c.name, in_c.state) == ("TLS records", "note" if NOT_IN_C else "ok")
    assert chosen.says.startswith("r2 (rung_max: r5): r3 could not be tried: ")


def test_records_in_python_are_told_with_the_way_to_have_them_in_c() -> None:
    assert records("")[1:3] == ("ok", "read and written in C")
    told = records("the part in C was not built")
    assert told[1:3] == ("note", "read and written in Python, for the part in C was not built")
    assert "gcc libc6-dev libpython3.11-dev" in told.todo


def test_ktls_is_told_with_the_kernel_s_words() -> None:
    assert ktls("kernel has no tls ULP")[1:3] == ("note", "kernel has no tls ULP")
    assert ktls("").says == "kernel has the tls ULP; this version does not use it"


def test_who_asks_for_what_is_not_to_be_had_is_told_why() -> None:
    shops = tuple(Workload(name=wish, acceleration=wish) for wish in ("auto", "off", "r4", "r5"))
    chosen, *shops_said = configured(Config(rung_max="r4", workloads=shops), UNKNOWN)
    assert chosen[:3] == ("acceleration", "ok", f"r2 (rung_max: r4): {UNKNOWN['r3']}")
    assert [one[:3] for one in shops_said] == [
        ("workload r4", "note", f"accelerated as r2: {UNKNOWN['r4']}"),
        ("workload r5", "note", "accelerated as r2: r5 is asked for, and rung_max is r4"),
    ]
    granting = Config(mtls=Mtls(same_node="kernel"), workloads=shops[3:])
    assert [one[:3] for one in configured(granting, UNKNOWN)][1:] == [
        ("workload r5", "ok", "accelerated as r5")
    ]
