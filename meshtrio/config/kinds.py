"""Core. The kinds of values that settings have, each with the words that say what is wanted."""

import ipaddress
from typing import Annotated, Literal

from msgspec import Meta

from meshtrio.config.shape import Means

Path = Annotated[str, Meta(pattern=r"^/[^\x00]*\Z", description="an absolute path")]
OptionalPath = Annotated[
    str, Meta(pattern=r"^(/[^\x00]*)?\Z", description="an absolute path, or empty for none")
]
Port = Annotated[int, Meta(ge=1, le=65535, description="a port, 1 to 65535")]
Label = Annotated[
    str, Meta(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z", description="a DNS label, as in shop-2")
]
RungMax = Literal["r1", "r1d", "r2", "r3", "r4", "r5"]
Acceleration = Literal["auto", "off", "r4", "r5"]
Count = Annotated[int, Meta(ge=1, le=1_000_000, description="a count, 1 to 1000000")]
Ip = Annotated[str, Meta(description="an IP address, as in 10.0.0.1 or fd00::1"), Means(ipaddress.ip_address)]
Cidr = Annotated[
    str,
    Meta(description="a network, as in 10.0.0.0/8 or fd00::/8, with nothing behind its length"),
    Means(ipaddress.ip_network),
]
ServiceName = Annotated[
    str,
    Meta(
        pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(/[a-z0-9]([-a-z0-9]*[a-z0-9])?)?\Z",
        description="a service, as in orders or shop/orders",
    ),
]
