"""Which services wish something wrong, followed by change."""

from meshtrio.catalog.service import Service
from meshtrio.catalog.snapshot import Snapshot
from meshtrio.catalog.unheeded import Unheeded

WRONG = ("meshtrio.io/balancing is x",)
BAD, GOOD = Service("web", unheeded=WRONG), Service("web")
KEY = "default/web"


def test_a_change_is_news_once() -> None:
    known = Unheeded()
    bad, good = Snapshot().with_services([BAD]), Snapshot().with_services([GOOD])
    assert known.follow(good, [KEY]) == {}
    assert known.follow(bad, [KEY]) == {KEY: WRONG}
    assert known.follow(bad, [KEY]) == {}
    assert known.of == {KEY: WRONG}
    assert known.follow(good, [KEY]) == {KEY: ()}
    assert known.of == {}


def test_a_service_that_goes_is_forgotten_without_a_word() -> None:
    known = Unheeded()
    known.follow(Snapshot().with_services([BAD]), [KEY])
    assert known.follow(Snapshot(), [KEY]) == {}
    assert known.of == {}
