"""What may be a secret is not shown."""

from meshtrio.config.load import load
from meshtrio.config.schema import Config
from meshtrio.config.secrecy import shown


def test_values_of_headers_are_left_out_and_nothing_else() -> None:
    text = "health_checks: [{service: a, headers: {authorization: Bearer s3cret}}, {service: b}]"
    config = load(text, {}, {})
    assert "s3cret" not in str(shown(config))
    assert [check.headers for check in shown(config).health_checks] == [{"authorization": "..."}, {}]
    assert config.health_checks[0].headers == {"authorization": "Bearer s3cret"}
    assert shown(config).health_checks[1] == config.health_checks[1]


def test_where_there_is_nothing_to_hide_it_is_the_very_object() -> None:
    config = Config()
    assert shown(config) is config
