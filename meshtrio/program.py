"""Shell. How a program of ours starts another: the same Python, the same import path, nothing searched anew.

Not `python -m`, for two reasons. It puts the current directory before all others, and whoever may write there
would have code of theirs run by root. And `site` reads every .pth file before the first line: 20 to 45 ms of
CPU in an environment that sees the system's packages, as ours must for bcc (measured), on each agent, worker
and errand. Who starts a program has that behind it, and hands on what came of it.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

_ROOT = str(Path(__file__).resolve().parent.parent)


def command(module: str, *words: str, options: Sequence[str] = ()) -> list[str]:
    """Give the command that runs a module of ours with these arguments, as `python -m` would.

    It imports what we can import, from where we do. `options` are Python's own.
    """
    path = [entry for entry in sys.path if entry]
    if _ROOT not in path:  # an editable installation is found by a hook of site's, not by the path
        path.append(_ROOT)
    return [sys.executable, *options, "-S", "-P", __file__, os.pathsep.join(path), module, *words]


if __name__ == "__main__":
    import runpy
    import signal

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # Until the module says what ^C is to do it ends the process, without a trace of what was imported.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    path, module = sys.argv[1:3]
    sys.path[:] = path.split(os.pathsep)
    sys.argv[:] = [module, *sys.argv[3:]]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
