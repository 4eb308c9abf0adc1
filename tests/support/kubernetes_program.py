"""Shell. The Kubernetes API server of tests/support/kubernetes.py as a process: one JSON order a line.

It can so be stopped and killed like a real one, and leaves no sockets in the process of the tests. Started
again after `stop`, it knows what it knew.
"""

import json
import sys
from typing import Any

from tests.support.kubernetes import ApiServer

api = ApiServer()


def start() -> Any:
    api.start()
    return {"port": api.port}


def put(resource: str, objects: list[dict[str, Any]]) -> Any:
    api.store.put(resource, *objects)
    return {}


def delete(resource: str, names: list[str]) -> Any:
    for name in names:
        api.store.delete(resource, name)
    return {}


def take_tokens(tokens: list[str]) -> Any:
    api.tokens = set(tokens)
    return {}


def forget() -> Any:
    """Forget the history: whoever watches gets 410."""
    api.store.compact()
    return {"watching": api.watching}


def fall(how: str) -> Any:
    """Stop, freeze, thaw or tear, as ApiServer says."""
    getattr(api, how)()
    return {}


def lists() -> Any:
    """Say how many lists were asked for."""
    return {"lists": sum(one.lists for one in api.requests)}


def main() -> None:
    start()
    print(json.dumps({"port": api.port}), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        print(json.dumps(globals()[order.pop("do")](**order)), flush=True)
    api.stop()


if __name__ == "__main__":
    main()
