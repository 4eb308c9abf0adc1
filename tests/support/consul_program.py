"""Shell. The Consul agent of tests/support/consul.py under a process of its own: one JSON order a line.

So it lives in the namespace of this process, and is nobody's child in the process of the tests, who may kill
it and start it again. It ends with this process, which ends with its standard input.

    python -m tests.support.consul_program FOLDER '{"token": "...", "config": {...}}'
"""

import json
import sys
from pathlib import Path
from typing import Any

import trio

from tests.support.consul import Agent, agent


async def register(consul: Agent, name: str, ip: str, port: int) -> None:
    """Register an instance under its address, with a check that passes."""
    await consul.register(name, id=ip, Address=ip, port=port)
    # A check that nobody has marked yet is critical after a restart.
    await consul.mark(ip, "pass")


async def main(folder: Path, words: dict[str, Any]) -> None:
    async with agent(folder, lasting=True, config=words["config"], token=words["token"]) as consul:
        print(json.dumps({"address": consul.address}), flush=True)
        async for line in trio.wrap_file(sys.stdin):
            order = json.loads(line)
            do = order.pop("do")
            await (register(consul, **order) if do == "register" else getattr(consul, do)(**order))
            print("{}", flush=True)


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]), json.loads(sys.argv[2]))
