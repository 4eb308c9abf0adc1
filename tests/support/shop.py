"""Core. A small catalog with one service of each kind, for the tests of names and of the resolver."""

from meshtrio.address import Address
from meshtrio.catalog.service import Endpoint, Health, Service, ServicePort
from meshtrio.catalog.snapshot import Snapshot
from meshtrio.catalog.vips import addresses

VIP4, VIP6 = addresses(258)  # 240.240.1.2 and fd6d:6573:68::102


def endpoints(
    *places: str, health: Health = Health.HEALTHY, source: str = "", **more: str
) -> tuple[Endpoint, ...]:
    labels = tuple(sorted(more.items()))
    return tuple(
        Endpoint(place, Address.parse(place), health=health, labels=labels, source=source) for place in places
    )


SERVICES = (
    Service(
        "orders",
        "shop",
        vips=(VIP4, VIP6),
        ports=(ServicePort("http", 80, endpoints("10.0.0.1:8080")), ServicePort("", 81)),
    ),
    Service(
        "web", vips=(Address.of("10.96.0.10", 0).ip,), ports=(ServicePort("http", 80),), source="kubernetes"
    ),
    Service(
        "db",
        "shop",
        headless=True,
        ports=(
            ServicePort(
                "sql",
                5432,
                endpoints("10.0.1.1:15432", "10.0.1.2:5432", "[fd00::1]:5432")
                + endpoints("10.0.1.9:5432", health=Health.UNHEALTHY),
            ),
        ),
    ),
    Service(
        "many",
        headless=True,
        ports=(ServicePort("x", 9, endpoints(*(f"10.1.0.{n}:9" for n in range(1, 101)))),),
    ),
    Service(
        "cart",
        vips=addresses(7),
        ports=(
            ServicePort(
                "http",
                80,
                endpoints("10.2.0.1:80", v1="", Blue="", zone="z", source="consul")
                + endpoints("10.2.0.2:80", v2="", source="consul"),
            ),
        ),
    ),
    Service("paying", "shop", external="api.example.com"),
    Service("mirror", "shop", external="orders.shop.mesh"),
    Service("ring", "shop", external="ring.shop.mesh"),
    Service("twisted", "shop", external="a..b"),
    Service("example", "com", vips=addresses(9), ports=(ServicePort("http", 80),)),
)

SHOP = Snapshot().with_services(SERVICES)
