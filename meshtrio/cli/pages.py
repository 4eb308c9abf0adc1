"""Shell. Long answers of the agent, read page by page. Knows cursors, not what is listed."""

from typing import Any
from urllib.parse import urlencode

from meshtrio.cli.control_client import Control

PAGE = 1000


def fetched(agent: Control, path: str, asked: dict[str, str], *, most: int | None = None) -> dict[str, Any]:
    """Read a list, all of it or (`most`) its first entries, as one answer.

    What comes and goes meanwhile may be there or not; all else is there once. The list has the path's last
    word as its name, beside `total`, which is how many there are.
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
        whole = whole or {"total": page["total"]}
        rows += page[name]
        after = page["after"]
    return {name: rows, **whole}
