"""Shell. Tests of TLS ends run twice: over records in C, as usual, and over records in Python."""

import pytest

from meshtrio.forward import sealed
from meshtrio.secure import handshake


@pytest.fixture(params=["c", "python"])
def either_records(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let handshakes hand over ends of this kind."""
    kind: str = request.param
    if kind == "python":
        monkeypatch.setattr(handshake, "seal", sealed.SealedInPython)
    elif sealed.NOT_IN_C:
        pytest.skip(f"not built: {sealed.NOT_IN_C}; `make setup` does, where gcc and Python.h are")
    return kind
