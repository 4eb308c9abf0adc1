"""Core. What `meshtrio ca` and its subcommands say of themselves."""

PORT = 15004

HELP = """The CA of a trust domain, for agents with `identity.source: remote`.

Root, tokens and nodes are kept in identity.directory; an agent's own CA keeps its root there, too, so one can
take the place of the other. Without a subcommand nothing is started: see `meshtrio ca run --help`.
"""

RUN_HELP = f"""Answer agents (HTTPS, port {PORT}) until SIGTERM or ^C: sign certificates of the workloads on
their nodes, and tell everybody the roots (GET /v1/bundle, SPIFFE's JSON).

An agent proves its node by a join token, once, and from then on by the certificate that it got for it; or,
with --agent, by the token of a Kubernetes service account for the audience "meshtrio". A node gets identities
of its own workloads alone: with Kubernetes those of service accounts that have a pod there, otherwise what
the join token allows.

Of the configuration are used: identity.trust_domain, template, directory, root_certificate, root_key,
life_s, skew_s and audit; discovery.kubernetes.kubeconfig and context; log. Root files are read again when
they change.

\b
Examples:
  meshtrio ca run --name ca.example.org
  meshtrio ca run --set identity.trust_domain=example.org --set identity.audit=/var/log/meshtrio-ca.json
  meshtrio ca run --agent meshtrio/meshtrio      # in a cluster, beside the DaemonSet
"""

TOKEN_HELP = """Make a join token, and print it: with it a node can join once. It is kept hashed, and told to
nobody again. The node gets a certificate for it, which its agent renews by itself.

On the CA's machine, as the CA's user; the CA may run or not. Without --allow the node may get every identity
of the trust domain: say which workloads it has, and a stolen node can be nobody else.

\b
Examples:
  meshtrio ca token --node web-1 > token
  meshtrio ca token --node web-1 --ttl 10m --allow 'spiffe://cluster.local/ns/shop/*'
  meshtrio ca token --node web-1 --json
    {"node": "web-1", "token": "meshtrio-join-...", "ttl_s": 3600.0, "allow": ["spiffe://cluster.local/*"]}
"""

NODES_HELP = """List the nodes that have joined by a token, and what each may get.

\b
Examples:
  meshtrio ca nodes
  meshtrio ca nodes --json
    [{"node": "web-1", "allow": ["spiffe://cluster.local/ns/shop/*"], "since": 1764300000.0}, ...]
"""

FORGET_HELP = """Let a node get nothing any more, neither by its certificate nor by tokens made for it.
What its workloads have lives on until it ends; to end that too, put their ids into identity.revocations.

\b
Examples:
  meshtrio ca forget web-1
"""

ROOT_HELP = """Print the trusted roots as PEM, for identity.remote.ca_file of the agents. Makes none.

\b
Examples:
  meshtrio ca root > ca.pem
"""
