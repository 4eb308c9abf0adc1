"""Ring 4. A network that loses all: what is known stays, and soon after it heals the truth is known."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from tests.support.namespace import Namespace
from tests.support.tree import TREE


@pytest.mark.world
@pytest.mark.slow
@pytest.mark.parametrize(("lost_s", "noticed"), [(3, False), (10, True)])
def test_a_partition(tmp_path: Path, lost_s: float, noticed: bool) -> None:
    if not shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin:/bin"):
        pytest.skip("needs nft (Debian's nftables)")
    with Namespace() as apart:
        program = [sys.executable, "-m", "tests.support.kubernetes_partition", str(tmp_path), str(lost_s)]
        told = json.loads(apart.command("env", f"PYTHONPATH={TREE}", *program))
    # A short one goes unnoticed, and is nothing but a delay.
    assert told["kept"]
    assert told["noticed"] is noticed
    assert told["truth_s"] < 5, told
