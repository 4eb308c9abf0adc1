"""The wheel holds all that runs, also the C text of bpf/: where it is installed there is no checkout."""

import shutil
import subprocess
import sys
import zipfile
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

from meshtrio.forward.sealed import NOT_IN_C

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("pyproject.toml", "README.md", "LICENSE", "MANIFEST.in", "meshtrio", "bpf", "tools")


def test_the_wheel_holds_the_package_and_the_c_text(tmp_path: Path) -> None:
    tree = tmp_path / "tree"  # a copy, for the build leaves its own folders there, and takes up what it finds
    tree.mkdir()
    for part in PARTS:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, tree / part)
    words: list[str | Path] = [
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "-w",
        tmp_path,
        tree,
    ]
    made = subprocess.run([sys.executable, "-m", "pip", *words], capture_output=True, text=True)
    assert made.returncode == 0, made.stdout + made.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        held = {name for name in opened.namelist() if ".dist-info/" not in name}
    text = [ROOT / "bpf" / name for name in ("*.c", "include/**/*.h")]
    wanted = {
        f"meshtrio/{one.relative_to(ROOT)}" for glob in text for one in ROOT.glob(str(glob.relative_to(ROOT)))
    }
    wanted |= {
        str(one.relative_to(ROOT)) for one in ROOT.glob("meshtrio/**/*.py*") if one.suffix in (".py", ".pyi")
    }
    in_c = f"meshtrio/forward/records{EXTENSION_SUFFIXES[0]}"
    assert in_c in held or NOT_IN_C
    wanted |= held & {in_c}
    assert held == wanted
