"""Shell. Build step of the wheel: the C text of bpf/ goes with it, for it is compiled where it runs."""

import shutil
from pathlib import Path

from setuptools.command.build_py import build_py

TEXT = Path(__file__).resolve().parent.parent / "bpf"


class BuildPy(build_py):
    """As setuptools does it, and meshtrio/bpf/ beside. An editable install finds bpf/ where it is."""

    def run(self) -> None:
        """Build the package, with the text unless this is an editable install."""
        super().run()
        if not self.editable_mode:
            into = Path(self.build_lib) / "meshtrio/bpf"
            shutil.rmtree(into, ignore_errors=True)
            shutil.copytree(TEXT, into, ignore=shutil.ignore_patterns("tests", "*.md"))
