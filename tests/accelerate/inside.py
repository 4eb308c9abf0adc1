"""Shell. Run a piece of Python in a lab; a process of its own, for a lab moves its process.

`python -m tests.accelerate.inside CGROUP PIECE` reads a compiled object from standard input. The piece sees
`lab`, and what it leaves in `answer` is written to standard output.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

from meshtrio.accelerate import probes
from meshtrio.accelerate.hazards import Hazard
from meshtrio.accelerate.lab import Lab
from meshtrio.accelerate.trial import find
from meshtrio.intercept import source
from meshtrio.intercept.object import CompiledObject
from tests.support.tree import TREE

TEXT = source.text_root() / "accelerate.c"
STUB = source.text_root() / "include" / "stub"


def compiled(text: str) -> bytes:
    """Compile a variant of the program, anew."""
    done = subprocess.run(
        [sys.executable, "-m", "meshtrio.intercept.compiler", str(STUB)],
        input=text.encode(),
        capture_output=True,
        check=False,
        cwd=TREE,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def run(group: Path, program: bytes, piece: str) -> Any:
    """Run the piece in a lab with that program, and return its answer."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.accelerate.inside", str(group), piece],
        input=program,
        capture_output=True,
        check=False,
        cwd=TREE,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr.decode()
    return msgspec.json.decode(done.stdout)


def main() -> None:
    """Be the child."""
    program = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=CompiledObject)
    names = {"lab": Lab.open(program, Path(sys.argv[1])), "probes": probes, "find": find, "Hazard": Hazard}
    exec(sys.argv[2], names)
    sys.stdout.buffer.write(msgspec.json.encode(names["answer"]))


if __name__ == "__main__":
    main()
