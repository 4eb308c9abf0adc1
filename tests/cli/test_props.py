"""The files on the demo's stage: those who read them understand them."""

from meshtrio.catalog.document import read_services
from meshtrio.cli import props
from meshtrio.config.load import load

PORTS = {"inbound": 1001, "outbound": 1002, "admin": 1003, "dns": 1004}


def test_the_catalog_is_one() -> None:
    for ipv6 in (True, False):
        text = props.catalog(["127.0.0.1:1", "[::1]:2"], ["127.0.0.1:1"], "192.0.2.2:80", ipv6=ipv6)
        web, shop, pantry = read_services(text)
        assert (web.key, shop.key) == (props.WEB, props.SHOP)
        assert len(web.vips) == 1 + ipv6
        assert shop.vips == (), "an address is to be allocated for it"
        assert (len(web.endpoints), len(shop.endpoints)) == (2, 1)
        (meshed,) = pantry.endpoints
        assert (meshed.meshed, meshed.identity) == (True, "spiffe://cluster.local/ns/kitchen/sa/pantry")


def test_the_configuration_is_one_and_keeps_to_its_folder() -> None:
    config = load(props.configuration("/folder", "nft", "/sys/fs/bpf/x", PORTS), {}, {})
    assert (config.rung, config.paths.pins, config.ports.dns) == ("nft", "/sys/fs/bpf/x", 1004)
    kept = (
        config.paths.control,
        config.catalog.file,
        config.discovery.registration.state,
        config.identity.directory,
    )
    assert all(path.startswith("/folder/") for path in kept)
    (rule,) = config.policy.rules
    assert (rule.name, rule.action, rule.callers.ids) == ("no-guests", "deny", (props.identity("guest"),))
    assert [(one.mode, one.namespace) for one in config.mtls.rules] == [("strict", "kitchen")]
    (check,) = config.health_checks
    assert (check.service, check.path) == (props.SHOP, f"/{props.HEALTH}")


def test_nginx_writes_only_to_its_folder() -> None:
    text = props.nginx("/folder", "[::1]:80")
    assert "listen [::1]:80;" in text
    places = [line.split()[-1] for line in text.replace(";", ";\n").splitlines() if "_path" in line]
    assert len(places) == 5 and set(places) == {"/folder;"}
