"""The words of the protocols are an interface: logs and metrics show them."""

import pytest

from meshtrio.detect.detected import Detected, Protocol


def test_the_words_stay() -> None:
    assert [protocol.value for protocol in Protocol] == ["http1", "http2", "tls", "tcp"]


def test_an_answer_cannot_be_edited() -> None:
    with pytest.raises(AttributeError):
        Detected(Protocol.TCP).sni = "x"  # type: ignore[misc]
