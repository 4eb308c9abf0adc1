"""Shell. `meshtrio exec`: run one unmodified program in the mesh. Does not know how that is done.

The proxy is this process or the agent's workers; the program is a child in a cgroup of its own.
"""

import os
from typing import Any, get_args

import click

from meshtrio.cli.agent import flags_of
from meshtrio.cli.complaint import Code, Complaint, complaint_of
from meshtrio.cli.control_client import Control
from meshtrio.cli.name import name_for, wrong_name
from meshtrio.cli.options import ACCELERATION, PORT, config_option, configured, control_option
from meshtrio.cli.process import raise_descriptor_limit, require_privilege
from meshtrio.config.kinds import Acceleration

HELP = """Run a program in the mesh, unmodified. Its connections to services of the catalog go where the
mesh decides; all others are left as they are. It keeps its terminal, environment, folder and identity.

If an agent runs here, the program joins its mesh. Else, or with --standalone, this process is the mesh:
nothing is installed, nothing is pinned, and nothing is left when it ends.

With --identity it has a SPIFFE ID: in an agent's mesh one that identity.exec_identities allows; in a mesh
of our own one of a CA in memory, which nobody else knows. Without, it is namespace default, service account
default there, and nobody here.

The exit code is the program's: 128 + number if a signal ended it, 126 if it cannot be executed, 127 if it
is not found, 1 if the mesh could not be had, 2 if a flag, the configuration or the catalog is wrong; then
it was not run. SIGTERM, SIGHUP, SIGUSR1 and SIGUSR2 are forwarded; ^C reaches the program from the
terminal. If it leaves processes behind, they are served until they end (--no-wait: they go on without a
mesh). If this process is killed with SIGKILL, the program runs on, out of the mesh: the kernel takes the
hooks away with the process that held them.

\b
Examples:
  meshtrio exec --catalog services.yaml -- curl http://10.96.0.10/
  meshtrio exec --name shop --port 8080 -- python3 -m http.server 8080
  sudo meshtrio exec --user "$USER" -- psql -h 10.96.0.20       # as yourself, not as root
  meshtrio exec --identity shop/cart -- ./cart                  # as spiffe://cluster.local/ns/shop/sa/cart
  meshtrio exec -v -- ./nightly.sh                              # and show what was caught
"""

OWN_MESH = ("catalog", "rung", "rung_max", "workers")
"""Flags that only a mesh of our own can follow."""


@click.command(
    "exec",
    help=HELP,
    short_help="Run a program in the mesh.",
    context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False},
)
@click.option("--name", metavar="NAME", help="Of the workload. Default: the program's, with a number.")
@config_option
@click.option("--catalog", metavar="FILE", help="Services from this file (catalog.file); own mesh only.")
@click.option("--rung", metavar="auto|ebpf|nft", help="How connections are caught (rung); own mesh only.")
@click.option("--rung-max", metavar="r1|r1d|r2|...", help="How far they may be accelerated; own mesh only.")
@click.option(
    "--workers", metavar="N|auto", help="Data processes (default: 0, inside this one); own mesh only."
)
@click.option("--on-agent-loss", metavar="open|closed", help="What new connections meet if the mesh dies.")
@click.option("--acceleration", type=click.Choice(get_args(Acceleration)), default="auto", help=ACCELERATION)
@click.option("--user", metavar="NAME", help='Become this user, inside the mesh; with sudo: --user "$USER".')
@click.option("--identity", metavar="NS/SA", help="Its namespace and service account, or its SPIFFE ID.")
@click.option("--port", "ports", type=PORT, multiple=True, help="Catch this port inbound, too.")
@click.option("--standalone", is_flag=True, help="A mesh of our own, also if an agent runs here.")
@click.option("--no-wait", is_flag=True, help="Do not serve processes that the program leaves behind.")
@click.option("-v", "--verbose", is_flag=True, help="Show on standard error, at the end, what was caught.")
@click.option("--log-level", metavar="LEVEL", default="warning", show_default=True, help="Of our own words.")
@control_option
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def exec_(config_file: str | None, **given: Any) -> int:
    """See HELP."""
    short = {name: given[name] for name in (*OWN_MESH, "on_agent_loss", "log_level", "control")}
    flags = flags_of({**short, "workers": given["workers"] or "0"}) | {"log.format": "text"}
    config, _ = configured(config_file, flags)
    name = given["name"] or name_for(given["command"][0], os.getpid())
    _refuse_wrong(name, given["user"])
    given["account"] = _account(config, given["identity"])
    require_privilege("exec")
    control = Control(config.paths.control)
    with_agent = not given["standalone"] and control.answers()
    unused = [f"--{flag.replace('_', '-')}" for flag in OWN_MESH if given[flag] is not None]
    if with_agent and unused:
        raise Complaint(
            f"an agent runs here ({config.paths.control}), and it decides, not {', '.join(unused)};"
            " add --standalone for a mesh of your own",
            Code.USAGE,
        )
    if not with_agent:
        config = _on_our_own(config, given["identity"] is not None)
    return _run(config, control if with_agent else None, name, given)


