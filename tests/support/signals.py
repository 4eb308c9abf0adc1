"""Shell. Which signals this process was told to ignore by whoever started it: its children inherit that."""

import signal
from pathlib import Path

PYTHONS_OWN = (signal.SIGPIPE, signal.SIGXFSZ)
"""What Python itself ignores, and restores in children."""


def ignored_by_inheritance() -> int:
    """Return the mask of ignored signals as /proc has it, without Python's own.

    Not zero everywhere: some starters leave the C library's signals 32 and 33 ignored (posix_spawn(3)).
    """
    status = Path("/proc/self/status").read_text()
    mask = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigIgn:"))
    for own in PYTHONS_OWN:
        mask &= ~(1 << (own - 1))
    return mask
