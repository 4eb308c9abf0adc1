"""File, environment and flags: who stands above whom, and everything that is wrong, at once."""

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.config.load import ConfigFaults, dump, load, setting_paths
from meshtrio.config.schema import Config, Exclude, Keepalive, Log, Ports, Timeouts, Workload


def faults_of(text: str | None = None, environ: dict[str, str] | None = None, **flags: object) -> list[str]:
    with pytest.raises(ConfigFaults) as caught:
        load(text, environ or {}, flags)
    return [str(fault) for fault in caught.value.faults]


def test_without_anything_all_is_default() -> None:
    assert load(None, {}, {}) == load("", {}, {}) == Config()


def test_the_default_configuration_stays(golden: Callable[[str, str], None]) -> None:
    golden("config_default.yaml", dump(Config()))


def test_a_flag_stands_above_a_variable_and_a_variable_above_the_file() -> None:
    text = "timeouts: {drain_s: 1, idle_s: 1, connect_s: 1}\nworkers: 1\nlog:\n"
    environ = {
        "MESHTRIO_TIMEOUTS__DRAIN_S": "2",
        "MESHTRIO_TIMEOUTS__IDLE_S": "2",
        "MESHTRIO_WORKERS": "2",
        "MESHTRIO_LOG__FORMAT": "text",
    }
    config = load(text, environ, {"timeouts.drain_s": 3, "workers": "3", "rung": "nft", "node": None})
    assert config.timeouts == Timeouts(drain_s=3, idle_s=2, connect_s=1)
    assert (config.workers, config.rung, config.log, config.node) == (3, "nft", Log(format="text"), "")


def test_what_a_stronger_layer_covers_is_not_looked_at() -> None:
    text = "exclude: {inbound_ports: [x, y]}\nworkers: many"
    config = load(text, {"MESHTRIO_EXCLUDE__INBOUND_PORTS": "22,80"}, {"workers": 0})
    assert (config.exclude, config.workers) == (Exclude(inbound_ports=(22, 80)), 0)


def test_the_fault_of_a_cover_is_its_own() -> None:
    text = "exclude:\n  inbound_ports: [1, 2]\n"
    assert faults_of(text, {"MESHTRIO_EXCLUDE__INBOUND_PORTS": "1,x"}) == [
        'exclude.inbound_ports[1] is "x" (want a port, 1 to 65535) [MESHTRIO_EXCLUDE__INBOUND_PORTS]'
    ]
    assert faults_of(text, {"MESHTRIO_EXCLUDE__OUTBOUND_PORTS": "0"}) == [
        'exclude.outbound_ports[0] is "0" (want a port, 1 to 65535) [MESHTRIO_EXCLUDE__OUTBOUND_PORTS]'
    ]


def test_a_list_may_come_as_text_or_as_a_list() -> None:
    for given_ports in ("1, 2", [1, 2], (1, "2")):
        assert load(None, {}, {"exclude.outbound_ports": given_ports}).exclude.outbound_ports == (1, 2)


EVERYTHING = """
workerz: 3
workers: many
timeouts:
  drain_s: 2 m
  idle_s: yes
  idle_s: .nan
ports: {inbound: 15002, admin: 0}
exclude: {outbound_cidrs: [10.0.0.1/8, fd00::/8, 7], inbound_ports: [22, 99999]}
limits: 5
paths: {control: run/x, pins: ""}
workloads:
  - {name: Shop, cgroup: x, on_agent_loss: maybe}
  - {cgroup: /a}
log: {level: loud}
catalog:
admin: {bind: localhost}
"""


def test_everything_that_is_wrong_is_said_at_once(golden: Callable[[str, str], None]) -> None:
    environ = {
        "PATH": "/bin",
        "MESHTRIO_TIMEOUTS__CONECT_S": "3",
        "MESHTRIO_XYZ__ABC": "3",
        "MESHTRIO_WORKER": "2",
        "MESHTRIO_LOG__FORMAT": "xml",
        "MESHTRIO_LIMITS__PENDING": "5",
        "MESHTRIO_KEEPALIVE__PROBES": "x",
    }
    with pytest.raises(ConfigFaults) as caught:
        load(EVERYTHING, environ, {"rung": "bpf", "timeout.drain_s": 1})
    golden("config_faults.txt", f"{caught.value}\n")


@pytest.mark.parametrize(
    "name", ["MESHTRIO_PORT", "MESHTRIO_SERVICE_HOST", "MESHTRIO_PORT_80_TCP", "MESHTRIO_CONFIG"]
)
def test_variables_that_others_set_are_left_alone(name: str) -> None:
    assert load(None, {name: "tcp://10.0.0.1:80"}, {}) == Config()


