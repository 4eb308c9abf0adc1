"""Shell. A process that probes and tells each change on a line, to be stopped and started by a test.

python -m tests.support.prober '{"timeout_s": 0.5, ...}' 127.0.0.1:8080 ...
"""

import json
import sys
from typing import Any

import trio

from meshtrio.address import Address
from meshtrio.catalog.merge import Merge
from meshtrio.catalog.service import Endpoint, Health, Service, ServicePort
from meshtrio.catalog.vips import Vips
from meshtrio.config.discovery import HealthCheck
from meshtrio.discover.hub import Hub
from meshtrio.discover.probes import Probes


class _Telling(Hub):
    def probed(self, key: str, address: Address, found: Health) -> None:
        print(address, found.value, flush=True)


async def _probe(check: dict[str, Any], texts: list[str]) -> None:
    hub = _Telling(Merge(Vips()), lambda snapshot: None)
    ends = tuple(Endpoint(text, Address.parse(text)) for text in texts)
    hub.sink("file").say({"default/web": Service("web", ports=(ServicePort("", 80, ends),))})
    hub.publish_now()
    checks = (HealthCheck("web", **check),)
    await Probes(hub, lambda: checks, lambda: ()).keep_probing()


if __name__ == "__main__":
    trio.run(_probe, json.loads(sys.argv[1]), sys.argv[2:])
