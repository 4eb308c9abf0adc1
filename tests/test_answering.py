"""World. What an agent's two ports let ask, and whom."""

import http.client
import socket
from functools import partial
from pathlib import Path

import pytest
import trio

from meshtrio.agent import Agent
from tests.test_agent import living, setting

pytestmark = [pytest.mark.kernel, pytest.mark.world]

SERVICES = ("GET", "/v1/services/web/endpoints/a")
RULES = ("GET", "/v1/workloads/nobody/rules")
CLOSE = ("DELETE", "/v1/connections?to=web")


def _status(agent: Agent, method: str, path: str, *, by_control: bool) -> int:
    config = agent.parts.config
    line = http.client.HTTPConnection("127.0.0.1", config.ports.admin, timeout=10)
    if by_control:
        line.sock = socket.socket(socket.AF_UNIX)
        line.sock.settimeout(10)
        line.sock.connect(config.paths.control)
    try:
        line.request(method, path)
        return line.getresponse().status
    finally:
        line.close()


async def statuses(agent: Agent, *, by_control: bool) -> list[int]:
    asked = [partial(_status, agent, *one, by_control=by_control) for one in (SERVICES, RULES, CLOSE)]
    return [await trio.to_thread.run_sync(one) for one in asked]


@pytest.mark.parametrize("token", [False, True])
async def test_what_only_the_operator_may_ask(token: bool, tmp_path: Path) -> None:
    registration = {"state": str(tmp_path / "state.db")}
    if token:
        (tmp_path / "token").write_text("s3cret\n")
        registration["token_file"] = str(tmp_path / "token")
    async with living(setting(tmp_path, discovery={"registration": registration})) as agent:
        # Not known, not known, no service of that name: but asked.
        assert await statuses(agent, by_control=True) == [404, 404, 400]
        # Of these the admin port knows the first, for those who have the token; and connections may be read.
        assert await statuses(agent, by_control=False) == [401 if token else 404, 404, 405]
