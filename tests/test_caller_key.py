"""World. The key of a call, by a real socket: what is asked for decides where it comes from."""

import socket

import pytest
import trio

from meshtrio import caller_key as module
from meshtrio.balance.hashing import key_hash
from meshtrio.caller_key import key_of
from meshtrio.config.traffic import Settings

REQUEST = b"GET / HTTP/1.1\r\nx-user: alice\r\n\r\n"


async def key(hash_key: str, said: bytes = b"", identity: str = "") -> int | None:
    client, ours = socket.socketpair()
    with client, ours:
        ours.setblocking(False)
        client.sendall(said)
        settings = Settings(algorithm="maglev", hash_key=hash_key)
        found = await key_of(settings, ours, source=b"\x0a\0\0\7", identity=lambda: identity)
        if said:
            assert ours.recv(1000) == said, "it stays unread"
    return found


async def test_it_is_where_the_settings_say() -> None:
    assert await key("source_ip") == key_hash(b"\x0a\0\0\7")
    assert await key("spiffe_id", identity="spiffe://a/b") == key_hash(b"spiffe://a/b")
    assert await key("header:x-user", REQUEST) == key_hash(b"alice")


async def test_who_does_not_say_it_has_none() -> None:
    assert await key("spiffe_id") is None
    assert await key("header:x-other", REQUEST) is None


async def test_nobody_is_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_BYTES_S", 0.01)
    with trio.fail_after(5):
        assert await key("header:x-user") is None
    monkeypatch.setattr(module, "FIRST_BYTES_S", 60)
    monkeypatch.setattr(module, "KEY_S", 0.01)
    with trio.fail_after(5):
        assert await key("header:x-user", REQUEST[:20]) is None
