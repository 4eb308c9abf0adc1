"""What the settings promise by themselves."""

import msgspec
import pytest

from meshtrio.config.schema import Config, Exclude, Ports


def test_doors_and_admin_are_never_caught_inbound() -> None:
    config = Config(exclude=Exclude(inbound_ports=(22, 80)), ports=Ports(1, 2, 3, 4))
    assert config.inbound_exclusions == {22, 80, 1, 2, 3, 4}
    assert 22 in Config().inbound_exclusions


def structs(kind: type[msgspec.Struct]) -> list[type[msgspec.Struct]]:
    inner = [field.type for field in msgspec.structs.fields(kind)]
    return [kind, *(one for one in inner if isinstance(one, type) and issubclass(one, msgspec.Struct))]


@pytest.mark.parametrize("kind", structs(Config), ids=lambda kind: kind.__name__)
def test_every_setting_has_a_default_and_none_can_be_edited(kind: type[msgspec.Struct]) -> None:
    assert kind.__struct_config__.frozen
    assert [field.name for field in msgspec.structs.fields(kind) if field.required] == []


def test_every_default_keeps_its_own_bounds() -> None:
    assert msgspec.convert(msgspec.to_builtins(Config()), Config) == Config()


def test_an_unknown_setting_is_refused_on_the_channel_too() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"workerz": 1}, Config)
