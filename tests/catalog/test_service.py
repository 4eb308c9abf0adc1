"""What an endpoint and a service say about themselves."""

import msgspec
import pytest

from meshtrio.address import Address
from meshtrio.catalog.service import Endpoint, Found, Health, Service, ServicePort

ONE = Endpoint("one", Address.of("10.0.0.1", 8080))
TWO = Endpoint("two", Address.of("10.0.0.1", 9090))
WEB = Service("web", "shop", ports=(ServicePort("http", 80, (ONE,)), ServicePort("admin", 81, (TWO,))))


def test_only_a_healthy_endpoint_that_stays_is_ready() -> None:
    assert ONE.ready
    assert not msgspec.structs.replace(ONE, draining=True).ready
    assert not msgspec.structs.replace(ONE, health=Health.UNHEALTHY).ready


def test_a_service_is_found_by_namespace_and_name() -> None:
    assert WEB.key == "shop/web"
    assert Service("web").key == "default/web"


def test_a_port_is_found_by_its_name() -> None:
    assert WEB.port_named("admin").port == 81
    with pytest.raises(KeyError):
        WEB.port_named("ftp")


def test_all_endpoints_come_in_the_order_of_the_ports() -> None:
    assert WEB.endpoints == (ONE, TWO)


def test_what_a_worker_is_sent_survives_the_channel() -> None:
    found = Found(WEB, WEB.ports[0], ONE)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(found), type=Found) == found


@pytest.mark.parametrize("kind", [Endpoint, ServicePort, Service, Found])
def test_nothing_here_can_be_edited(kind: type[msgspec.Struct]) -> None:
    assert kind.__struct_config__.frozen
