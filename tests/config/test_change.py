"""What differs, and what of it can wait for no restart."""

import msgspec
import pytest

from meshtrio.config.change import NEEDS_RESTART, Change, diff, held_back
from meshtrio.config.load import load, setting_paths
from meshtrio.config.schema import Config

NEW = load(
    "workers: 3\nports: {inbound: 5}\ntimeouts: {drain_s: 1}\n"
    "exclude: {inbound_ports: [1]}\nadmin: {bind: '::1'}",
    {},
    {},
)


def test_nothing_differs_from_itself() -> None:
    assert diff(NEW, NEW) == ()
    assert diff(Config(), load("", {}, {})) == ()


def test_what_differs_is_listed_by_path() -> None:
    assert diff(Config(), NEW) == (
        Change("workers", "auto", 3),
        Change("ports.inbound", 15001, 5),
        Change("admin.bind", "127.0.0.1", "::1"),
        Change("exclude.inbound_ports", (22,), (1,)),
        Change("timeouts.drain_s", 30.0, 1.0),
    )


def test_a_change_knows_whether_it_can_hold_now() -> None:
    waiting = [change.path for change in diff(Config(), NEW) if change.needs_restart]
    assert waiting == ["workers", "ports.inbound", "admin.bind"]


def test_what_needs_a_restart_is_held_back_and_the_rest_holds() -> None:
    now = held_back(Config(), NEW)
    assert [change.path for change in diff(Config(), now)] == ["exclude.inbound_ports", "timeouts.drain_s"]
    assert diff(now, NEW) == tuple(change for change in diff(Config(), NEW) if change.needs_restart)
    assert held_back(NEW, NEW) is NEW


@pytest.mark.parametrize("path", sorted(NEEDS_RESTART))
def test_every_path_that_needs_a_restart_is_a_setting(path: str) -> None:
    assert path in setting_paths()


def test_a_change_cannot_be_edited() -> None:
    assert Change.__struct_config__.frozen
    assert issubclass(Change, msgspec.Struct)
