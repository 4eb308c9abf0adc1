"""Shell. `meshtrio ca`: the CA of a trust domain, its join tokens and its nodes. Knows not how."""

import ipaddress
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from meshtrio.cli.ca_help import FORGET_HELP, HELP, NODES_HELP, PORT, ROOT_HELP, RUN_HELP, TOKEN_HELP
from meshtrio.cli.complaint import Code, Complaint, complaint_of
from meshtrio.cli.options import Span, config_option, configured, json_option, set_option
from meshtrio.cli.process import raise_descriptor_limit
from meshtrio.cli.screen import show_json, show_table

if TYPE_CHECKING:
    from meshtrio.ca.ledger import Ledger


@click.group("ca", help=HELP, short_help="The CA of a trust domain: run, token, nodes, forget, root.")
def ca() -> None:
    """See HELP."""


@ca.command(help=RUN_HELP)
@config_option
@set_option
@click.option("--bind", metavar="ADDRESS", default="::", show_default=True, help="Where to listen.")
@click.option("--port", type=click.IntRange(0, 65535), default=PORT, show_default=True)
@click.option(
    "--name", "names", multiple=True, metavar="NAME", help="A DNS name or address by which agents call it."
)
@click.option(
    "--agent", "agents", multiple=True, metavar="NAMESPACE/NAME", help="The agents' service account."
)
@click.option("--node-life", type=Span(), default="30d", show_default=True, help="Of nodes' certificates.")
@click.option(
    "--node-rate",
    type=click.FloatRange(0.1, 10_000),
    default=50.0,
    show_default=True,
    help="Requests a second from one node.",
)
@click.option(
    "--rate",
    type=click.FloatRange(0.1, 100_000),
    default=500.0,
    show_default=True,
    help="Requests a second in all.",
)
def run(config_file: str | None, settings: tuple[tuple[str, str], ...], **given: Any) -> None:
    """See RUN_HELP."""
    config = _configured(config_file, settings)
    import trio

    from meshtrio.ca import process
    from meshtrio.ca.app import Terms
    from meshtrio.ca.limits import Rate
    from meshtrio.observe import log

    _check(given["bind"], given["agents"], given["names"])
    raise_descriptor_limit()
    log.set_up(config.log)
    log.name_process("meshtrio-ca")
    rates = Rate(given["node_rate"], given["node_rate"] * 20), Rate(given["rate"], given["rate"] * 4)
    terms = Terms(config.identity.life_s, given["node_life"], *rates)
    wish = process.Wish(given["bind"], given["port"], given["names"], given["agents"], terms)
    with _telling():
        trio.run(process.run, config, wish)


@ca.command(help=TOKEN_HELP)
@config_option
@set_option
@click.option("--node", required=True, metavar="NAME", help="The node's name (`node` of its configuration).")
@click.option("--ttl", type=Span(), default="1h", show_default=True, help="Until when it must have joined.")
@click.option(
    "--allow", multiple=True, metavar="PATTERN", help="Ids it may get, or a prefix and /*. Default: all."
)
@json_option
def token(
    config_file: str | None, settings: tuple[tuple[str, str], ...], as_json: bool, **given: Any
) -> None:
    """See TOKEN_HELP."""
    config = _configured(config_file, settings)
    from meshtrio.ca.grants import checked_patterns, is_node_name
    from meshtrio.observe.log import wall_now

    if not is_node_name(given["node"]):
        raise Complaint(f"{given['node']!r} is no name for a node (letters, digits, . - _)", Code.USAGE)
    try:
        allow = checked_patterns(given["allow"], config.identity.trust_domain)
    except ValueError as wrong:
        raise Complaint(f"--allow: {wrong}", Code.USAGE) from wrong
    with _ledger(config) as ledger:
        made = ledger.new_token(given["node"], allow, wall_now(), given["ttl"])
    if as_json:
        show_json({"node": given["node"], "token": made, "ttl_s": given["ttl"], "allow": allow})
    else:
        click.echo(made)


