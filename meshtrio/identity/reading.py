"""Core. Of whom an id speaks that a template made: the way back. Does not vouch for the id."""

import re

from meshtrio.identity.spiffe import SpiffeId, Template


class Reading:
    """Reads ids by one template. What that does not name, no id says."""

    def __init__(self, template: Template) -> None:
        """Take a template."""
        path = re.escape(template.text.partition("}")[2])
        self._path = re.compile(re.sub(r"\\\{(namespace|service_account)\\\}", r"(?P<\1>[^/]+)", path))

    def namespace(self, who: SpiffeId) -> str:
        """Give the namespace; nothing if the template does not make such ids, or has none in them."""
        return (self.read(who) or {}).get("namespace", "")

    def read(self, who: SpiffeId) -> dict[str, str] | None:
        """Give what the template has places for, by their names; None if it does not make such ids."""
        found = self._path.fullmatch(who.path)
        return None if found is None else found.groupdict()
