"""Which addresses would lead back to us."""

import pytest

from meshtrio.address import Address
from meshtrio.route.doors import Doors


def at(text: str) -> Address:
    return Address.parse(text)


@pytest.mark.parametrize(
    ("door", "inside", "outside"),
    [
        (
            "127.0.0.1:15002",
            ["127.0.0.1:15002", "[::ffff:127.0.0.1]:15002"],
            ["127.0.0.2:15002", "127.0.0.1:15001"],
        ),
        ("[::1]:15002", ["[::1]:15002"], ["127.0.0.1:15002", "[::1]:15003"]),
        (
            "0.0.0.0:15001",
            ["127.0.0.1:15001", "127.9.9.9:15001", "0.0.0.0:15001", "[::1]:15001", "[::]:15001"],
            ["10.0.0.1:15001", "127.0.0.1:80", "[fd00::1]:15001"],
        ),
        ("[::]:15001", ["[::1]:15001", "127.0.0.1:15001", "0.0.0.0:15001"], ["10.0.0.1:15001", "[::1]:80"]),
    ],
)
def test_a_door_is_what_leads_to_it(door: str, inside: list[str], outside: list[str]) -> None:
    doors = Doors([at(door)])
    assert [text for text in inside if at(text) not in doors] == []
    assert [text for text in outside if at(text) in doors] == []


def test_without_doors_nothing_is_one() -> None:
    assert at("127.0.0.1:15001") not in Doors()


@pytest.mark.parametrize("text", ["0.0.0.0:15002", "[::]:15002"])
def test_the_unspecified_address_leads_to_a_door_on_loopback(text: str) -> None:
    doors = Doors([Address.parse("127.0.0.1:15002"), Address.parse("[::1]:15002")])
    assert Address.parse(text) in doors
    assert Address(Address.parse(text).ip, 15003) not in doors
