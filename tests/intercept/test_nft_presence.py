"""World. Whether a table is there is asked of the kernel, in the right namespace."""

import subprocess
import sys

import pytest

from meshtrio.intercept.netns import Netns
from meshtrio.intercept.nft_presence import is_there
from tests.support.namespace import Namespace
from tests.support.tree import TREE

pytestmark = pytest.mark.world


@pytest.mark.parametrize("name", ["meshtrio_a", "meshtrio_ab", "meshtrio_" + "x" * 200])
def test_a_table_is_there_or_not(name: str) -> None:
    with Namespace() as space, Namespace() as other:
        here, there = (Netns.at(f"/proc/self/task/{one.tid}/ns/net") for one in (space, other))
        assert not is_there(here, name)
        space.command("nft", "add", "table", "inet", name)
        assert is_there(here, name)
        assert not is_there(here, name[:-1])
        assert not is_there(there, name)
        space.command("nft", "add", "table", "ip", name + "4")
        assert not is_there(here, name + "4"), "that is another family"
        here.close()
        there.close()


def test_without_the_capability_it_is_an_error() -> None:
    text = (
        "from meshtrio.intercept.netns import Netns\n"
        "from meshtrio.intercept.nft_presence import is_there\n"
        "import os; here = Netns.current(); os.setuid(65534)\n"
        "try: is_there(here, 'meshtrio_a')\n"
        "except PermissionError as refused: print(refused)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, timeout=30, cwd=TREE, check=True
    )
    assert "Operation not permitted" in done.stdout
