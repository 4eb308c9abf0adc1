"""Shell. Long answers of the agent, read page by page, and the names of services that shells complete.

Knows cursors, not what is listed.
"""

from typing import Any
from urllib.parse import urlencode

import click

from meshtrio.cli.complaint import Complaint
from meshtrio.cli.control_client import Control
from meshtrio.cli.options import control_path

PAGE = 1000
MOST_SUGGESTED = 50


def fetched(agent: Control, path: str, asked: dict[str, str], *, most: int | None = None) -> dict[str, Any]:
    """Read a list, all of it or (`most`) its first entries, as one answer.

    What comes and goes meanwhile may be there or not; all else is there once. The list has the path's last
    word as its name, beside `total`, which is how many there are, and whatever else the first page says.
    """
    name = path.rpartition("/")[2]
    whole: dict[str, Any] = {}
    rows: list[Any] = []
    after = ""
    while not whole or after:
        left = PAGE if most is None else min(PAGE, most - len(rows))
        if left <= 0:
            break
        question = {**asked, "limit": str(left), "after": after}
        page = agent.get(f"{path}?{urlencode({key: word for key, word in question.items() if word})}")
        whole = whole or {key: word for key, word in page.items() if key not in (name, "after")}
        rows += page[name]
        after = page["after"]
    return {name: rows, **whole}


def suggested_services(ctx: click.Context, param: click.Parameter, begun: str) -> list[str]:
    """Complete the name of a service, as shells ask for it. Says nothing where the agent says nothing."""
    namespace, slash, name = begun.rpartition("/")
    asked = {"name": f"{name}*", **({"namespace": namespace} if slash else {})}
    try:
        path = control_path(ctx.params.get("control"))
        listed = fetched(Control(path, answer_s=1.0), "/v1/services", asked, most=MOST_SUGGESTED)["services"]
    except Complaint:
        return []
    names = [one["name"] for one in listed]
    return [
        f"{one['namespace']}/{one['name']}" if slash or names.count(one["name"]) > 1 else one["name"]
        for one in listed
    ]
