"""Shell. The files of the CA under deploy/ fit the program: port, paths, flags and rights."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from meshtrio.ca.review import REVIEWS
from meshtrio.cli.ca_help import PORT
from meshtrio.cli.main import main
from meshtrio.config.schema import Config
from tests.support.tree import TREE

UNIT = TREE / "deploy/systemd/meshtrio-ca.service"
MANIFEST = TREE / "deploy/kubernetes/ca.yaml"
DIRECTORY = Path(Config().identity.directory)


OURS = main.make_context("meshtrio", ["ca"])
"""A command keeps the help that it had in its first context, so that must be ours."""


def objects() -> dict[str, Any]:
    return {one["kind"]: one for one in yaml.safe_load_all(MANIFEST.read_text())}


def pod() -> Any:
    return objects()["Deployment"]["spec"]["template"]["spec"]


def test_the_manifest_has_the_port_and_flags_of_the_program() -> None:
    (container,) = pod()["containers"]
    assert [one["containerPort"] for one in container["ports"]] == [PORT]
    assert [one["port"] for one in objects()["Service"]["spec"]["ports"]] == [PORT]
    group, command, *flags = container["args"]
    context = main.commands[group].commands[command].make_context("run", flags, parent=OURS)  # type: ignore[attr-defined]
    namespace, name = (objects()["Service"]["metadata"][key] for key in ("namespace", "name"))
    assert f"{name}.{namespace}.svc" in context.params["names"]
    daemon = TREE / "deploy/kubernetes/daemonset.yaml"
    kept = {one["kind"]: one for one in yaml.safe_load_all(daemon.read_text())}
    account = kept["ServiceAccount"]["metadata"]
    assert context.params["agents"] == (f"{account['namespace']}/{account['name']}",)
    for probe in ("readinessProbe", "livenessProbe"):
        asked = container[probe]["httpGet"]
        assert (asked["scheme"], asked["path"]) == ("HTTPS", "/healthz")


def test_the_manifest_keeps_what_must_be_kept_and_may_what_is_asked() -> None:
    (container,) = pod()["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert DIRECTORY.is_relative_to(mounts["state"])
    (volume,) = pod()["volumes"]
    claim = objects()["PersistentVolumeClaim"]["metadata"]["name"]
    assert volume["persistentVolumeClaim"]["claimName"] == claim
    assert objects()["Deployment"]["spec"]["strategy"]["type"] == "Recreate"
    rights = {
        (group, resource, *rule["verbs"])
        for rule in objects()["ClusterRole"]["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    assert rights == {(REVIEWS.split("/")[2], "tokenreviews", "create"), ("", "pods", "get", "list")}
    binding = objects()["ClusterRoleBinding"]
    assert binding["roleRef"]["name"] == objects()["ClusterRole"]["metadata"]["name"]
    account = objects()["ServiceAccount"]["metadata"]
    assert binding["subjects"] == [{"kind": "ServiceAccount", **account}]
    assert pod()["serviceAccountName"] == account["name"]


def test_the_unit_keeps_the_folder_and_runs_what_there_is() -> None:
    text = UNIT.read_text()
    settings = dict(re.findall(r"^([A-Za-z]+)=(.*)$", text, re.MULTILINE))
    assert DIRECTORY.parent == Path("/var/lib") / settings["StateDirectory"]
    assert settings["ProtectSystem"] == "strict"
    assert settings["CapabilityBoundingSet"] == ""
    for words in re.findall(r"^#?ExecStart=\S+ (.+)$", text, re.MULTILINE):
        group, command, *flags = words.split()
        main.commands[group].commands[command].make_context("run", flags, parent=OURS)  # type: ignore[attr-defined]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/usr/local/bin/meshtrio", "/bin/true"))
    answer = subprocess.run(
        ["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, check=False
    )
    assert (answer.returncode, answer.stderr) == (0, "")
