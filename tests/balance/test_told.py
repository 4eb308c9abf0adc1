"""What workers tell of balancing is plain: it can be read without what made it."""

import subprocess
import sys

from tests.support.tree import TREE


def test_whoever_reads_it_needs_no_algorithm() -> None:
    code = "import sys, meshtrio.balance.told; print(*[m for m in sys.modules if m.startswith('meshtrio.')])"
    done = subprocess.run([sys.executable, "-c", code], cwd=TREE, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["meshtrio.balance", "meshtrio.balance.told"]
