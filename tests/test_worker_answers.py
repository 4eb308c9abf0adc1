"""What a worker answers of its balancing: as things are, and without moving anything."""

import msgspec
import pytest

from meshtrio import worker_answers as module
from meshtrio.balance.hashing import key_hash
from meshtrio.catalog.service import Service, ServicePort
from meshtrio.config.schema import Config
from meshtrio.config.traffic import Traffic
from meshtrio.questions import AskLoads, AskPick, Loads, Picked
from meshtrio.worker_answers import answer
from meshtrio.worker_site import Site
from tests.support.catalog_desk import Worker
from tests.support.endpoints import endpoints

ABC = endpoints("abc")
WEB = Service("web", ports=(ServicePort("http", 80, ABC), ServicePort("admin", 81, ABC[:1])))


@pytest.fixture
async def site() -> Site:
    made = Worker(0).site
    made.settle(Config(traffic=Traffic(algorithm="maglev")))
    return made


def picked(site: Site, key: int | None = None, port: str = "http") -> Picked:
    said = answer(site, AskPick(3, WEB, port, key))
    assert isinstance(said, Picked)
    return said


async def test_a_port_that_was_never_dialled_is_explained_and_not_begun(site: Site) -> None:
    said = picked(site, key_hash(b"alice"))
    assert said.load is None
    assert said.explanation.picked in "abc"
    assert len(site.ports) == 0
    assert answer(site, AskLoads(1, ("default/web:http",))) == Loads(1, {})


async def test_what_is_foretold_is_what_is_picked(site: Site) -> None:
    port = site.ports.of(WEB, "http")
    for name in (b"alice", b"bob", b"carol", b"dave"):
        foretold = picked(site, key_hash(name))
        hold = port.hold(ABC, 0.0, key_hash(name), ())
        assert hold is not None
        assert foretold.explanation.picked == hold.endpoint.id
    assert picked(site).load is not None
    told = answer(site, AskLoads(1, ("default/web:http", "default/web:admin")))
    assert isinstance(told, Loads)
    assert [one.active for one in told.ports.values()] == [4]


async def test_settings_of_now_hold_though_nobody_dialled_since(site: Site) -> None:
    site.ports.of(WEB, "http")
    site.settle(Config(traffic=Traffic(algorithm="random")))
    assert picked(site).explanation.algorithm == "random"


async def test_who_would_be_tried_is_listed_first_and_the_list_is_bounded(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [one.position for one in picked(site, 1).explanation.endpoints] == [1, 2, 3]
    monkeypatch.setattr(module, "EXPLAINED", 2)
    said = picked(site, 1)
    assert [one.position for one in said.explanation.endpoints] == [1, 2]
    assert said.omitted == 1
    empty = msgspec.structs.replace(WEB, ports=(ServicePort("http", 80),))
    nobody = answer(site, AskPick(4, empty, "http"))
    assert isinstance(nobody, Picked)
    assert (nobody.explanation.picked, nobody.explanation.tier) == ("", "none")
