"""World. Whether this kernel encrypts, held against what it says of itself."""

import errno
import socket
from pathlib import Path
from typing import Any

import pytest

from meshtrio.accelerate.ktls import why_no_ktls


@pytest.mark.kernel
def test_it_is_as_the_kernel_says() -> None:
    why_not = why_no_ktls()
    # Asked after the question, for a kernel that has it as a module loads that by it.
    known = Path("/proc/sys/net/ipv4/tcp_available_ulp").read_text().split()
    assert (why_not == "") == ("tls" in known)
    assert why_not in ("", "kernel has no tls ULP")


def test_another_refusal_is_told_as_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> None:
        raise OSError(errno.EPERM, "by a filter of system calls")

    monkeypatch.setattr(socket, "create_connection", refused)
    assert why_no_ktls() == "the kernel refuses the tls ULP: Operation not permitted"
