"""An errand imports the parts of pyroute2 that it needs; the whole only where they do not stand alone."""

import subprocess
import sys
from pathlib import Path

import pytest

CHILDREN = ("meshtrio.intercept.nft_child", "meshtrio.intercept.routing_child")


def python(code: str, *path: Path) -> str:
    """Run Python in a process of its own, which finds modules in these folders first."""
    begin = f"import sys; sys.path[:0] = {[str(one) for one in path]}\n"
    done = subprocess.run([sys.executable, "-c", begin + code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("child", CHILDREN)
def test_the_package_itself_and_trio_are_not_run(child: str) -> None:
    code = (
        f"from meshtrio.intercept.errand_process import imported\nimported({child!r})\n"
        "print(hasattr(sys.modules['pyroute2'], 'NDB'), 'pyroute2.ndb' in sys.modules, 'trio' in sys.modules)"
    )
    assert python(code) == "False False False"


@pytest.mark.parametrize("child", CHILDREN)
def test_a_child_needs_no_more_than_it_imports(child: str) -> None:
    """With the whole package there, the same child is the same: it names parts by their full names."""
    code = (
        "import pyroute2\nfrom meshtrio.intercept.errand_process import imported\n"
        f"print(imported({child!r}).__name__, hasattr(sys.modules['pyroute2'], 'NDB'))"
    )
    assert python(code) == f"{child} True"


@pytest.mark.parametrize("wanting", ["from pyroute2 import front", "import pyroute2; pyroute2.front"])
def test_a_part_that_needs_the_whole_gets_it(tmp_path: Path, wanting: str) -> None:
    package = tmp_path / "pyroute2"
    package.mkdir()
    (package / "__init__.py").write_text("front = 'whole'\n")
    (package / "part.py").write_text(f"{wanting}\n")
    (tmp_path / "some_child.py").write_text("import pyroute2.part, pyroute2\nfound = pyroute2.front\n")
    code = "from meshtrio.intercept.errand_process import imported\nprint(imported('some_child').found)"
    assert python(code, tmp_path) == "whole"


def test_a_missing_package_is_named(tmp_path: Path) -> None:
    """Where pyroute2 is not installed at all: the word of the one import that needed it."""
    (tmp_path / "some_child.py").write_text("import pyroute2.part\n")
    code = (
        "import importlib.util\n"
        "from meshtrio.intercept.errand_process import imported\n"
        "sys.path[:] = [one for one in sys.path if 'packages' not in one]\n"
        "try: imported('some_child')\nexcept ModuleNotFoundError as missing: print(missing.name)"
    )
    assert python(code, tmp_path) == "pyroute2"
