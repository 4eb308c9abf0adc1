"""Hashes are those that everyone can compute: `printf 'a:0' | sha256sum`."""

from meshtrio.balance.hashing import four_hashes, key_hash, two_hashes


def test_the_hash_is_the_head_of_sha256() -> None:
    assert key_hash(b"abc") == 0xBA7816BF8F01CFEA
    assert key_hash(b"") == 0xE3B0C44298FC1C14


def test_two_hashes_are_the_first_two_words_of_it() -> None:
    assert two_hashes(b"abc") == (0xBA7816BF8F01CFEA, 0x414140DE5DAE2223)


def test_four_hashes_are_all_of_it() -> None:
    last = (0xB00361A396177A9C, 0xB410FF61F20015AD)
    assert four_hashes(b"abc") == (*two_hashes(b"abc"), *last)
