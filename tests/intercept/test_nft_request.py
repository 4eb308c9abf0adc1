"""Core. Errands survive the pipe, and a refusal reads as a sentence."""

import msgspec
import pytest

from meshtrio.intercept import nft_request as request
from meshtrio.intercept.nft_plan import Sets


@pytest.mark.parametrize(
    ("refusal", "text"),
    [
        (request.Refusal(feature="nf_tables"), "nf_tables"),
        (request.Refusal(feature="fib", errno_name="ENOENT"), "fib (ENOENT)"),
        (request.Refusal(feature="fib", errno_name="ENOENT", advice="load it"), "fib (ENOENT): load it"),
    ],
)
def test_a_refusal_is_a_sentence(refusal: request.Refusal, text: str) -> None:
    assert str(refusal) == text
    assert str(request.NftRefused(refusal)) == text


@pytest.mark.parametrize(
    "errand",
    [
        request.Update(Sets(workload="w", ports=(1, 2))),
        request.Release("w"),
        request.Remove(("w", "v")),
        request.Counters("w"),
        request.Tables(),
        request.Cleanup(("1.1",)),
        request.Probe(),
    ],
)
def test_errands_survive_the_pipe(errand: request.Errand) -> None:
    assert msgspec.json.decode(msgspec.json.encode(errand), type=request.Errand) == errand
