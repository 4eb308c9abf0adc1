"""Shell. Whose Kubernetes token is this, and which identities are on its node? As the API server says.

By a TokenReview for our audience, which names the service account and the pod that the token is bound to; the
pod tells its node, and the node's pods tell the service accounts there. A token of another account than the
agents' proves nothing: every pod may ask for one. Does not know HTTP, nor what is asked for.
"""

import re
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import msgspec
import trio

from meshtrio.ca.grants import Caller, Denied, Why, digest
from meshtrio.discover.kubernetes_call import CallError, Fault
from meshtrio.discover.kubernetes_reach import Reach
from meshtrio.identity.spiffe import SpiffeFault, SpiffeId, Template
from meshtrio.observe import log

if TYPE_CHECKING:
    from meshtrio.discover.kubernetes_client import Line

AUDIENCE = "meshtrio"
REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"
LINES = 4
"""Questions to the API server at a time. Full: others wait, for no longer than a caller's patience."""
WAIT_S = 8.0
TOKEN_S = 10.0
"""How long a token that was reviewed is good without another review. A pod that is deleted is so long one."""
PODS_S = 5.0
"""How long the list of a node's pods is good for who is on it. Who is not on it has it listed anew."""
TOKENS_BOUND = 1024
NODES_BOUND = 1024
ANSWER_BYTES = 16 << 20
_ACCOUNT = "system:serviceaccount:"
_POD_NAME = "authentication.kubernetes.io/pod-name"
_POD_UID = "authentication.kubernetes.io/pod-uid"
_ENDED = ("Succeeded", "Failed")
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")


class _User(msgspec.Struct):
    username: str = ""
    extra: dict[str, list[str]] = {}


class _Status(msgspec.Struct):
    authenticated: bool = False
    user: _User = msgspec.field(default_factory=_User)
    audiences: list[str] = []


class _Review(msgspec.Struct):
    status: _Status = msgspec.field(default_factory=_Status)


class _Meta(msgspec.Struct):
    namespace: str = ""
    uid: str = ""


class _Spec(msgspec.Struct, rename="camel"):
    node_name: str = ""
    service_account_name: str = "default"


class _Phase(msgspec.Struct):
    phase: str = ""


class _Pod(msgspec.Struct):
    metadata: _Meta
    spec: _Spec
    status: _Phase = msgspec.field(default_factory=_Phase)


class _Pods(msgspec.Struct):
    items: list[_Pod]


class Rules(msgspec.Struct, frozen=True):
    """Which service accounts (namespace/name) are agents, and how ids are made."""

    agents: frozenset[str]
    trust_domain: str
    template: Template