def _account(config: Any, identity: str | None) -> tuple[str, str]:
    """Read --identity as namespace and service account. Complaint if it is none."""
    from meshtrio.identity.asked import DEFAULT, WrongIdentity, asked

    if identity is None:
        return DEFAULT, DEFAULT
    try:
        names = asked(config.identity, identity)
    except WrongIdentity as wrong:
        raise Complaint(f"--identity: {wrong}", Code.USAGE) from None
    for label in names:
        if wrong_name(label):
            raise Complaint(f"--identity: {label!r} is no DNS label, as shop-2 is", Code.USAGE)
    return names


def _on_our_own(config: Any, with_identity: bool) -> Any:
    """Let a mesh of our own have a CA in memory, or none: the agent's is not ours, and nothing may stay."""
    from msgspec.structs import replace

    source = "embedded" if with_identity else "off"
    return replace(config, identity=replace(config.identity, source=source, directory="", cache="memory"))


def _refuse_wrong(name: str, user: str | None) -> None:
    from meshtrio.cli.child import known_user

    wrong = wrong_name(name)
    # An empty one is a variable that is not set (`--user "$USER"`), and must not come to mean root.
    if not wrong and user is not None and not (user and known_user(user)):
        wrong = f"there is no user {user!r} for --user"
    if wrong:
        raise Complaint(wrong, Code.USAGE)


def _run(config: Any, control: Control | None, name: str, given: dict[str, Any]) -> int:
    import trio

    from meshtrio.cli.membership import lent, own
    from meshtrio.cli.outing import Outing
    from meshtrio.config.fault import Faults
    from meshtrio.intercept.kernel import KernelRefused
    from meshtrio.intercept.workload import Spec, WorkloadError
    from meshtrio.observe import log

    log.set_up(config.log)
    log.name_process("meshtrio-exec")
    namespace, account = given["account"]
    spec = Spec(
        name=name,
        namespace=namespace,
        service_account=account,
        ports=given["ports"],
        on_agent_loss=given["on_agent_loss"] or "",
        acceleration=given["acceleration"],
    )
    soft_limit = raise_descriptor_limit()
    outing = Outing(given["command"], given["user"] or "", soft_limit, wait=not given["no_wait"])
    verbose = given["verbose"]
    if control is not None:
        agent = control
        place = lambda: lent(agent, spec, reporting=verbose)  # noqa: E731
    else:
        place = lambda: own(config, spec, outing.child.interrupted)  # noqa: E731
    try:
        code, connections = trio.run(outing.run, place)
    except BaseException as failure:
        complaint = complaint_of(failure, (Faults, KernelRefused, WorkloadError))
        if complaint is None:
            raise
        raise complaint from failure
    if verbose:
        from meshtrio.cli.connections import show

        show({"live": [], "ended": connections, "omitted": 0, "silent_workers": 0}, err=True)
    return code
