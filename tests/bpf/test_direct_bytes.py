"""World. What bytes of a direct connection cost: nothing of ours runs for them."""

import pytest

from tests.bench.direct import counted_runs, ran
from tests.bpf.direct import PORT, direct_in
from tests.bpf.pod import HERE, VIP, Pod

pytestmark = [pytest.mark.world, pytest.mark.kernel]


def test_no_program_runs_for_what_a_connection_carries(pod: Pod) -> None:
    with counted_runs(), direct_in(pod, VIP, [HERE]) as direct:
        direct.serve([0])
        pod.dial(VIP, PORT)
        _, accepted, _ = direct.accept()

        def runs() -> dict[str, int]:
            return {name: ran(program)[1] for name, program in pod.kernel.programs.items()}

        before = runs()
        assert before["sockops"] > 0
        for _ in range(100):
            pod.app.do("kept.sendall(b'question')")
            accepted.sendall(accepted.recv(100))
            assert pod.app.do("said = kept.recv(100).decode()") == "question"
        assert runs() == before
        accepted.close()
