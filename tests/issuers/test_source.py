"""Which source is opened, and that nothing heavy is imported for it before."""

import subprocess
import sys

import pytest

from meshtrio.config.identity import Identity
from meshtrio.issuers.issuer import IssueError
from meshtrio.issuers.source import sources_of


@pytest.mark.parametrize("source", ["embedded", "remote", "spire"])
def test_each_source(source: str) -> None:
    settings = Identity(source=source)  # type: ignore[arg-type]
    assert sources_of("web-1")(lambda: settings, lambda: 0.0).name == source


def test_what_is_not_known_is_refused() -> None:
    with pytest.raises(IssueError, match="source off is not known"):
        sources_of("web-1")(lambda: Identity(source="off"), lambda: 0.0)


def test_an_agent_without_identities_does_not_carry_certificates() -> None:
    code = "import sys, meshtrio.agent, meshtrio.issuers.source; print('cryptography' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
