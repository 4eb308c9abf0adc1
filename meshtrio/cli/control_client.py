"""Shell. Talk to an agent over its control socket. Knows paths and JSON, not what the answers mean."""

import http.client
import json
import socket
from pathlib import Path
from typing import Any
from urllib.parse import quote

from meshtrio.cli.complaint import Code, Complaint

ANSWER_S = 10.0
"""How long an agent may take: adding a workload by nf_tables takes it 0.3 s on a busy machine."""
ANSWER_BYTES = 64 << 20
"""The longest answer that is read: 10,000 connections are 4 MB."""


class NoAgent(Complaint):
    """Nobody answers at the control socket."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence, Code.UNREACHABLE)


class Control:
    """One agent's control socket. Each question is a connection of its own."""

    def __init__(self, path: str, answer_s: float = ANSWER_S) -> None:
        self.path = path
        self._answer_s = answer_s

    def get(self, path: str) -> Any:
        """Read something. NoAgent if nobody answers, Complaint with the agent's words if it refuses."""
        return self.ask("GET", path)

    def add_workload(self, name: str, fields: dict[str, object]) -> Any:
        """Put a workload into the mesh, and return what the agent says of it."""
        return self.ask("PUT", f"/v1/workloads/{quote(name, safe='')}", fields)

    def remove_workload(self, name: str) -> Any:
        """Take a workload out of the mesh."""
        return self.ask("DELETE", f"/v1/workloads/{quote(name, safe='')}")

    def answers(self) -> bool:
        """Say whether an agent is there. NoAgent if one is, and we may not ask it, or it stands still."""
        try:
            self.ask("GET", "/healthz")
        except _Absent:
            return False
        return True

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Ask one question, and return the answer: what the JSON says, or the text."""
        line = _UnixConnection(self.path, self._answer_s)
        try:
            line.request(method, path, None if body is None else json.dumps(body), {"host": "meshtrio"})
            answer = line.getresponse()
            raw = answer.read(ANSWER_BYTES)
        except FileNotFoundError:
            raise _Absent(f"no agent answers: there is no {self.path}; {_ADVICE}") from None
        except ConnectionRefusedError:
            if not Path(self.path).is_socket():
                raise NoAgent(f"{self.path} is no socket; {_ADVICE}") from None
            raise _Absent(f"the agent that made {self.path} has gone; {_ADVICE}") from None
        except PermissionError:
            raise NoAgent(f"{self.path} is for root alone; run this with sudo") from None
        except TimeoutError:
            raise NoAgent(
                f"the agent at {self.path} has not answered for {self._answer_s:g} s; is it stopped?"
            ) from None
        except http.client.HTTPException as broken:
            raise NoAgent(f"what answers at {self.path} is no agent ({type(broken).__name__})") from None
        except OSError as cause:
            raise NoAgent(f"cannot ask the agent at {self.path}: {cause.strerror or cause}") from None
        finally:
            line.close()
        return _understood(answer, raw, self.path)


_ADVICE = "start one with `meshtrio agent`, or name its socket with --control"


class _Absent(NoAgent):
    """There certainly is no agent."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, answer_s: float) -> None:
        super().__init__("meshtrio", timeout=answer_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _understood(answer: http.client.HTTPResponse, raw: bytes, path: str) -> Any:
    told: Any = raw.decode(errors="replace")
    if answer.headers.get_content_type() == "application/json":
        try:
            told = json.loads(raw)
        except ValueError:
            raise NoAgent(f"what answers at {path} is no agent (it does not speak JSON)") from None
    if answer.status >= 400 and answer.status != http.client.SERVICE_UNAVAILABLE:
        said = told.get("error", told) if isinstance(told, dict) else told
        raise Complaint(str(said).strip() or f"the agent answered {answer.status}")
    return told
