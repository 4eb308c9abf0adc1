"""Shell. `python -m tests.bench`: measures the peers in turn, and shows what came out."""

import argparse
import contextlib
import datetime
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table as RichTable

from meshtrio.benchmark.cores import choose_cores
from meshtrio.benchmark.plot import svg
from meshtrio.benchmark.report import number_of
from tests.bench import report, toolchain
from tests.bench.backend import Ground
from tests.bench.commanded import WORDS, Commanded
from tests.bench.envoy import MutualEnvoy, RedirectedEnvoy
from tests.bench.mesh import Meshtrio
from tests.bench.mtls import MutualHAProxy
from tests.bench.mtls_mesh import MutualMeshtrio
from tests.bench.nginx_stream import MutualNginx, RedirectedNginx
from tests.bench.peer import HAProxy, Peer, RedirectedHAProxy, Unmeshed
from tests.bench.process import end_on_sigterm
from tests.bench.sample import Machine, Run, Sample
from tests.bench.scenario import ALL_NAMES, IDLE, SCENARIOS, rounds_of
from tests.bench.turn import order, under_load, wait_for_quiet, when_idle
from tests.bench.wire import delay_hindrance
from tests.bench.workload import Loaded

PEERS: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        *(Unmeshed(), HAProxy(), RedirectedHAProxy(), Meshtrio("ebpf"), Meshtrio("nft")),
        *(RedirectedNginx(), RedirectedEnvoy()),
        *(Unmeshed(2), MutualHAProxy(), MutualNginx(), MutualEnvoy(), MutualMeshtrio()),
    )
}
USUAL = ("unmeshed", "haproxy", "meshtrio-ebpf", "meshtrio-nft")
MTLS = ("unmeshed-wire", "haproxy-mtls", "nginx-mtls", "envoy-mtls", "meshtrio-mtls")


def main(arguments: Sequence[str]) -> int:
    """Measure and report. 0 when all was measured, 1 when some of it failed, 2 when nothing can be."""
    options = _options(arguments)
    err = Console(stderr=True, highlight=False)
    usual = tuple(PEERS) if options.all else MTLS if options.mtls else USUAL
    known = {**PEERS, **{one.name: one for one in options.peer_command}}
    peers, skipped = _able(known, (*(options.peer or usual), *known.keys() - PEERS.keys()))
    if options.delay_ms and (why := delay_hindrance() or _off_the_wire(peers)):
        err.print(f"bench: --delay-ms: {why}", markup=False)
        return 2
    for line in skipped:
        err.print(f"bench: {line}", markup=False)
    lacking = toolchain.lacking({"cc", "wrk", "nginx", *(p for peer in peers for p in peer.programs)})
    if lacking or not peers:
        for name, package in lacking.items():
            err.print(f"bench: {name} is not installed (Debian: apt-get install {package})")
        err.print("bench: nothing to measure" if not peers else "bench: `make setup` installs what it needs")
        return 2
    cores = choose_cores(os.sched_getaffinity(0))
    if options.realtime:
        # All that is started inherits it. The lowest priority is above every ordinary process.
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    end_on_sigterm()
    # Files, sockets and logs of all that is started; gone at the end, however it ends.
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        toolchain.build(folder)
        how = ", before all other processes (SCHED_RR)" if options.realtime else ""
        how += f"; the wire takes {options.delay_ms:g} ms each way" if options.delay_ms else ""
        machine = _machine(f"{cores}{how}")
        ground = Ground(folder, cores, options.delay_ms)
        samples, failures = _measure(ground, peers, options, err)
    run = Run(machine, options.seconds, options.rounds, tuple(samples), (*skipped, *failures))
    _show(run, Console())
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(run), indent=2) + b"\n")
    if options.markdown:
        options.markdown.write_text(report.markdown(run))
    if options.plot:
        options.plot.write_text(svg("meshtrio, make bench", report.panels(run), report.about(run)))
    return 1 if failures or not samples else 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two rounds of one second: to see that it works")
    parser.add_argument("--mtls", action="store_true", help="two hops with mutual TLS, and who does the same")
    parser.add_argument("--all", action="store_true", help="all peers that can be had here, one hop and two")
    parser.add_argument(
        "--scenario", action="append", choices=ALL_NAMES, help="only this one (may be repeated)"
    )
    parser.add_argument(
        "--peer", action="append", choices=tuple(PEERS), help="only this one (may be repeated)"
    )
    parser.add_argument(
        "--peer-command", action="append", default=[], type=_commanded, metavar="NAME=COMMAND",
        help=f"this proxy too, behind a redirect (may be repeated); in its command stand {', '.join(WORDS)}",
    )  # fmt: skip
    parser.add_argument("--rounds", type=_whole(1), help="rounds of each scenario (5)")
    parser.add_argument("--seconds", type=_whole(1), help="seconds of each measurement (2)")
    parser.add_argument(
        "--patience", type=float, default=10, help="seconds to wait for a quiet machine before each turn (10)"
    )
    parser.add_argument(
        "--retries", type=_whole(0), help="how often a disturbed turn is repeated; the calmest one counts (1)"
    )
    parser.add_argument(
        "--realtime",
        action="store_true",
        help="run all that is measured before all other processes, on a machine that is never quiet; "
        "not for loads that fill a core, where two of ours then take turns of 100 ms",
    )
    parser.add_argument("--json", type=_fresh, metavar="FILE", help="write all samples as JSON")
    parser.add_argument("--markdown", type=_fresh, metavar="FILE", help="write the tables as Markdown")
    parser.add_argument(
        "--plot", type=_fresh, metavar="FILE", help="draw the first number of each scenario, as SVG"
    )
    parser.add_argument(
        "--delay-ms",
        type=float,
        default=0.0,
        metavar="MS",
        help="let the wire between two hops take longer, each way (with --mtls; needs sch_netem)",
    )
    options = parser.parse_args(arguments)
    if not 0 <= options.delay_ms <= 1000:
        parser.error("--delay-ms: want 0 to 1000")
    options.rounds = options.rounds or (2 if options.quick else 5)
    options.seconds = options.seconds or (1 if options.quick else 2)
    options.retries = int(not options.quick) if options.retries is None else options.retries
    options.scenario = [name for name in ALL_NAMES if name in (options.scenario or ALL_NAMES)]
    return options


