"""Shell. What whole-mesh tests share: each test once a rung."""

import pytest

RUNGS = ("ebpf", "nft")


@pytest.fixture(scope="module", params=RUNGS)
def rung(request: pytest.FixtureRequest) -> str:
    """The rung on which this test's mesh stands."""
    found: str = request.param
    return found
