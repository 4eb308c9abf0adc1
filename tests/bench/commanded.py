"""Shell. Any proxy that a command runs, behind an nf_tables redirect, as a peer of one hop."""

import contextlib
import os
import re
import shlex
import time
from collections.abc import Iterator

from tests.bench.backend import Place, address_text
from tests.bench.peer import Standing, redirected, unmeshed_workload
from tests.bench.process import free_ports, running, wait_for_port
from tests.bench.rivals import hops_of
from tests.bench.scenario import Target

WORDS = "{echo_port}", "{http_port}", "{echo_server}", "{http_server}"
"""What stands in a command for the ports on which it shall listen, and for whom it shall call from there."""


class Commanded:
    """A proxy that listens on two ports, one a server. The load dials an address that nobody has."""

    hops = 1
    programs: tuple[str, ...] = ("nft",)

    def __init__(self, name: str, command: str) -> None:
        """Take its name and its command. ValueError says what is wrong with them."""
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,19}", name) or hops_of(name) != self.hops:
            raise ValueError(f"{name!r} (want a-z, 0-9, -; 20 at most; no -wire or -mtls at its end)")
        missing = [word for word in WORDS if word not in command]
        if missing:
            raise ValueError(f"{name}: its command has no {' and no '.join(missing)}")
        shlex.split(command)
        self.name = name
        self._command = command

    def hindrance(self) -> str | None:
        """Say why it cannot run here, or None."""
        return None if os.geteuid() == 0 else "needs root"

    def role_of(self, words: list[str]) -> str:
        """Everything in its tree is the proxy."""
        return "proxy"

    @contextlib.contextmanager
    def stand(self, place: Place) -> Iterator[Standing]:
        """Set the rules, run the command and the load; the table is gone afterwards."""
        echo, http = free_ports(2)
        ports: dict[Target, int] = {"echo": echo, "http": http}
        log, command = place.folder / f"{self.name}.log", self._command
        for target, port in ports.items():
            command = command.replace(f"{{{target}_port}}", str(port))
            command = command.replace(f"{{{target}_server}}", address_text(place.servers[target]))
        began = time.monotonic()
        with running(shlex.split(command), place.cores.proxy, log=log, leads=True) as process:
            for port in ports.values():
                wait_for_port(port, process, within_s=5, log=log)
            ready_s = time.monotonic() - began
            with redirected(echo, http) as dial, unmeshed_workload(place) as workload:
                yield Standing(workload, dial, (process.pid,), ready_s)
