"""World. What a workload serves is what it listens on, and what was configured for it."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from meshtrio.intercept import cgroup as cgroups
from meshtrio.intercept.workload import Spec, Workload
from meshtrio.offering import Offered, offered
from tests.support.namespace_door import cgroup

LISTEN = """
import socket, sys
with socket.create_server(("", 0)) as one, socket.socket() as bound_only:
    near = socket.create_server(("127.0.0.1", 0))
    bound_only.bind(("127.0.0.1", 0))
    print(one.getsockname()[1], flush=True)
    sys.stdin.read()
"""


def workload(group: Path | None, *ports: int, own: bool = True) -> Workload:
    site: Any = SimpleNamespace(netns=SimpleNamespace(is_own=own))
    capture: Any = None
    return Workload(Spec(name="web", ports=ports), 1, group, False, site, capture, [])


def test_configured_ports_are_offered_and_those_of_other_namespaces_are_not() -> None:
    ids = {"web": "spiffe://x/web", "other": "spiffe://x/other"}
    assert offered([workload(None, 81, 80)], "here", ids) == [
        Offered("meshtrio-here-web-80", "web", 80, "spiffe://x/web"),
        Offered("meshtrio-here-web-81", "web", 81, "spiffe://x/web"),
    ]
    assert offered([workload(None, 80, own=False)], "here", ids) == []
    assert [one.identity for one in offered([workload(None, 80)], "here", {})] == [""]


@pytest.mark.world
def test_ports_on_which_it_listens_are_offered_as_long_as_it_does() -> None:
    with cgroup() as group:
        process = subprocess.Popen(
            [sys.executable, "-c", LISTEN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        with process:
            cgroups.enter(group, process.pid)
            assert process.stdout is not None
            port = int(process.stdout.readline())
            found = offered([workload(group, 80)], "here", {})
            process.communicate("")
        assert {one.port for one in found} == {80, port}
        assert [one.port for one in offered([workload(group, 80)], "here", {})] == [80]
