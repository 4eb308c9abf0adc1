"""What can be said about sources, names and health checks, and what is wrong with the rest."""

from typing import Any

import pytest
import yaml

from meshtrio.config.discovery import Consul, DnsService, HealthCheck, Kubernetes
from meshtrio.config.load import ConfigFaults, load
from meshtrio.config.schema import Config


def read(**settings: Any) -> Config:
    return load(yaml.safe_dump(settings), {}, {})


def faults(**settings: Any) -> list[str]:
    with pytest.raises(ConfigFaults) as wrong:
        read(**settings)
    return [str(fault) for fault in wrong.value.faults]


def test_everything_is_off_but_names() -> None:
    config = Config()
    assert (config.discovery.kubernetes, config.discovery.consul) == (Kubernetes(), Consul())
    assert not config.discovery.kubernetes.enabled
    assert (config.discovery.consul.address, config.discovery.dns, config.health_checks) == ("", (), ())
    assert config.dns.capture
    assert (config.dns.ttl_s, config.dns.negative_ttl_s) == (30, 5)


def test_a_long_configuration_is_read() -> None:
    config = read(
        discovery={
            "kubernetes": {"enabled": True, "namespaces": ["shop", "till"]},
            "consul": {"address": "https://consul.example:8501", "token_file": "/run/token"},
            "dns": [{"name": "db", "host": "_postgres._tcp.example.com"}],
        },
        health_checks=[{"service": "shop/orders", "type": "http", "status": [200, 204]}],
    )
    assert config.discovery.kubernetes.namespaces == ("shop", "till")
    assert config.discovery.dns == (DnsService("db", "_postgres._tcp.example.com"),)
    assert config.health_checks == (HealthCheck("shop/orders", "http", status=(200, 204)),)
    check = config.health_checks[0]
    assert (check.interval_s, check.timeout_s, check.rise, check.fall) == (10.0, 2.0, 2, 3)


@pytest.mark.parametrize(
    "address",
    ["localhost:8500", "ftp://x:1", "http://", "http://user:secret@x:1", "http://x/y", "https://x/"],
)
def test_an_address_of_consul_that_is_none(address: str) -> None:
    says = faults(discovery={"consul": {"address": address}})
    assert len(says) == 1
    assert "want http://host:port or https://host:port" in says[0]


def test_wrong_values_are_all_named() -> None:
    says = faults(
        discovery={"kubernetes": {"resync_s": 0}, "dns": [{"name": "UP", "host": "a b"}]},
        dns={"ttl_s": -1},
        health_checks=[{"service": "a/b/c"}, {"service": "a", "type": "icmp"}, {}],
    )
    assert [fault.partition(" ")[0] for fault in says] == [
        "discovery.kubernetes.resync_s",
        "discovery.dns[0].name",
        "discovery.dns[0].host",
        "dns.ttl_s",
        "health_checks[0].service",
        "health_checks[1].type",
        "health_checks[2].service",
    ]


def test_variables_reach_them_all() -> None:
    environ = {
        "MESHTRIO_DISCOVERY__KUBERNETES__ENABLED": "true",
        "MESHTRIO_DISCOVERY__KUBERNETES__NAMESPACES": "shop, till",
        "MESHTRIO_DISCOVERY__CONSUL__QUERIES": "64",
    }
    discovery = load("discovery: {consul: {wait_s: 10}}", environ, {}).discovery
    assert discovery.kubernetes == Kubernetes(enabled=True, namespaces=("shop", "till"))
    assert discovery.consul == Consul(wait_s=10.0, queries=64)
    with pytest.raises(ConfigFaults, match="want it in the file"):
        load(None, {"MESHTRIO_DISCOVERY__DNS": "x"}, {})
    with pytest.raises(ConfigFaults, match="want MESHTRIO_DISCOVERY__CONSUL__KEY"):
        load(None, {"MESHTRIO_DISCOVERY__CONSUL": "x"}, {})
