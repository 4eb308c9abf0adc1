"""Shell. What a refusal of bpf(2) is said to mean, and the limit of locked memory."""

import errno
import os
import resource

import pytest

from meshtrio.intercept.rights import explain, memlock_raised


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (errno.EPERM, "run as root"),
        (errno.EACCES, "run as root"),
        (errno.ENOSYS, "CONFIG_BPF_SYSCALL"),
        (errno.EINVAL, "older than 5.10"),
        (errno.E2BIG, "bpf(2) failed: Argument list too long"),
    ],
)
def test_every_refusal_has_its_advice(code: int, says: str) -> None:
    assert says in explain(OSError(code, os.strerror(code)))


def in_a_child(soft: int, hard: int, *, root: bool) -> str:
    """Say, from a process of its own, what came of it and what the limit is afterwards."""
    receive, send = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (soft, hard))
            if not root:
                os.setgid(65534)
                os.setuid(65534)
            raised = memlock_raised()
            os.write(send, f"{raised} {resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]}".encode())
        finally:
            os._exit(0)
    os.close(send)
    with open(receive) as said:
        text = said.read()
    os.waitpid(pid, 0)
    return text


@pytest.mark.kernel
def test_the_limit_is_lifted_where_that_is_allowed_and_needed() -> None:
    assert in_a_child(65536, 65536, root=False) == "False 65536"
    unlimited = resource.RLIM_INFINITY
    # Where the hard limit is limited, raising it needs a right that this process may not have.
    if resource.getrlimit(resource.RLIMIT_MEMLOCK)[1] == unlimited:
        assert in_a_child(65536, unlimited, root=False) == f"True {unlimited}"
        assert in_a_child(unlimited, unlimited, root=True) == f"False {unlimited}"
