"""Certificates of 30 seconds, for five minutes of load on both rungs at once: not one request fails.

What many days of long lives do: renewals by themselves, some that are asked for, and one
of the root.
"""

import contextlib
import os
import subprocess
import sys
import time

import pytest

from tests.e2e.conftest import RUNGS
from tests.support.fort import RSS_BOUND, Fort, fort_of, rss
from tests.support.world import ROOT, VIP

pytestmark = [pytest.mark.world, pytest.mark.soak]

LASTS_S = 300.0
LIFE_S = 30.0
ROTATED_EVERY_S = 35.0
EVERY_S = 0.1


def test_five_minutes_of_short_lives(tmp_path_factory: pytest.TempPathFactory) -> None:
    with contextlib.ExitStack() as stack:
        forts: list[Fort] = []
        for rung in RUNGS:
            folder = tmp_path_factory.mktemp(rung)
            # With the usual tolerance for clocks, whoever forgot to renew would be found out too late.
            short = {"directory": str(folder / "identity"), "life_s": LIFE_S, "skew_s": 1}
            forts.append(stack.enter_context(fort_of(rung, folder, **short)))
        for fort in forts:
            fort.client.app.tell("steady", name="new", host=VIP, port=80, every=EVERY_S)
            fort.client.app.tell("hold", name="old", host=VIP, port=80, every=EVERY_S)
        counts = dict.fromkeys(RUNGS, 0)
        began = rotated = time.monotonic()
        root_rotated = False
        while time.monotonic() < began + LASTS_S:
            time.sleep(5)
            for fort in forts:
                counts[fort.mesh.rung] += served(fort)
            if time.monotonic() > rotated + ROTATED_EVERY_S:
                rotated = time.monotonic()
                for fort in forts:
                    assert fort.mesh.ask("POST", "/v1/certs/rotate", {}, timeout_s=30).status == 200
            if not root_rotated and time.monotonic() > began + LASTS_S / 2:
                root_rotated = True
                for fort in forts:
                    assert "2 of 2 certificates replaced" in certs_rotate_root(fort)
        for fort in forts:
            held = fort.client.app.tell("held", name="old", end=True)
            assert (held["broke"], held["rounds"] > LASTS_S) == ("", True)
            counts[fort.mesh.rung] += served(fort, end=True)
            rows = fort.mesh.ask("GET", "/v1/certs").body["certificates"]
            print(fort.mesh.rung, counts, held, [(one["rotations"], one["failures"]) for one in rows])
            assert all(one["serves"] and one["rotations"] > LASTS_S / LIFE_S for one in rows), rows
            assert len(fort.mesh.ask("GET", "/v1/certs/bundle").body["keys"]) == 2
            assert fort.mesh.workers() == [fort.worker]
            assert rss(fort.worker) < RSS_BOUND
            assert "a bug of ours" not in fort.mesh.log()
        assert min(counts.values()) > LASTS_S / EVERY_S / 3


def served(fort: Fort, *, end: bool = False) -> int:
    """Count who was served since this was asked last. AssertionError if anybody was not."""
    seen = fort.client.app.tell("steadied", name="new", end=end)["seen"]
    assert {who for _, who, _ in seen} <= {"web"}, (fort.mesh.rung, seen, fort.mesh.ended()[:3])
    return len(seen)


def certs_rotate_root(fort: Fort) -> str:
    """Let another root sign, as an operator does."""
    words = ["certs", "rotate", "--root", "--control", str(fort.mesh.control)]
    command = [sys.executable, "-m", "meshtrio", *words]
    done = subprocess.run(
        command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
