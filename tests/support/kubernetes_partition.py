"""Shell. A program: follow a server over a network that loses everything for a while, and tell how that went.

To be run in a network namespace of its own: its firewall is changed. With the real times, no quick ones.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import trio

from meshtrio.catalog.stream import State
from meshtrio.discover.kubernetes import PACE
from tests.support.kubernetes import ApiServer
from tests.support.kubernetes_objects import service, slice_of
from tests.support.kubernetes_side import following, kubeconfig

DROP = "table inet partition { chain input { type filter hook input priority 0; policy drop; }; }"


def nft(text: str) -> None:
    """Change the firewall of this namespace."""
    subprocess.run(["nft", text], check=True)


async def main(folder: Path, lost_s: float) -> dict[str, object]:
    """Lose everything for so long. Says what was noticed meanwhile, and when the truth was known after it."""
    with ApiServer() as api:
        api.store.put("services", service("orders"))
        api.store.put("endpointslices", slice_of("orders", ["10.1.0.1"]))
        async with following(kubeconfig(folder / "config", api.url), PACE) as follow:
            await follow.until(lambda: follow.ips() == {"10.1.0.1"} and api.watching == 4)
            nft(DROP)
            api.store.put("endpointslices", slice_of("orders", ["10.1.0.2"]))
            await trio.sleep(lost_s)
            stream = follow.streams["services"]
            noticed = stream.state is State.RETRYING
            kept = follow.ips() == {"10.1.0.1"}
            nft("delete table inet partition")
            healed = time.perf_counter()
            await follow.until(lambda: follow.ips() == {"10.1.0.2"}, 60)
            return {"noticed": noticed, "kept": kept, "truth_s": time.perf_counter() - healed}


if __name__ == "__main__":
    print(json.dumps(trio.run(main, Path(sys.argv[1]), float(sys.argv[2]))))
