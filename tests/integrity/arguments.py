"""Core. The command-line words that client and server share: the plan, and where results go."""

import argparse

from tests.integrity.plan import Plan

Address = tuple[str, int]


def add_plan(parser: argparse.ArgumentParser) -> None:
    """Add what both sides must agree on."""
    parser.add_argument("--results", required=True, help="file for what this side saw, as JSON")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--connections", type=int, required=True)
    parser.add_argument("--total-bytes", type=int, required=True)
    parser.add_argument("--longest-pause-s", type=float, default=0.4)
    parser.add_argument("--deadline-s", type=float, default=30.0, help="a connection older than this hangs")
    parser.add_argument("--greeting", action="store_true", help="let the server speak first on some")


def plan_of(args: argparse.Namespace) -> Plan:
    """Give the plan that the words describe."""
    return Plan(
        seed=args.seed,
        connections=args.connections,
        total_bytes=args.total_bytes,
        longest_pause_s=args.longest_pause_s,
        greeting=args.greeting,
    )


def plan_words(plan: Plan) -> list[str]:
    """Give the words that describe the plan."""
    words = ["--seed", str(plan.seed), "--connections", str(plan.connections)]
    words += ["--total-bytes", str(plan.total_bytes), "--longest-pause-s", str(plan.longest_pause_s)]
    return [*words, "--greeting"] if plan.greeting else words


def address_of(text: str) -> Address:
    """Read host:port; a v6 host stands in brackets or not."""
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def address_text(address: Address) -> str:
    """Write host:port."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
