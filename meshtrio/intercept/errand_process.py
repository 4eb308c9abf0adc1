"""Shell. The process that does one errand: `python -m meshtrio.intercept.errand_process MODULE`. Does not
know what the errand is.

`import pyroute2.x` runs pyroute2/__init__.py first, and that imports all of its protocols, of which an errand
needs one: a third of what such a process costs (measured). So here the package is there, but not run.
"""

import gc
import importlib
import importlib.util
import sys
from types import ModuleType

from meshtrio.intercept.nft_errand import serve

_PACKAGE = "pyroute2"


def imported(name: str) -> ModuleType:
    """Import a module that needs parts of pyroute2, each by its full name, without running the whole of it.

    A pyroute2 whose parts need more of it is imported whole. For processes that do nothing else: the package
    stays bare.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or _PACKAGE in sys.modules:
        return importlib.import_module(name)
    before = set(sys.modules)
    sys.modules[_PACKAGE] = importlib.util.module_from_spec(spec)
    try:
        return importlib.import_module(name)
    except (ImportError, AttributeError):
        # Ours, too: they may hold parts of it.
        for new in set(sys.modules) - before:
            if new.partition(".")[0] in (_PACKAGE, "meshtrio"):
                del sys.modules[new]
        return importlib.import_module(name)


if __name__ == "__main__":
    gc.disable()  # a tenth of its time, and it ends before it has garbage
    child = imported(sys.argv[1])
    sys.exit(serve(child.ERRAND, child.act))
