"""The kinds of values, each with what it takes and what it does not."""

from typing import Any

import msgspec
import pytest

from meshtrio.config import kinds
from meshtrio.config.shape import Shaping

TAKES: list[tuple[str, list[Any], list[Any]]] = [
    ("Path", ["/", "/etc/x"], ["", "etc", "/a\x00b", 3]),
    ("OptionalPath", ["", "/etc/x"], ["etc", "/a\x00b", 3]),
    ("Port", [1, 65535], [0, 65536, -1, "80"]),
    ("Label", ["a", "shop-2", "a" * 63], ["", "-a", "a-", "A", "a.b", "a" * 64, "a\n"]),
    ("Count", [1, 1_000_000], [0, 1_000_001]),
    ("Ip", ["10.0.0.1", "fd00::1"], ["", "10.0.0", "10.0.0.1:80", "x"]),
    ("ServiceName", ["a", "shop/a-2"], ["", "/a", "a/", "a/b/c", "A", "a_b"]),
    ("Cidr", ["10.0.0.0/8", "fd00::/8"], ["10.0.0.1/8", "x/8", "10.0.0.0/33"]),
]


@pytest.mark.parametrize(("kind", "good", "bad"), TAKES, ids=[name for name, _, _ in TAKES])
def test_a_kind_takes_what_it_says_and_nothing_else(kind: str, good: list[Any], bad: list[Any]) -> None:
    one = msgspec.defstruct("One", [("value", getattr(kinds, kind))], frozen=True)

    def faults(value: Any) -> list[str]:
        shaping = Shaping({})
        shaping.struct(one, {"value": value})
        return [fault.says for fault in shaping.faults]

    assert [faults(value) for value in good] == [[]] * len(good)
    assert all("(want " in fault for value in bad for fault in faults(value))
    assert [value for value in bad if not faults(value)] == []