@ca.command(help=NODES_HELP)
@config_option
@set_option
@json_option
def nodes(config_file: str | None, settings: tuple[tuple[str, str], ...], as_json: bool) -> None:
    """See NODES_HELP."""
    config = _configured(config_file, settings)
    from meshtrio.cli.words import lasting
    from meshtrio.observe.log import wall_now

    with _ledger(config, make=False) as ledger:
        found = ledger.nodes()
    if as_json:
        show_json([{"node": one.name, "allow": one.allow, "since": one.since} for one in found])
        return
    now = wall_now()
    rows = [(one.name, lasting(max(now - one.since, 0)), ", ".join(one.allow)) for one in found]
    show_table(("NODE", "JOINED AGO", "MAY GET"), rows)


@ca.command(help=FORGET_HELP)
@config_option
@set_option
@click.argument("node")
def forget(config_file: str | None, settings: tuple[tuple[str, str], ...], node: str) -> None:
    """See FORGET_HELP."""
    with _ledger(_configured(config_file, settings), make=False) as ledger:
        if not ledger.forget(node):
            raise Complaint(f"no node {node} has joined, and there is no token for it")


@ca.command(help=ROOT_HELP)
@config_option
@set_option
def root(config_file: str | None, settings: tuple[tuple[str, str], ...]) -> None:
    """See ROOT_HELP."""
    config = _configured(config_file, settings)
    from meshtrio.ca.root import place_of

    path = place_of(config.identity).certificates
    try:
        click.echo(path.read_bytes(), nl=False)
    except OSError as cause:
        raise Complaint(
            f"{path} cannot be read: {cause.strerror} (`meshtrio ca run` makes the root)"
        ) from cause


def _configured(config_file: str | None, settings: tuple[tuple[str, str], ...]) -> Any:
    config, _ = configured(config_file, dict(settings))
    if not config.identity.directory:
        raise Complaint(
            "the CA keeps root, tokens and nodes in identity.directory, which is empty", Code.USAGE
        )
    return config


def _check(bind: str, agents: tuple[str, ...], names: tuple[str, ...]) -> None:
    from meshtrio.identity.ca import is_dns_name

    if not _is_address(bind):
        raise Complaint(f"--bind {bind} is no IP address", Code.USAGE)
    for agent in agents:
        if not re.fullmatch(r"[-a-z0-9]+/[-.a-z0-9]+", agent):
            raise Complaint(f"--agent {agent} is not NAMESPACE/NAME of a service account", Code.USAGE)
    for name in names:
        if not is_dns_name(name) and not _is_address(name):
            raise Complaint(f"--name {name!r} is no DNS name in lower case, and no IP address", Code.USAGE)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


@contextmanager
def _ledger(config: Any, *, make: bool = True) -> "Iterator[Ledger]":
    from meshtrio.ca.ledger import Ledger
    from meshtrio.ca.process import LEDGER

    path = Path(config.identity.directory, LEDGER)
    if not make:
        with suppress(PermissionError):  # that is the ledger's to tell
            if not path.exists():
                raise Complaint(f"there is no CA here, for there is no {path} (`meshtrio ca run` makes it)")
    with _telling():
        ledger = Ledger(path)
        try:
            yield ledger
        finally:
            ledger.close()


@contextmanager
def _telling() -> Iterator[None]:
    from meshtrio.ca.ledger import LedgerError
    from meshtrio.ca.server import CannotListen
    from meshtrio.identity.bundle import BundleFault
    from meshtrio.identity.refusal import Refused
    from meshtrio.issuers.root_file import RootError

    try:
        yield
    except BaseException as failure:
        complaint = complaint_of(failure, (LedgerError, CannotListen, RootError, BundleFault, Refused))
        if complaint is None:
            raise
        raise complaint from failure
