"""Core. Which identity somebody asks for, and whether the configuration lets it be had. Makes none."""

from meshtrio.config.identity import Identity
from meshtrio.identity.reading import Reading
from meshtrio.identity.spiffe import SpiffeFault, parse_template, parse_workload

DEFAULT = "default"
"""The namespace and the service account of who asks for none."""


class WrongIdentity(ValueError):
    """A text names no identity that this mesh makes; the words say why."""


def asked(identity: Identity, text: str) -> tuple[str, str]:
    """Read NAMESPACE/SERVICE_ACCOUNT, or a SPIFFE ID that our template makes, as namespace and account."""
    template = parse_template(identity.template)
    namespace, slash, account = text.partition("/")
    try:
        if not text.startswith("spiffe:"):
            if not slash:
                raise WrongIdentity(
                    f"{text!r} is no identity (want NAMESPACE/SERVICE_ACCOUNT or a SPIFFE ID)"
                )
            template.render(identity.trust_domain, namespace=namespace, service_account=account)
            return namespace, account
        who = parse_workload(text)
    except SpiffeFault as fault:
        raise WrongIdentity(str(fault)) from None
    if who.trust_domain != identity.trust_domain:
        raise WrongIdentity(f"{text} is not of our trust domain {identity.trust_domain}")
    said = Reading(template).read(who)
    if said is None:
        raise WrongIdentity(f"{text} does not fit identity.template {identity.template}")
    return said.get("namespace", DEFAULT), said.get("service_account", DEFAULT)


def refusal(identity: Identity, *, namespace: str, service_account: str) -> str:
    """Say why somebody who asks a running agent cannot have this identity; empty if it can be had."""
    if (namespace, service_account) == (DEFAULT, DEFAULT):
        return ""
    template = parse_template(identity.template)
    who = template.render(identity.trust_domain, namespace=namespace, service_account=service_account)
    if not set(identity.exec_identities).isdisjoint(who.patterns()):
        return ""
    among = ", ".join(identity.exec_identities) or "which is empty"
    return f"{who} is not allowed by identity.exec_identities of the agent's configuration ({among})"
