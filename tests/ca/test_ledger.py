"""Tokens and nodes on a real disk."""

import os
import sqlite3
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshtrio.ca.grants import Denied, Why
from meshtrio.ca.ledger import KEPT_S, Ledger, LedgerError

NOW = 1_800_000_000.0
ALL = ("spiffe://td/*",)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ca" / "ca.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    opened = Ledger(path)
    yield opened
    opened.close()


def denied(ledger: Ledger, token: str, node: str = "a", key: bytes = b"k", now: float = NOW) -> Why:
    with pytest.raises(Denied) as caught:
        ledger.redeem(token, node, key, now)
    assert token not in str(caught.value)
    return caught.value.why


def test_it_is_for_its_owner_alone_and_has_no_token_in_it(ledger: Ledger, path: Path) -> None:
    token = ledger.new_token("a", ALL, NOW, 60)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    secret = token.removeprefix("meshtrio-join-").encode()
    assert len(secret) == 43
    assert all(secret not in one.read_bytes() for one in path.parent.iterdir())


def test_a_token_lets_its_node_in_once(ledger: Ledger) -> None:
    token = ledger.new_token("a", ("spiffe://td/x",), NOW, 60)
    assert ledger.node("a") is None
    assert ledger.redeem(token, "a", b"key", NOW + 60).allow == ("spiffe://td/x",)
    assert denied(ledger, token, key=b"another") is Why.TOKEN_USED
    assert [one.name for one in ledger.nodes()] == ["a"]


def test_the_same_key_again_is_the_same_use(ledger: Ledger) -> None:
    """The first answer may have been lost on the way."""
    token = ledger.new_token("a", ALL, NOW, 60)
    ledger.redeem(token, "a", b"key", NOW)
    ledger.redeem(token, "a", b"key", NOW + 59)
    assert denied(ledger, token, key=b"key", now=NOW + 61) is Why.TOKEN_EXPIRED


def test_what_is_no_good(ledger: Ledger) -> None:
    token = ledger.new_token("a", ALL, NOW, 60)
    assert denied(ledger, "meshtrio-join-x") is Why.TOKEN_UNKNOWN
    assert denied(ledger, token, node="b") is Why.TOKEN_OTHER_NODE
    assert denied(ledger, token, now=NOW + 60.1) is Why.TOKEN_EXPIRED
    assert ledger.nodes() == []


def test_another_token_changes_what_the_node_may_get(ledger: Ledger) -> None:
    for allow in (("spiffe://td/x",), ("spiffe://td/y",)):
        ledger.redeem(ledger.new_token("a", allow, NOW, 60), "a", b"key", NOW)
    found = ledger.node("a")
    assert found is not None and found.allow == ("spiffe://td/y",)


def test_all_is_there_after_a_restart(path: Path) -> None:
    first = Ledger(path)
    used, unused = (first.new_token("a", ALL, NOW, 60) for _ in range(2))
    first.redeem(used, "a", b"key", NOW)
    first.close()
    second = Ledger(path)
    assert second.node("a") is not None
    assert denied(second, used) is Why.TOKEN_USED
    second.redeem(unused, "a", b"key", NOW)
    second.close()


def test_a_forgotten_node_and_its_tokens_are_gone(ledger: Ledger) -> None:
    ledger.redeem(ledger.new_token("a", ALL, NOW, 60), "a", b"key", NOW)
    unused = ledger.new_token("a", ALL, NOW, 60)
    assert ledger.forget("a")
    assert ledger.node("a") is None
    assert denied(ledger, unused) is Why.TOKEN_UNKNOWN
    assert not ledger.forget("a")


def test_old_tokens_are_cleared_away(ledger: Ledger) -> None:
    old = ledger.new_token("a", ALL, NOW, 60)
    ledger.new_token("b", ALL, NOW + KEPT_S, 60)
    assert denied(ledger, old, now=NOW + KEPT_S) is Why.TOKEN_EXPIRED
    ledger.new_token("b", ALL, NOW + KEPT_S + 61, 60)
    assert denied(ledger, old) is Why.TOKEN_UNKNOWN


def test_of_many_who_bring_one_token_at_once_one_gets_in(ledger: Ledger, path: Path) -> None:
    token = ledger.new_token("a", ALL, NOW, 60)
    others = [Ledger(path) for _ in range(3)]
    ended: list[str] = []

    def bring(one: Ledger, key: bytes) -> None:
        try:
            one.redeem(token, "a", key, NOW)
            ended.append("in")
        except Denied as refused:
            ended.append(refused.why.value)

    threads = [threading.Thread(target=bring, args=(one, os.urandom(8))) for one in others * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in others:
        one.close()
    assert sorted(ended) == ["in"] + ["token_used"] * 8


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "junk").write_bytes(b"no database at all, but long enough to look like one" * 100)
    with pytest.raises(LedgerError, match="junk cannot be used"):
        Ledger(tmp_path / "junk")
    (tmp_path / "folder").mkdir()
    with pytest.raises(LedgerError, match="folder"):
        Ledger(tmp_path / "folder")
    line = sqlite3.connect(tmp_path / "newer")
    line.execute("PRAGMA user_version = 7")
    line.close()
    with pytest.raises(LedgerError, match="schema 7"):
        Ledger(tmp_path / "newer")
