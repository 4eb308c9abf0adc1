"""Shell. The integrity run as a command, through whatever stands in between.

python -m tests.integrity                               200 MB, 300 connections, unmeshed, over loopback
python -m tests.integrity --full --prefix "meshtrio exec --name x --" --dial 10.96.0.10:9000
python -m tests.integrity --seed 5 --connections 300 --total-bytes 200000000 --only 17
"""

import argparse
import shlex
import sys

from tests.integrity.arguments import address_of
from tests.support.tcp_truth import run_integrity

FULL_BYTES, FULL_CONNECTIONS = 10_000_000_000, 2_000


def main() -> int:
    """Run, print the report, exit 0 only without findings."""
    parser = argparse.ArgumentParser(prog="python -m tests.integrity")
    parser.add_argument(
        "--server", type=address_of, default=("127.0.0.1", 9000), help="where the server listens"
    )
    parser.add_argument("--dial", type=address_of, help="what the client dials (default: the server)")
    parser.add_argument(
        "--greeter", type=address_of, help="a second server address, where the server speaks first"
    )
    parser.add_argument("--dial-greeter", type=address_of)
    parser.add_argument(
        "--prefix", default="", help="command before the client, e.g. 'meshtrio exec --name x --'"
    )
    parser.add_argument("--server-prefix", default="", help="command before the server")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--connections", type=int)
    parser.add_argument("--total-bytes", type=int)
    parser.add_argument("--longest-pause-s", type=float)
    parser.add_argument("--deadline-s", type=float)
    parser.add_argument("--timeout-s", type=float)
    parser.add_argument("--at-once", type=int, default=64)
    parser.add_argument(
        "--greeting", action="store_true", help="listen for it on the port above the server's"
    )
    parser.add_argument("--full", action="store_true", help="10 GB over 2,000 connections, longer pauses")
    parser.add_argument("--only", type=int, action="append", default=[], help="run these connections alone")
    args = parser.parse_args()
    greeter = args.greeter or ((args.server[0], args.server[1] + 1) if args.greeting else None)
    report = run_integrity(
        command_prefix=shlex.split(args.prefix),
        server_prefix=shlex.split(args.server_prefix),
        server_address=args.server,
        dial_address=args.dial or args.server,
        greeter=(greeter, args.dial_greeter or greeter) if greeter else None,
        total_bytes=args.total_bytes or (FULL_BYTES if args.full else 200_000_000),
        connections=args.connections or (FULL_CONNECTIONS if args.full else 300),
        seed=args.seed,
        longest_pause_s=args.longest_pause_s or (3.0 if args.full else 0.4),
        deadline_s=args.deadline_s or (120 if args.full else 30),
        timeout_s=args.timeout_s or (1800 if args.full else 120),
        at_once=args.at_once,
        only=args.only,
    )
    print(report.told())
    return 1 if report.findings else 0


if __name__ == "__main__":
    sys.exit(main())