class Reviews:
    """What the API server has said lately. Use `reviewing`, which also closes."""

    def __init__(self, reach: Reach, rules: Rules) -> None:
        """Ask nothing yet. `reach` is for LINES streams."""
        self._reach = reach
        self._rules = rules
        self._free = [reach.line() for _ in range(LINES)]
        self._asking = trio.CapacityLimiter(LINES)
        self._nodes: OrderedDict[bytes, tuple[float, str]] = OrderedDict()
        self._ids: OrderedDict[str, tuple[float, frozenset[SpiffeId]]] = OrderedDict()

    def close(self) -> None:
        """Close the connections."""
        for line in self._free:
            line.close()

    async def caller(self, token: str, wanted: SpiffeId) -> Caller:
        """Say which node this token is of, and what is on it. Denied if it is no agent's; or if the API
        server does not say, and then for a moment only."""
        try:
            node = await self._node_of(token)
            ids = await self._ids_on(node, wanted)
        except CallError as failed:
            # Words of a server that has just got this token in a body.
            words = str(failed).replace(token, "***")
            log.rarely("the API server does not say whose a token is", why=words)
            raise Denied(Why.NOT_NOW, "the API server does not say whose this token is", 5.0) from None
        except _UNREADABLE:
            log.rarely("the API server's answer cannot be read")
            raise Denied(Why.NOT_NOW, "the API server's answer cannot be read", 5.0) from None
        return Caller(node, "kubernetes", ids=ids)

    async def _node_of(self, token: str) -> str:
        key, now = digest(token), trio.current_time()
        known = self._nodes.get(key)
        if known is not None and now < known[0] + TOKEN_S:
            return known[1]
        node = await self._ask(partial(self._reviewed, token))
        _keep(self._nodes, key, (now, node), TOKENS_BOUND)
        return node

    async def _ids_on(self, node: str, wanted: SpiffeId) -> frozenset[SpiffeId]:
        now = trio.current_time()
        known = self._ids.get(node)
        if known is not None and now < known[0] + PODS_S and wanted in known[1]:
            return known[1]
        ids = await self._ask(partial(self._listed, node))
        _keep(self._ids, node, (now, ids), NODES_BOUND)
        return ids

    def _reviewed(self, token: str, line: "Line") -> str:
        wish = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [AUDIENCE]},
        }
        pace = self._reach.pace
        with line.post(REVIEWS, msgspec.json.encode(wish), pace.connect_s, pace.connect_s) as body:
            status = msgspec.json.decode(_whole(body), type=_Review).status
        # A server that knows nothing of audiences tells of none.
        if not status.authenticated or AUDIENCE not in status.audiences:
            raise Denied(
                Why.TOKEN_UNKNOWN, f"the API server does not know this token for audience {AUDIENCE}"
            )
        account = status.user.username.removeprefix(_ACCOUNT).replace(":", "/")
        if not status.user.username.startswith(_ACCOUNT) or account not in self._rules.agents:
            raise Denied(Why.ACCOUNT, f"{ascii(status.user.username)[:200]} is no agent's service account")
        names, uids = status.user.extra.get(_POD_NAME, []), status.user.extra.get(_POD_UID, [])
        if len(names) != 1 or len(uids) != 1:
            raise Denied(Why.ACCOUNT, "the token is bound to no pod, so it does not say which node it is of")
        return self._node_of_pod(account.partition("/")[0], names[0], uids[0], line)

    def _node_of_pod(self, namespace: str, name: str, uid: str, line: "Line") -> str:
        pace = self._reach.pace
        path = f"/api/v1/namespaces/{_segment(namespace)}/pods/{_segment(name)}"
        try:
            with line.get(path, {}, pace.connect_s, pace.connect_s) as body:
                pod = msgspec.json.decode(_whole(body), type=_Pod)
        except CallError as failed:
            if failed.fault is Fault.MISSING:
                raise Denied(Why.ACCOUNT, "the pod that the token is bound to is gone") from None
            raise
        if pod.metadata.uid != uid or not pod.spec.node_name:
            raise Denied(Why.ACCOUNT, "the pod that the token is bound to is gone, or on no node yet")
        return pod.spec.node_name

    def _listed(self, node: str, line: "Line") -> frozenset[SpiffeId]:
        pace = self._reach.pace
        query = {"fieldSelector": f"spec.nodeName={node}"}
        with line.get("/api/v1/pods", query, pace.connect_s, pace.list_s) as body:
            pods = msgspec.json.decode(_whole(body), type=_Pods).items
        # Asked for by the node, and yet looked at: a server that passes the selector over would tell of all.
        here = [one for one in pods if one.spec.node_name == node and one.status.phase not in _ENDED]
        accounts = {(one.metadata.namespace, one.spec.service_account_name) for one in here}
        found = set()
        for namespace, account in accounts:
            try:
                rules = self._rules
                found.add(
                    rules.template.render(rules.trust_domain, namespace=namespace, service_account=account)
                )
            except SpiffeFault as fault:
                log.rarely("a service account can have no id", why=str(fault))
        return frozenset(found)

    async def _ask(self, ask: "Callable[[Line], T]") -> T:
        async with self._asking:
            line = self._free.pop()
            try:
                with trio.fail_after(WAIT_S):
                    return await self._reach.in_thread(partial(ask, line), line.cut)
            except trio.TooSlowError:
                raise Denied(Why.NOT_NOW, "the API server does not answer in time", 5.0) from None
            finally:
                if line.is_cut:
                    line.close()
                    line = self._reach.line()
                self._free.append(line)


def _keep(kept: OrderedDict[K, V], key: K, value: V, bound: int) -> None:
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > bound:
        kept.popitem(last=False)


def _whole(body: Iterator[bytes]) -> bytes:
    parts, size = [], 0
    for chunk in body:
        size += len(chunk)
        if size > ANSWER_BYTES:
            raise CallError(f"an answer of more than {ANSWER_BYTES} bytes", Fault.FAILED)
        parts.append(chunk)
    return b"".join(parts)


def _segment(name: str) -> str:
    """Give a name back that can stand in a path at one place."""
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?", name):
        raise Denied(Why.ACCOUNT, "the token is bound to a pod of an impossible name")
    return name
