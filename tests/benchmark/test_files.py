"""Core. What is written for the peers is what they read."""

import ipaddress
import shutil
import subprocess
from pathlib import Path

import pytest

from meshtrio.benchmark import files
from meshtrio.catalog.document import read_services
from meshtrio.config.load import load


def test_the_agent_reads_its_configuration() -> None:
    config = load(
        files.configuration("/tmp/x", "nft", pins="/sys/fs/bpf/y", cgroup="/sys/fs/cgroup/z"), {}, {}
    )
    assert (config.rung, config.workers, config.identity.source) == ("nft", 1, "off")
    assert config.workloads[0].cgroup == "/sys/fs/cgroup/z"
    assert Path(config.catalog.file).parent == Path("/tmp/x")


def test_the_catalog_has_the_address_that_is_dialled() -> None:
    (service,) = read_services(files.catalog())
    assert [ipaddress.ip_address(vip[-4:]) for vip in service.vips] == [ipaddress.ip_address(files.VIRTUAL)]


@pytest.mark.skipif(shutil.which("haproxy") is None, reason="no haproxy")
def test_haproxy_takes_its_own(tmp_path: Path) -> None:
    path = tmp_path / "haproxy.cfg"
    path.write_text(files.haproxy())
    done = subprocess.run(["haproxy", "-c", "-f", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_rules_name_where_haproxy_listens() -> None:
    assert f"bind {files.HOST}:{files.DOOR} " in files.haproxy()
    assert f"ip daddr {files.VIRTUAL} tcp dport {files.PORT} redirect to :{files.DOOR}" in files.redirect()
