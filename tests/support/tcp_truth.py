"""Shell. Run the integrity instrument: start the unmodified server and client, wait, let the judge compare.

    report = run_integrity(
        command_prefix=["meshtrio", "exec", "--name", "x", "--"],
        server_address=("10.1.0.2", 9000),
        dial_address=("10.96.0.10", 9000),
    )
    assert report.findings == []

Does not know the mesh: the prefix puts the client into it, the dialled address leads through it.
"""

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.integrity.arguments import Address, address_text, plan_words
from tests.integrity.judge import Finding, judge
from tests.integrity.plan import Plan
from tests.integrity.record import Record

ROOT = Path(__file__).resolve().parents[2]
_STOP_S = 20  # for the server, after the client: what is still on its way, and the results


class Report(NamedTuple):
    """What a run found. `carried_bytes` is payload that was heard, right, on both sides together."""

    findings: list[Finding]
    plan: Plan
    connections: int
    carried_bytes: int
    resets: int
    seconds: float

    def told(self) -> str:
        """Say it for a human, each finding with the command that runs its connection again."""
        rate = self.carried_bytes / max(self.seconds, 0.001) / 1e6
        head = (
            f"{self.connections} connections, {self.carried_bytes / 1e6:.0f} MB, {self.resets} resets heard, "
            f"{self.seconds:.1f} s ({rate:.0f} MB/s): {len(self.findings)} findings"
        )
        again = " ".join(["python -m tests.integrity", *plan_words(self.plan)])
        lines = [f"{one}\n    again: {again} --only {one.number}" for one in self.findings[:50]]
        return "\n".join([head, *lines])


def run_integrity(
    *,
    command_prefix: Sequence[str] = (),
    server_address: Address,
    dial_address: Address,
    total_bytes: int = 200_000_000,
    connections: int = 300,
    seed: int = 1,
    timeout_s: float = 120,
    greeter: tuple[Address, Address] | None = None,
    server_prefix: Sequence[str] = (),
    longest_pause_s: float = 0.4,
    deadline_s: float = 30,
    at_once: int = 64,
    only: Sequence[int] = (),
    once_served: Callable[[], object] = lambda: None,
) -> Report:
    """Run client and server as processes of their own, and judge.

    greeter is a second (server address, dialled address), where the server speaks first.
    `once_served` is called when the server listens, before the client starts.
    A client that is not done after timeout_s is a finding `hang`; no process is left, however this ends.
    """
    plan = Plan(
        seed=seed,
        connections=connections,
        total_bytes=total_bytes,
        longest_pause_s=longest_pause_s,
        greeting=greeter is not None,
    )
    words = [*plan_words(plan), "--deadline-s", str(deadline_s)]
    module = [sys.executable, "-m"]
    late = []
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="integrity-") as folder:
        heard, seen = Path(folder, "client.json"), Path(folder, "server.json")
        listen = ["--listen", address_text(server_address), "--results", str(seen)]
        dial = ["--dial", address_text(dial_address), "--results", str(heard), "--at-once", str(at_once)]
        if greeter:
            listen += ["--greet", address_text(greeter[0])]
            dial += ["--dial-greeter", address_text(greeter[1])]
        for number in only:
            dial += ["--only", str(number)]
        with _process([*server_prefix, *module, "tests.integrity.server", *listen, *words]) as server:
            _wait_ready(server)
            once_served()
            began = time.monotonic()
            with _process([*command_prefix, *module, "tests.integrity.client", *dial, *words]) as client:
                try:
                    client.wait(timeout_s)
                except subprocess.TimeoutExpired:
                    late = [Finding(-1, "hang", f"the client was not done in {timeout_s} s", "")]
            seconds = time.monotonic() - began
            server.send_signal(signal.SIGTERM)
            try:
                server.wait(deadline_s + _STOP_S)
            except subprocess.TimeoutExpired:
                late.append(Finding(-1, "hang", "the server did not stop", ""))
        clients, servers = _records(heard), _records(seen)
    findings = late + judge(plan, clients, servers, numbers=only or range(connections))
    everyone = [*clients, *servers]
    return Report(
        findings=findings,
        plan=plan,
        connections=len(only) or connections,
        carried_bytes=sum(record.heard for record in everyone if not record.wrong),
        resets=sum(record.ended == "reset" for record in everyone),
        seconds=seconds,
    )


@contextmanager
def _process(command: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """Run a process; it is gone when the block ends."""
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(3)
                except subprocess.TimeoutExpired:
                    process.kill()


def _wait_ready(server: subprocess.Popen[str]) -> None:
    line = server.stdout.readline() if server.stdout else ""
    if line.strip() != "ready":
        raise RuntimeError(f"the integrity server did not start: {line!r}")


def _records(path: Path) -> list[Record]:
    if not path.exists():
        return []
    return [Record.of(plain) for plain in json.loads(path.read_text())]
