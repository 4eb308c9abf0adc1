"""Core. What is asked of a Kubernetes API server: which streams there are, and where each finds objects."""

from collections.abc import Iterable
from typing import NamedTuple

from meshtrio.catalog.kubernetes_objects import Kind


class Api(NamedTuple):
    """One way to ask for a kind. `word` names it in the record of the stream."""

    kind: Kind
    group: str
    word: str

    def path(self, namespace: str) -> str:
        """Give the path of the collection, of one namespace if one is given."""
        place = f"/namespaces/{namespace}" if namespace and self.kind is not Kind.NAMESPACE else ""
        return f"{self.group}{place}/{self.kind.value}"


_CORE = "/api/v1"
_SLICES = "/apis/discovery.k8s.io"

APIS: dict[Kind, tuple[Api, ...]] = {
    Kind.SERVICE: (Api(Kind.SERVICE, _CORE, "services"),),
    Kind.SLICE: (
        Api(Kind.SLICE, f"{_SLICES}/v1", "endpointslices"),
        Api(Kind.SLICE, f"{_SLICES}/v1beta1", "endpointslices-v1beta1"),
        Api(Kind.ENDPOINTS, _CORE, "endpoints"),
    ),
    Kind.POD: (Api(Kind.POD, _CORE, "pods"),),
    Kind.NAMESPACE: (Api(Kind.NAMESPACE, _CORE, "namespaces"),),
}
"""Where each stream looks: the first that the server has, and lets us see."""


class Topic(NamedTuple):
    """What one stream is about."""

    kind: Kind
    namespace: str = ""
    """Empty: all."""

    @property
    def essential(self) -> bool:
        """Say whether there is no knowing the services without it."""
        return self.kind in (Kind.SERVICE, Kind.SLICE)

    @property
    def apis(self) -> tuple[Api, ...]:
        """The ways to ask, best first."""
        return APIS[self.kind]

    @property
    def selection(self) -> dict[str, str]:
        """What narrows the collection further: a Namespace is in none, so it is chosen by its name."""
        if self.kind is Kind.NAMESPACE and self.namespace:
            return {"fieldSelector": f"metadata.name={self.namespace}"}
        return {}

    def named(self, api: Api) -> str:
        """Give the name of the stream's record."""
        return f"{self.namespace}/{api.word}" if self.namespace else api.word


def topics(namespaces: Iterable[str], *, pods: bool) -> list[Topic]:
    """Say which streams there are."""
    kinds = [Kind.NAMESPACE, *([Kind.POD] if pods else []), Kind.SERVICE, Kind.SLICE]
    return [
        Topic(kind, namespace) for kind in kinds for namespace in tuple(dict.fromkeys(namespaces)) or ("",)
    ]
