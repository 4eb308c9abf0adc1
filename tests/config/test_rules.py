"""What must hold between settings."""

import pytest

from meshtrio.config.discovery import Discovery, DnsService
from meshtrio.config.identity import Federated, Identity, ModeRule, Mtls, Policy, PolicyRule, RemoteCa
from meshtrio.config.rules import breaches
from meshtrio.config.schema import Config, Paths, Ports, Workload
from meshtrio.config.traffic import Retries, Rule, Traffic
from meshtrio.config.wishes import BreakerWishes, RetryWishes


def told(config: Config) -> list[str]:
    return [f"{breach.paths[0]} {breach.says}" for breach in breaches(config)]


def test_the_defaults_keep_all_rules() -> None:
    assert told(Config()) == []


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (
            Config(ports=Ports(1, 1, 1)),
            [
                "ports.outbound is 1, and so is ports.inbound (want different ports)",
                "ports.admin is 1, and so is ports.inbound (want different ports)",
            ],
        ),
        (
            Config(identity=Identity(root_key="/k")),
            ["identity.root_certificate and identity.root_key are one root (want both, or neither)"],
        ),
        (
            Config(identity=Identity("remote")),
            [
                f"identity.remote.{name} is empty, and identity.source is remote (want one)"
                for name in ("address", "ca_file")
            ],
        ),
        (Config(identity=Identity("remote", remote=RemoteCa("https://ca", "/ca.pem"))), []),
        (
            Config(identity=Identity(cache="disk", directory="")),
            ["identity.cache is disk, and identity.directory is empty (want a directory)"],
        ),
        (
            Config(
                identity=Identity(
                    federated=(
                        Federated("cluster.local", "/a"),
                        Federated("x", "/b"),
                        Federated("x", "/c"),
                    )
                )
            ),
            [
                'identity.federated[0].trust_domain is "cluster.local", as identity.trust_domain is'
                " (want another one)",
                'identity.federated[2].trust_domain is "x", as identity.federated[1].trust_domain is'
                " (want another one)",
            ],
        ),
        (
            Config(ports=Ports(1, 2, 3, 2)),
            ["ports.dns is 2, and so is ports.outbound (want different ports)"],
        ),
        (
            Config(discovery=Discovery(dns=(DnsService("a", "_a._tcp.b"), DnsService("c", "d.e")))),
            [
                "discovery.dns[1].port is 0, and only SRV records bring a port"
                " (want one, or a host like _http._tcp.example.com)"
            ],
        ),
        (
            Config(paths=Paths(control="/" + "ä" * 54)),
            ["paths.control is too long for a socket (want 107 bytes at most)"],
        ),
        (Config(paths=Paths(control="/" + "a" * 106)), []),
        (
            Config(workloads=(Workload("a"),)),
            ["workloads[0] has neither cgroup nor netns (want at least one)"],
        ),
        (
            Config(
                workloads=(Workload("a", cgroup="/a"), Workload("b", netns="/b"), Workload("a", "/c", "/d"))
            ),
            ['workloads[2].name is "a", as workloads[0] is (want different names)'],
        ),
        (
            Config(
                policy=Policy(rules=(PolicyRule("allow"), PolicyRule("deny", "a"), PolicyRule("allow", "a")))
            ),
            ['policy.rules[2].name is "a", as policy.rules[1] is (want different names)'],
        ),
        (
            Config(policy=Policy(rules=(PolicyRule("allow", "default"),))),
            [
                'policy.rules[0].name is "default", as what decides where no rule fits is'
                " (want different names)"
            ],
        ),
        (
            Config(mtls=Mtls(rules=(ModeRule("strict", any_alpn=True), ModeRule("disable", any_alpn=True)))),
            ["mtls.rules[1].any_alpn is true in a rule of mode disable (want strict)"],
        ),
        (
            Config(
                identity=Identity("off"), mtls=Mtls("strict", (ModeRule("strict"), ModeRule("permissive")))
            ),
            [
                f"mtls.{where} is strict, and identity.source is off: everyone would be refused"
                " (want a source, or another mode)"
                for where in ("mode", "rules[0].mode")
            ],
        ),
        (Config(identity=Identity("off")), []),
        (
            Config(traffic=Traffic(retries=Retries(base_s=2), rules=(Rule(service="a", direct="auto"),))),
            ["traffic.retries has base_s 2 and max_s 0.25 (want max_s to be at least base_s)"],
        ),
        (
            Config(
                traffic=Traffic(
                    retries=Retries(attempts=0, hedge_after_s=0.5),
                    rules=(Rule(service="a"), Rule(service="b", retries=RetryWishes(hedge_after_s=1))),
                )
            ),
            [
                f"{where}.retries has hedge_after_s {after_s} and attempts 0"
                " (want 1 at least, for a hedge is a retry)"
                for where, after_s in (("traffic", 0.5), ("traffic.rules[1]", 1))
            ],
        ),
        (
            Config(
                traffic=Traffic(
                    retries=Retries(hedge_after_s=0.5),
                    rules=(Rule(service="a", retries=RetryWishes(attempts=0)),),
                )
            ),
            [],  # who ends retries ends hedges
        ),
        (
            Config(traffic=Traffic(rules=(Rule(service="a", breaker=BreakerWishes(open_max_s=5)),))),
            [
                "traffic.rules[0].breaker has open_s 30 and open_max_s 5"
                " (want open_max_s to be at least open_s)"
            ],
        ),
        (
            Config(
                traffic=Traffic(
                    rules=(
                        Rule(service="shop/a", port="http"),
                        Rule(service="shop/a"),
                        Rule(service="shop/a", port="http", algorithm="maglev"),
                        Rule(service="b"),
                        Rule(service="default/b"),
                    )
                )
            ),
            [
                "traffic.rules[2].service is shop/a:http, as traffic.rules[0] is (want one rule for each)",
                "traffic.rules[4].service is default/b, as traffic.rules[3] is (want one rule for each)",
            ],
        ),
    ],
)
def test_a_rule_that_is_broken_is_told(config: Config, says: list[str]) -> None:
    assert told(config) == says


def test_a_breach_between_two_settings_names_both() -> None:
    (breach,) = breaches(Config(ports=Ports(inbound=5, outbound=5)))
    assert breach.paths == ("ports.outbound", "ports.inbound")
