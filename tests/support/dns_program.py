"""Shell. The DNS server of tests/support/dns.py as a process: one JSON order a line.

python -m tests.support.dns_program 10.53.0.53 '{"www.example.com": "192.0.2.1"}'
"""

import json
import sys
from collections.abc import Mapping
from typing import Any

import trio

from tests.support.dns import Records, Zone, dns_server


def zone_of(addresses: Mapping[str, str]) -> Zone:
    """Make a zone of addresses by name."""
    return Zone({(name, "AAAA" if ":" in ip else "A"): Records(ip, ttl=5) for name, ip in addresses.items()})


async def main(host: str, addresses: Mapping[str, str]) -> None:
    zone = zone_of(addresses)
    async with dns_server(zone, host, 53):
        print("{}", flush=True)
        async for line in trio.wrap_file(sys.stdin):
            for name, ip in json.loads(line)["know"].items():
                zone[name, "A"] = Records(ip, ttl=5)
            said: dict[str, Any] = {"asked": zone.asked}
            print(json.dumps(said), flush=True)
            zone.asked.clear()


if __name__ == "__main__":
    trio.run(main, sys.argv[1], json.loads(sys.argv[2]))
