"""Looking again pays only while answers come fast."""

from meshtrio.forward.lookout import Lookout

ANSWER = [(3, 1)]


class Polled:
    """An epoll object that has an answer at the n-th time of asking."""

    def __init__(self, answer_at: int) -> None:
        self.asked = 0
        self.answer_at = answer_at

    def poll(self, timeout_s: float, most: int) -> list[tuple[int, int]]:
        assert (timeout_s, most) == (0, 7)
        self.asked += 1
        return ANSWER if self.asked == self.answer_at else []


def test_an_answer_in_time_is_given() -> None:
    polled = Polled(answer_at=3)
    assert Lookout(polled.poll, look_s=5, batch_events=7).look() == ANSWER
    assert polled.asked == 3


def test_after_misses_it_hardly_looks() -> None:
    polled = Polled(answer_at=0)
    lookout = Lookout(polled.poll, look_s=0.0001, batch_events=7)
    for _ in range(20):
        assert lookout.look() == []
    before = polled.asked
    looks = 0
    for _ in range(320):
        lookout.look()
        looks += polled.asked > before
        before = polled.asked
    assert looks == 10


def test_one_answer_brings_it_back() -> None:
    polled = Polled(answer_at=-1)
    lookout = Lookout(polled.poll, look_s=0.0001, batch_events=7)
    for _ in range(20):
        lookout.look()
    polled.answer_at = polled.asked + 1
    while lookout.look() != ANSWER:
        pass
    polled.answer_at = polled.asked + 1
    assert lookout.look() == ANSWER


def test_never_if_so_asked() -> None:
    polled = Polled(answer_at=1)
    assert Lookout(polled.poll, look_s=0, batch_events=7).look() == []
    assert polled.asked == 0
