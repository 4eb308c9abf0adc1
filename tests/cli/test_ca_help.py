"""What `meshtrio ca` says of itself, against what it does."""

from click import Group
from click.testing import CliRunner

from meshtrio.cli import ca_help
from meshtrio.cli.main import main


def test_each_subcommand_says_what_it_is_for_and_the_port_is_the_issuers() -> None:
    from meshtrio.issuers.exchange import url_of

    group = main.commands["ca"]
    assert isinstance(group, Group)
    assert set(group.commands) == {"run", "token", "nodes", "forget", "root"}
    for name, command in group.commands.items():
        assert command.help == getattr(ca_help, f"{name.upper()}_HELP")
    assert url_of("https://ca").port == ca_help.PORT
    text = CliRunner().invoke(main, ["ca", "run", "-h"]).output
    assert f"port {ca_help.PORT}" in text
