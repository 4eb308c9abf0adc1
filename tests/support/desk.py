"""Shell. An Upkeep without agent or workers: the files that it follows, and the words that it says.

Knows how to edit the files and to read what waits for a worker. Starts no worker.
"""

import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import trio
import yaml

from meshtrio.address import Address
from meshtrio.config.environ import named
from meshtrio.config.load import load
from meshtrio.upkeep import Setting, Upkeep

VIP = Address.of("10.96.0.10", 80)


class Desk:
    """An Upkeep, and the files that it follows."""

    def __init__(self, folder: Path, *, private: bool = False, follows: bool = True, **settings: Any) -> None:
        self.folder = folder
        self.catalog = folder / "services.yaml"
        self.config = folder / "meshtrio.yaml"
        self.settings: dict[str, Any] = {
            "rung": "nft",
            "workers": 2,
            "catalog": {"file": str(self.catalog)},
            "paths": {"control": str(folder / "control.sock"), "pins": str(folder), "cache": str(folder)},
            "discovery": {"registration": {"state": str(folder / "state.db")}},
            "identity": {"directory": str(folder / "identity")},
            **settings,
        }
        self.write_config()
        self.write_services("web")
        read = (lambda text: named(load(text, {}, {}))) if follows else None
        config = named(load(self.config.read_text(), {}, {}))
        self.setting = Setting(config=config, config_path=str(self.config), read_config=read, private=private)
        self.upkeep = Upkeep(self.setting, 3)
        self.parts = self.upkeep.parts

    def write_config(self, **settings: Any) -> None:
        self.settings.update(settings)
        self.write(self.config, yaml.safe_dump(self.settings))

    def write_services(self, *names: str, path: Path | None = None) -> None:
        services = [
            {
                "name": name,
                "vips": [VIP.host],
                "ports": [{"port": port}],
                "endpoints": [f"127.0.0.1:80{port}"],
            }
            for port, name in enumerate(names, 80)
        ]
        self.write(path or self.catalog, yaml.safe_dump({"services": services}))

    def write(self, path: Path, text: str) -> None:
        fresh = path.with_suffix(".fresh")
        fresh.write_text(text)
        fresh.rename(path)

    def services(self) -> list[str]:
        return [service.name for service in self.parts.publisher.snapshot]

    def said(self, kind: type) -> list[Any]:
        """Take the words of a kind that are waiting for the last worker."""
        seat = self.parts.fleet.seats[-1]
        return [message for message, _ in seat.waiting.values() if isinstance(message, kind)]


@contextlib.asynccontextmanager
async def following(desk: Desk) -> AsyncIterator[Desk]:
    """Follow both files until the block ends."""
    try:
        await desk.upkeep.open_kernel()
        async with trio.open_nursery() as nursery:
            with trio.fail_after(10):
                await nursery.start(desk.parts.sources.run)
            nursery.start_soon(desk.upkeep.follow_config)
            yield desk
            nursery.cancel_scope.cancel()
    finally:
        if desk.parts.kernel is not None:
            desk.parts.kernel.close()
        desk.parts.fleet.close()


async def eventually(true: Callable[[], object]) -> None:
    with trio.fail_after(3):
        while not true():
            await trio.sleep(0.01)


async def a_few_looks() -> None:
    await trio.sleep(0.15)
