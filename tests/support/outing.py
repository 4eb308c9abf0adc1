"""Shell. Put one command into a mesh of its own: the words that go before it, and the catalog behind them."""

import itertools
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

Address = tuple[str, int]

CACHE = Path(tempfile.gettempdir()) / "meshtrio-test-cache"
"""What test runs have compiled, so that only the first agent does; it is named by the text it was made of."""
VIP, VIP6 = "10.96.7.10", "fd00:96:7::10"
_numbers = itertools.count(1)


@contextmanager
def mesh_prefix(
    rung: str, routes: dict[Address, Address], *, inbound: Sequence[int] = (), workers: int = 0
) -> Iterator[list[str]]:
    """Give the words that run a command inside the mesh; `routes` are dialled address -> endpoint.

    Each use of the words is an outing of its own name, so several may run at once.
    """
    with tempfile.TemporaryDirectory(prefix="meshtrio-outing-") as folder:
        catalog, settings = Path(folder, "catalog.yaml"), Path(folder, "meshtrio.yaml")
        catalog.write_text(yaml.safe_dump({"services": services_of(routes)}))
        settings.write_text(
            yaml.safe_dump(
                {
                    "catalog": {"file": str(catalog)},
                    "paths": {"cache": str(CACHE), "control": f"{folder}/control.sock"},
                    "log": {"level": "warning", "format": "text"},
                }
            )
        )
        words = [sys.executable, "-m", "meshtrio", "exec", "--standalone", "--rung", rung]
        words += ["--config", str(settings), "--workers", str(workers)]
        yield [*words, "--name", f"outing-{os.getpid()}-{next(_numbers)}", "--"]


def services_of(routes: dict[Address, Address]) -> list[dict[str, Any]]:
    """Describe these for the catalog: dialled address -> endpoint."""
    return [
        {
            "name": f"service-{number}",
            "vips": [vip],
            "ports": [{"port": port}],
            "endpoints": [f"[{host}]:{to}" if ":" in host else f"{host}:{to}"],
        }
        for number, ((vip, port), (host, to)) in enumerate(routes.items())
    ]