def test_what_is_more_than_one_value_cannot_be_a_variable_or_a_flag() -> None:
    assert faults_of(None, {"MESHTRIO_WORKLOADS": "a", "MESHTRIO_LOG": "b"}) == [
        "MESHTRIO_WORKLOADS is more than one value (want it in the file)",
        "MESHTRIO_LOG is more than one value (want MESHTRIO_LOG__KEY)",
    ]
    for path in ("workloads", "health_checks", "discovery.dns", "traffic.rules"):
        (fault,) = faults_of(None, None, **{path: "a"})
        assert fault == f"{path} is more than one value (want it in the file) [flag]"
    (fault,) = faults_of(None, None, quux="a")
    assert fault == "quux is not known (want one that `meshtrio config show` lists) [flag]"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("- a", "is a list (want a mapping of node, zone"),
        ("a: [", "is not YAML"),
        ("a: *b", "has the alias *b"),
        ("#" * (1 << 20) + "#", "is larger than 1048576 bytes"),
    ],
)
def test_a_text_that_is_no_configuration_is_one_fault(text: str, fault: str) -> None:
    (only,) = faults_of(text)
    assert only.startswith(fault)


def test_rules_between_settings_are_kept() -> None:
    assert faults_of("ports: {inbound: 5}", None, **{"ports.outbound": 5}) == [
        "ports.outbound is 5, and so is ports.inbound (want different ports) [flag]"
    ]
    # Only inbound was written; the default that it meets was not.
    assert faults_of("ports: {admin: 15001}") == [
        "ports.admin is 15001, and so is ports.inbound (want different ports) [line 1]"
    ]
    assert faults_of("ports:\n  inbound: 15003\n") == [
        "ports.admin is 15003, and so is ports.inbound (want different ports) [line 1]"
    ]


def test_a_default_in_the_place_of_a_faulty_value_is_not_blamed() -> None:
    assert len(faults_of("ports: {inbound: 15002, outbound: x}")) == 1
    assert len(faults_of("ports: 3\nworkloads: [{name: a, cgroup: x}]")) == 2


def test_every_setting_has_a_path() -> None:
    assert {"workers", "timeouts.drain_s", "exclude.inbound_ports", "workloads"} <= set(setting_paths())
    assert "timeouts" not in setting_paths()


PORTS = st.lists(st.integers(1, 65535), max_size=4).map(tuple)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
LABELS = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,9}[a-z0-9])?", fullmatch=True)
CONFIGS = st.builds(
    Config,
    node=st.from_regex(r"([A-Za-z0-9]([-._A-Za-z0-9]{0,20}[A-Za-z0-9])?)?", fullmatch=True),
    workers=st.just("auto") | st.integers(0, 256),
    rung=st.sampled_from(["auto", "ebpf", "nft"]),
    passthrough=st.sampled_from(["allow", "deny"]),
    on_agent_loss=st.sampled_from(["open", "closed"]),
    ports=st.lists(st.integers(1, 65535), min_size=3, max_size=3, unique=True).map(
        lambda three: Ports(*three)
    ),
    exclude=st.builds(Exclude, PORTS, PORTS, st.lists(st.ip_addresses().map(str), max_size=2).map(tuple)),
    timeouts=st.builds(Timeouts, drain_s=st.floats(0, 600), idle_s=st.floats(0, 604_800)),
    keepalive=st.builds(Keepalive, after_s=st.integers(0, 32_767)),
    workloads=st.lists(
        st.builds(Workload, LABELS, cgroup=TEXT.map(lambda text: f"/{text}".replace("\0", "")), ports=PORTS),
        max_size=2,
        unique_by=lambda workload: workload.name,
    ).map(tuple),
)


@given(config=CONFIGS)
def test_what_is_dumped_is_loaded(config: Config) -> None:
    assert load(dump(config), {}, {}) == config


@given(
    text=st.none()
    | st.text(max_size=40)
    | st.dictionaries(st.sampled_from(Config.__struct_fields__), TEXT).map(str),
    environ=st.dictionaries(st.sampled_from(setting_paths()), TEXT),
    flags=st.dictionaries(
        st.sampled_from(setting_paths()), TEXT | st.integers() | st.none() | st.lists(TEXT)
    ),
)
def test_anything_is_a_configuration_or_faults(
    text: str | None, environ: dict[str, str], flags: dict[str, object]
) -> None:
    variables = {f"MESHTRIO_{path.upper().replace('.', '__')}": value for path, value in environ.items()}
    try:
        config = load(text, variables, flags)
    except ConfigFaults as wrong:
        assert wrong.faults
    else:
        assert msgspec.convert(msgspec.to_builtins(config), Config) == config


def test_more_exclusions_than_the_kernel_has_room_for_are_a_fault() -> None:
    many = ", ".join(str(port) for port in range(20000, 24100))
    assert faults_of(f"exclude: {{outbound_ports: [{many}]}}") == [
        "exclude.outbound_ports and exclude.inbound_ports are 4105 ports (want 4096 at most) [line 1]"
    ]
    networks = ", ".join(f"10.{at // 256}.{at % 256}.0/24" for at in range(4097))
    assert faults_of(f"exclude: {{outbound_cidrs: [{networks}]}}") == [
        "exclude.outbound_cidrs has 4097 networks (want 4096 at most) [line 1]"
    ]
