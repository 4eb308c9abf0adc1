"""Core. An address is sixteen bytes and a port, whatever the family. Does not know about sockets."""

import functools
import ipaddress
from typing import Self

import msgspec

V4_PREFIX = bytes(10) + b"\xff\xff"
"""The first twelve bytes of an IPv4-mapped IPv6 address (RFC 4291, section 2.5.5.2)."""

HOSTS_KEPT = 4096
"""How many hosts are remembered as bytes, and as many as text. Full: the one seen longest ago is dropped."""

_LOOPBACK = bytes(15) + b"\x01"


class Address(msgspec.Struct, frozen=True, order=True, gc=False):
    """Where a connection goes to or comes from. IPv4 is kept IPv4-mapped, so there is one code path."""

    ip: bytes
    port: int

    @classmethod
    def of(cls, host: str, port: int) -> Self:
        """Make an address from a numeric host (an IPv6 zone is dropped). ValueError if it is not numeric."""
        if not 0 <= port <= 65535:
            raise ValueError(f"port {port} is not in 0 to 65535")
        return cls(_packed(host), port)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read "10.0.0.1:80" or "[::1]:80". ValueError says what is wrong with anything else."""
        host, colon, port = text.rpartition(":")
        if not colon or not (port.isascii() and port.isdigit()) or len(port) > 5:
            raise ValueError(f"{text!r} is not ip:port")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            raise ValueError(f"{text!r} is not ip:port (write IPv6 as [ip]:port)")
        try:
            return cls.of(host, int(port))
        except ValueError as wrong:
            raise ValueError(f"{text!r} is not ip:port: {wrong}") from None

    @classmethod
    def unpack(cls, raw: bytes) -> Self:
        """Read the eighteen bytes that the kernel programs use: ip, then port, in network order."""
        return cls(raw[:16], int.from_bytes(raw[16:18], "big"))

    def pack(self) -> bytes:
        """Write the eighteen bytes that the kernel programs use."""
        return self.ip + self.port.to_bytes(2, "big")

    @property
    def is_v4(self) -> bool:
        """Say whether this is an IPv4 address, kept as a mapped one."""
        return self.ip.startswith(V4_PREFIX)

    @property
    def is_loopback(self) -> bool:
        """Say whether this is 127.0.0.0/8 or ::1: the namespace's own, whichever that is."""
        return self.ip[12] == 127 if self.is_v4 else self.ip == _LOOPBACK

    @property
    def host(self) -> str:
        """The numeric host, without port or brackets, as socket calls want it."""
        return _host(self.ip)

    def __str__(self) -> str:
        return f"{self.host}:{self.port}" if self.is_v4 else f"[{self.host}]:{self.port}"


# Remembered, since each connection reads and writes the same few hosts several times.
@functools.lru_cache(HOSTS_KEPT)
def _packed(host: str) -> bytes:
    parsed = ipaddress.ip_address(host.partition("%")[0])
    return V4_PREFIX + parsed.packed if parsed.version == 4 else parsed.packed


@functools.lru_cache(HOSTS_KEPT)
def _host(ip: bytes) -> str:
    if ip.startswith(V4_PREFIX):
        return ".".join(map(str, ip[12:]))
    return str(ipaddress.IPv6Address(ip))
