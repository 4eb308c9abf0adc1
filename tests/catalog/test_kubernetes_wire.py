"""What texts in Kubernetes's JSON may be."""

import pytest

from meshtrio.address import Address
from meshtrio.catalog.kubernetes_wire import HOST, bounded, ip_of, name_of


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("010.000.009.1", "10.0.9.1"),
        ("fd00::1", "fd00::1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("fe80::1%eth0", "fe80::1"),
    ],
)
def test_addresses(text: str, same: str) -> None:
    assert ip_of(text, "x") == Address.of(same, 0).ip


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10.0.0",
        "10.0.0.256",
        "10.0.0.1.1",
        "1.2.3.٤",
        "+1.2.3.4",
        "1_0.2.3.4",
        "0x1.2.3.4",
        "a",
        "None",
        "9" * 9999,
    ],
)
def test_what_is_no_address_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(ValueError, match=r"^spec\.ip is '.*' \(want an address\)$") as caught:
        ip_of(text, "spec.ip")
    assert len(str(caught.value)) < 300


def test_names() -> None:
    assert name_of("web-1.x", "x") == "web-1.x"
    with pytest.raises(ValueError, match=r"^x is 'Web' \(want a name\)"):
        name_of("Web", "x")


def test_bounded_texts() -> None:
    assert bounded(None, "x") == ""
    assert bounded("a" * 253, "x") == "a" * 253
    with pytest.raises(ValueError, match=r"^x has 254 characters"):
        bounded("a" * 254, "x")


@pytest.mark.parametrize(
    ("text", "is_one"), [("db.example.com.", True), ("_x._tcp.a", True), ("a b", False), ("", False)]
)
def test_hosts(text: str, is_one: bool) -> None:
    assert bool(HOST.fullmatch(text)) is is_one
