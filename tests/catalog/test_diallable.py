"""Core. Which addresses can be endpoints."""

import pytest

from meshtrio.address import Address
from meshtrio.catalog.diallable import why_undiallable
from meshtrio.catalog.vips import NUMBERS, addresses


@pytest.mark.parametrize(
    "text",
    [
        "10.0.0.1:80",
        "127.0.0.1:1",
        "[::1]:65535",
        "[fe80::1]:80",
        "[fd6d:6573:69::1]:80",
        "240.239.255.255:80",
    ],
)
def test_these_can(text: str) -> None:
    assert why_undiallable(Address.parse(text)) == ""


@pytest.mark.parametrize(
    "text", ["0.0.0.0:80", "[::]:80", "224.0.0.1:80", "239.255.255.255:80", "[ff02::1]:80"]
)
def test_these_are_nobodys(text: str) -> None:
    assert why_undiallable(Address.parse(text)) == "which is nobody's"


def test_port_0_is_none() -> None:
    assert why_undiallable(Address.parse("10.0.0.1:0")) == "which has no port"


@pytest.mark.parametrize("number", [NUMBERS[0], 777, NUMBERS[-1]])
def test_our_virtual_ips_are_not_endpoints(number: int) -> None:
    for ip in addresses(number):
        assert why_undiallable(Address(ip, 80)) == "which is a virtual IP of ours"
