"""Shell. What came of a connect: for tests of the connect hooks."""

import pytest

from meshtrio.intercept.layout import Reason
from tests.bpf.app import Failed
from tests.bpf.pod import Pod, accept


def refused(pod: Pod, host: str, port: int, **how: object) -> str:
    with pytest.raises(Failed) as failed:
        pod.dial(host, port, **how)
    return str(failed.value)


def passes(pod: Pod, host: str, reason: Reason, **how: object) -> None:
    """The process reaches what it dialled, a listener outside the workload, and one reason is counted."""
    with pod.space.bound("", 0) as there:
        port = there.getsockname()[1]
        pod.counted()
        mine, peer = pod.dial(host, port, **how)
        assert accept(there) == (mine, peer)
        assert not pod.remembered(mine)
    assert pod.counted() == {reason: 1}
