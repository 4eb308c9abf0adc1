"""Shell. The files under deploy/ fit the program: ports, paths and seconds are those of the configuration."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from meshtrio.catalog.document import read_services
from meshtrio.catalog.kubernetes_topic import APIS
from meshtrio.config.load import load
from meshtrio.config.schema import Config
from tests.support.tree import TREE

UNIT = TREE / "deploy/systemd/meshtrio.service"
EXAMPLE = TREE / "deploy/systemd/meshtrio.yaml"
CHART = TREE / "deploy/kubernetes/daemonset.yaml"
IMAGE = TREE / "deploy/image/Dockerfile"
DEFAULT = Config()


def objects() -> dict[str, Any]:
    return {one["kind"]: one for one in yaml.safe_load_all(CHART.read_text())}


def agent() -> Any:
    return objects()["DaemonSet"]["spec"]["template"]["spec"]["containers"][0]


def setting(name: str) -> str:
    found = re.search(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)
    assert found is not None, name
    return found[1]


def test_the_daemonset_has_the_ports_of_the_configuration() -> None:
    ports = {port["name"]: port["containerPort"] for port in agent()["ports"]}
    assert ports == {
        "inbound": DEFAULT.ports.inbound,
        "outbound": DEFAULT.ports.outbound,
        "admin": DEFAULT.ports.admin,
        "dns": DEFAULT.ports.dns,
        "dns-tcp": DEFAULT.ports.dns,
    }
    assert {port["protocol"] for port in agent()["ports"] if port["name"] == "dns"} == {"UDP"}
    assert all(port["hostPort"] == port["containerPort"] for port in agent()["ports"])
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        asked = agent()[probe]["httpGet"]
        assert (asked["host"], asked["port"]) == (DEFAULT.admin.bind, DEFAULT.ports.admin)


def test_the_daemonset_mounts_every_path_that_the_agent_uses() -> None:
    mounted = [mount["mountPath"] for mount in agent()["volumeMounts"]]
    for path in (
        DEFAULT.paths.pins,
        DEFAULT.paths.cache,
        DEFAULT.paths.control,
        DEFAULT.discovery.registration.state,
        "/run/netns",
        "/sys/fs/cgroup",
    ):
        assert any(Path(path).is_relative_to(mount) for mount in mounted), path
    volumes = objects()["DaemonSet"]["spec"]["template"]["spec"]["volumes"]
    assert {volume["name"] for volume in volumes} == {mount["name"] for mount in agent()["volumeMounts"]}
    # What must be there after an update must not go with the pod.
    assert [volume["name"] for volume in volumes if "hostPath" not in volume] == ["config"]


def test_the_daemonset_may_read_what_the_source_asks_for_and_no_more() -> None:
    found = objects()
    rights = {
        (group, resource)
        for rule in found["ClusterRole"]["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    asked = {
        ("" if api.group == "/api/v1" else api.group.split("/")[2], api.kind.value)
        for apis in APIS.values()
        for api in apis
    }
    assert rights == asked
    assert {tuple(rule["verbs"]) for rule in found["ClusterRole"]["rules"]} == {("get", "list", "watch")}
    account = found["ServiceAccount"]
    assert account["automountServiceAccountToken"]
    binding = found["ClusterRoleBinding"]
    assert binding["roleRef"]["name"] == found["ClusterRole"]["metadata"]["name"]
    named = {"kind": "ServiceAccount", **{key: account["metadata"][key] for key in ("name", "namespace")}}
    assert binding["subjects"] == [named]
    pod = found["DaemonSet"]["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == account["metadata"]["name"]


def test_its_configuration_and_its_catalog_are_read() -> None:
    kept = objects()["ConfigMap"]["data"]
    config = load(kept["meshtrio.yaml"], {}, {})
    assert config.discovery.kubernetes.enabled
    assert Path(config.catalog.file).name in kept
    read_services(kept[Path(config.catalog.file).name])
    spec = objects()["DaemonSet"]["spec"]["template"]["spec"]
    assert spec["terminationGracePeriodSeconds"] > config.timeouts.drain_s


def test_the_unit_waits_for_the_drain_and_keeps_the_paths() -> None:
    assert float(setting("TimeoutStopSec")) > DEFAULT.timeouts.drain_s
    assert Path(DEFAULT.paths.control).parent == Path("/run") / setting("RuntimeDirectory")
    assert Path(DEFAULT.paths.cache) == Path("/var/cache") / setting("CacheDirectory")
    assert Path(DEFAULT.discovery.registration.state).parent == Path("/var/lib") / setting("StateDirectory")
    assert setting("StateDirectoryMode") == "0700"
    # strict would make /var read-only, too.
    assert setting("ProtectSystem") == "full"
    assert setting("KillMode") == "process"


def test_the_example_beside_the_unit_is_a_configuration_with_consul() -> None:
    text = EXAMPLE.read_text()
    config = load(text, {}, {})
    assert config.discovery.consul.address
    assert config.discovery.registration == DEFAULT.discovery.registration
    # Also with what is only suggested.
    bare = re.sub(r"^( *)# (- |  cgroup|token_file)", r"\1\2", text, flags=re.MULTILINE)
    suggested = load(bare.replace(": []\n-", ":\n-"), {}, {})
    assert suggested.discovery.consul.token_file
    assert (suggested.health_checks[0].service, suggested.workloads[0].name) == ("orders", "shop")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    copy = tmp_path / UNIT.name
    # It wants the program to be there, and only the program is not part of what is verified.
    copy.write_text(UNIT.read_text().replace("/usr/local/bin/meshtrio", "/bin/true"))
    answer = subprocess.run(
        ["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, check=False
    )
    assert (answer.returncode, answer.stderr) == (0, "")


def test_the_image_copies_only_what_is_there_and_not_ignored() -> None:
    copied = [
        source
        for line in re.findall(r"^COPY (?!--from=)(.*)$", IMAGE.read_text(), re.MULTILINE)
        for source in line.split()[:-1]
    ]
    ignored = (TREE / ".dockerignore").read_text().splitlines()
    assert [source for source in copied if not (TREE / source).exists()] == []
    assert [source for source in copied if f"!{source}" not in ignored] == []
