"""Shell. `meshtrio policy`: who may call whom, and which rule says so. Changes nothing, and calls nobody."""

from typing import Any

import click
import msgspec

from meshtrio.cli.columns import Column, Line, Row, lay_out
from meshtrio.cli.complaint import Code, Complaint
from meshtrio.cli.control_client import Control, NoAgent
from meshtrio.cli.options import PORT, configured, control_option, control_path, json_option
from meshtrio.cli.screen import note, show_json
from meshtrio.config.identity import Callers, Policy
from meshtrio.config.schema import Config

HELP = """Look at who may call whom, as this machine's agent has it, or as a file would have it.

\b
Examples:
  meshtrio policy list
  meshtrio policy check --from spiffe://cluster.local/ns/shop/sa/web --to shop/cart
"""

LIST_HELP = """List the rules of policy and mutual TLS, in their order.

Deny wins over allow, and `default` decides where no rule fits. Of modes, the first rule that fits decides.
Rules that can be seen to fit nobody, or never to decide, are remarked on standard error.

\b
Examples:
  meshtrio policy list
  meshtrio policy list --config new.yaml
  meshtrio policy list --json
    {"default": "deny", "dry_run": false,
     "rules": [{"action": "allow", "name": "web", "callers": {"ids": [], "namespaces": ["shop"],
                "trust_domains": []}, "namespaces": [], "workloads": ["cart"], "ports": []}],
     "mode": "permissive",
     "modes": [{"mode": "strict", "namespace": "shop", "workload": "", "port": 0, "any_alpn": false}],
     "remarks": ["policy.rules[3] (old) never decides: no-office denies all that it speaks of"]}
"""

CHECK_HELP = """Say what would happen if one workload called another, and which rules decide.

The caller is a SPIFFE ID, which it is taken to prove, or `anonymous`: a program outside of the mesh. The
called workload is NAMESPACE/WORKLOAD, or a workload alone: in its namespace if it is here, else in default.
Without --port it is about the ports that no rule names; those of which something else holds are listed.

Ends with 0 if the call is let through, 1 if it is not.

\b
Examples:
  meshtrio policy check --from spiffe://cluster.local/ns/shop/sa/web --to shop/cart --port 8080
  meshtrio policy check --from anonymous --to cart --config new.yaml
  meshtrio policy check --from anonymous --to cart --json
    {"allowed": false, "outcome": "denied", "caller": "anonymous", "judged": "anonymous",
     "namespace": "default", "workload": "cart", "port": 0, "mode": "permissive",
     "mode_rule": "mtls.mode", "treatment": "plain", "rule": "default", "would_deny": true,
     "words": "policy.default denies anonymous to call default/cart on ports that no rule names",
     "ports": []}
"""


def _config_option(command: Any) -> Any:
    return click.option(
        "--config", "config_file", metavar="FILE", help="Ask this configuration, and not the running agent."
    )(command)


@click.group("policy", help=HELP, short_help="Who may call whom, and which rule says so.")
def policy() -> None:
    """See HELP."""


@policy.command("list", help=LIST_HELP)
@_config_option
@control_option
@json_option
def list_(config_file: str | None, control: str | None, as_json: bool) -> None:
    """See LIST_HELP."""
    from meshtrio.route.remarks import remarks

    config, _ = _asked(config_file, control)
    if as_json:
        told = msgspec.to_builtins(config.policy)
        modes = msgspec.to_builtins(config.mtls.rules)
        odd = list(remarks(config))
        show_json(told | {"mode": config.mtls.mode, "modes": modes, "remarks": odd})
        return
    for line in tables_of(config):
        click.secho(line.text, bold=line.bold, fg=line.colour or None)
    for remark in remarks(config):
        note(remark)


@policy.command(help=CHECK_HELP)
@click.option("--from", "caller", required=True, metavar="SPIFFE_ID|anonymous", help="Who calls.")
@click.option("--to", "called", required=True, metavar="[NAMESPACE/]WORKLOAD", help="Who is called.")
@click.option("--port", type=PORT, default=None, help="At which port.")
@_config_option
@control_option
@json_option
def check(caller: str, called: str, port: int | None, as_json: bool, **where: Any) -> int:
    """See CHECK_HELP."""
    from meshtrio.route.explain import ANY_PORT, Foresight

    who = _caller(caller)
    namespace, workload = _called(called)
    config, here = _asked(where["config_file"], where["control"])
    namespace = namespace or here.get(workload, "default")
    foresight = Foresight(config)

    def foretold(at: int) -> Row:
        return _plain(foresight.expected(who, namespace=namespace, workload=workload, port=at))

    told = foretold(port or ANY_PORT)
    others = [foretold(at) for at in foresight.ports] if port is None else []
    alike = ("outcome", "mode_rule", "rule")
    told["ports"] = [one for one in others if any(one[key] != told[key] for key in alike)]
    if as_json:
        show_json(told)
    else:
        _show(told)
    return Code.OK if told["allowed"] else Code.FAILED