def _whole(least: int) -> Callable[[str], int]:
    """Return what reads a whole number that is not less than this."""

    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} (want a whole number, {least} or more)")
        return int(text)

    return read


def _fresh(text: str) -> Path:
    """Read the name of a file, and make it: what was measured for minutes must not end up nowhere."""
    try:
        Path(text).touch()
    except OSError as cause:
        raise argparse.ArgumentTypeError(f"cannot write {text}: {cause.strerror}") from cause
    return Path(text)


def _commanded(text: str) -> Commanded:
    """Read NAME=COMMAND."""
    name, _, command = text.partition("=")
    if name in PEERS:
        raise argparse.ArgumentTypeError(f"there is a peer {name} already")
    try:
        return Commanded(name, command)
    except ValueError as wrong:
        raise argparse.ArgumentTypeError(str(wrong)) from wrong


def _off_the_wire(peers: Sequence[Peer]) -> str | None:
    names = ", ".join(peer.name for peer in peers if peer.hops == 1)
    return (
        f"there is no wire between the load and {names}: choose peers of two hops (--mtls)" if names else None
    )


def _able(known: Mapping[str, Peer], names: Sequence[str]) -> tuple[list[Peer], list[str]]:
    able, skipped = [], []
    for peer in (known[name] for name in known if name in names):
        why = peer.hindrance()
        if why is None:
            able.append(peer)
        else:
            skipped.append(f"{peer.name} is left out: {why}")
    return able, skipped


def _measure(
    ground: Ground, peers: Sequence[Peer], options: argparse.Namespace, err: Console
) -> tuple[list[Sample], list[str]]:
    loads = {scenario.name: scenario for scenario in SCENARIOS}
    rounds = {name: rounds_of(name, options.rounds) for name in options.scenario}
    samples: list[Sample] = []
    failures: list[str] = []
    turns = [
        turn
        for turn in order(peers, rounds)
        if (not isinstance(turn[2], Unmeshed) if turn[0] == IDLE else turn[2].hops in loads[turn[0]].hops)
    ]
    for done, (scenario, number, peer) in enumerate(turns, 1):
        title = f"{scenario}, {peer.name}, round {number} of {rounds[scenario]}"
        try:
            tries: list[Sample] = []
            load = loads.get(scenario)
            while len(tries) <= options.retries:
                if not options.realtime:
                    wait_for_quiet(options.patience)
                if load is None:
                    said = Loaded(when_idle(peer, ground))
                else:
                    said = under_load(peer, load, ground, seconds=options.seconds / load.grain)
                tries.append(Sample(scenario, peer.name, number, said.numbers, said.windows))
                # What the host takes is seen window by window, if there are any.
                quiet, is_windowed = tries[-1].quiet, load is not None and load.is_windowed
                if not (quiet.is_crowded if is_windowed else quiet.is_noisy):
                    break
        except (RuntimeError, OSError, subprocess.SubprocessError) as wrong:
            failures.append(f"{title}: {wrong}")
            err.print(f"[{done}/{len(turns)}] {title}: FAILED: {wrong}", markup=False)
            continue
        # The calmest of the tries, whatever it says: chosen by the machine's noise, never by the result.
        samples.append(min(tries, key=lambda sample: sample.quiet.foreign + sample.quiet.steal))
        numbers = samples[-1].numbers
        first = next(
            iter(
                (key, value)
                for key, value in numbers.items()
                if key not in ("operations", "seconds", "errors")
            )
        )
        err.print(f"[{done}/{len(turns)}] {title}: {first[0]} {number_of(first[1])}", markup=False)
    return samples, failures


def _machine(pinning: str) -> Machine:
    model = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    versions = {"python": platform.python_version()}
    for name, words in (("haproxy", ["haproxy", "-v"]), ("nginx", ["nginx", "-v"]), ("wrk", ["wrk", "-v"])):
        with contextlib.suppress(FileNotFoundError):
            said = subprocess.run(words, capture_output=True, text=True, check=False)
            found = re.search(r"\d+\.\d+(\.\d+)?", said.stdout + said.stderr)
            versions[name] = found[0] if found else "?"
    return Machine(
        kernel=platform.release(),
        processor=model[1] if model else platform.machine(),
        cores=os.cpu_count() or 1,
        pinning=pinning,
        began=datetime.datetime.now(tz=datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        versions=versions,
    )


def _show(run: Run, out: Console) -> None:
    out.print(report.about(run), markup=False)
    for table in report.tables(run):
        shown = RichTable(title=table.title, title_justify="left")
        for heading in ("", *run.peers):
            shown.add_column(heading)
        for row in table.rows:
            shown.add_row(row.label, *row.cells)
        out.print(shown)
    goals = report.goal_lines(run)
    if goals:
        shown = RichTable("goal", "peer", "measured", "", title="goals", title_justify="left")
        for row in goals:
            shown.add_row(row.label, *row.cells)
        out.print(shown)
    for failure in run.failures:
        out.print(f"not measured: {failure}", markup=False)
    doubts = report.doubt_lines(run)
    for doubt in doubts:
        out.print(f"in doubt: {doubt}", markup=False)
    if run.samples:
        out.print("The machine was too noisy for those." if doubts else "The machine was quiet enough.")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