def tables_of(config: Config) -> list[Line]:
    """Make the rules into lines."""
    judged: Policy = config.policy
    rules = msgspec.to_builtins(judged.rules)
    dry = " (dry run: nobody is refused)" if judged.dry_run else ""
    columns = (
        Column("RULE", lambda one: one["name"]),
        Column("ACTION", lambda one: one["action"]),
        Column("CALLERS", _callers),
        Column("CALLED", _called_words),
        Column("PORTS", lambda one: ",".join(map(str, one["ports"])) or "all"),
    )
    lines = lay_out(columns, rules, width=None) if rules else [Line("no rules")]
    lines += [Line(f"where no rule fits: {judged.default}{dry}"), Line("")]
    of_modes = (
        Column("MODE", lambda one: one["mode"] + (" (any client)" if one["any_alpn"] else "")),
        Column("NAMESPACE", lambda one: one["namespace"] or "all"),
        Column("WORKLOAD", lambda one: one["workload"] or "all"),
        Column("PORT", lambda one: one["port"] or "all"),
    )
    modes = msgspec.to_builtins(config.mtls.rules)
    lines += lay_out(of_modes, modes, width=None) if modes else []
    off = " (identity.source is off: nothing is encrypted)" if config.identity.source == "off" else ""
    return [*lines, Line(f"mode elsewhere: {config.mtls.mode}{off}")]


def _callers(rule: Row) -> str:
    callers = rule["callers"]
    if callers == msgspec.to_builtins(Callers()):
        return "everybody"
    kinds = {"ids": "", "namespaces": "namespace ", "trust_domains": "trust domain "}
    return " and ".join(f"{word}{','.join(callers[kind])}" for kind, word in kinds.items() if callers[kind])


def _called_words(rule: Row) -> str:
    return f"{','.join(rule['namespaces']) or '*'}/{','.join(rule['workloads']) or '*'}"


def _asked(file: str | None, control: str | None) -> tuple[Config, dict[str, str]]:
    """Get the configuration to ask, and the namespaces of the workloads that it or its agent has."""
    if file is not None:
        config, _ = configured(file, {})
        return config, {one.name: one.namespace for one in config.workloads}
    agent = Control(control_path(control))
    try:
        config = msgspec.convert(agent.get("/v1/config"), Config)
    except msgspec.ValidationError as other:
        raise NoAgent(f"the agent at {agent.path} has settings that are unknown here: {other}") from other
    here = agent.get("/v1/status")["workloads"]
    return config, {one["name"]: one.get("namespace", "default") for one in here}


def _caller(text: str) -> Any:
    from meshtrio.identity.spiffe import SpiffeFault, parse_workload
    from meshtrio.route.policy import ANONYMOUS

    try:
        return None if text == ANONYMOUS else parse_workload(text)
    except SpiffeFault as fault:
        raise Complaint(f"--from: {fault} (want a workload's SPIFFE ID, or anonymous)", Code.USAGE) from None


def _called(text: str) -> tuple[str, str]:
    from meshtrio.cli.name import wrong_name

    namespace, _, workload = text.rpartition("/")
    wrong = [one for one in (workload, *([namespace] if "/" in text else [])) if wrong_name(one)]
    if wrong:
        raise Complaint(
            f"--to is {text!r} (want WORKLOAD or NAMESPACE/WORKLOAD, as in shop/cart)", Code.USAGE
        )
    return namespace, workload


def _plain(told: Any) -> Row:
    verdict, demand = told.verdict, told.demand
    return {
        "allowed": told.outcome is None,
        "outcome": "" if told.outcome is None else told.outcome.value,
        "caller": told.asked,
        "judged": verdict.caller,
        "namespace": verdict.namespace,
        "workload": verdict.workload,
        "port": verdict.port,
        "mode": demand.mode,
        "mode_rule": demand.rule,
        "treatment": told.treatment.value,
        "rule": verdict.rule,
        "would_deny": verdict.would_deny,
        "words": told.words,
    }


def _show(told: Row) -> None:
    for one in (told, *told["ports"]):
        ending = "allowed" if one["allowed"] else f"refused ({one['outcome']})"
        port = f"port {one['port']}" if one["port"] else "any port" if not told["ports"] else "other ports"
        carried = "mutual TLS" if one["treatment"] == "mutual_tls" else "plain"
        how = f", {carried}" if one["allowed"] else ""
        click.echo(f"{port}: {click.style(ending, fg='green' if one['allowed'] else 'red')}{how}")
        click.echo(f"  {one['words']}")
