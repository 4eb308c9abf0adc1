"""Core. Every message survives the way over the line, and is known again by its type."""

import typing

import msgspec
import pytest

from meshtrio import messages
from meshtrio.address import Address
from meshtrio.balance.hearsay import Counts, Stand
from meshtrio.balance.told import Balanced, EndpointLoad, ExplainedEndpoint, Explanation, PortLoad
from meshtrio.catalog.service import Endpoint, Found, Service, ServicePort
from meshtrio.config.schema import Config, Log
from meshtrio.messages import (
    CloseDoor,
    Connection,
    Count,
    Credentials,
    Drain,
    Forget,
    Handshakes,
    KnowBreakers,
    KnowWorkload,
    Live,
    Maps,
    Observed,
    OpenDoor,
    Ready,
    Resolve,
    Resolved,
    SeenElsewhere,
    Settings,
    Tally,
    ToAgent,
    ToWorker,
    Trusted,
    WorkloadName,
)
from meshtrio.outcome import Outcome
from meshtrio.questions import AskLoads, AskPick, Loads, Picked, Report

HERE = Address.of("10.0.0.1", 80)
ENDPOINT = Endpoint(id="a", address=Address.of("fd00::1", 8080), weight=3, zone="z", draining=True)
PORT = ServicePort("http", 80, (ENDPOINT,))
SERVICE = Service("web", vips=(HERE.ip,), ports=(PORT,))
ENDED = Connection(
    id=1,
    direction="outbound",
    workload="shop",
    source="10.0.0.2:1",
    destination="10.0.0.1:80",
    began=1.5,
    lasted_s=0.25,
    outcome=Outcome.UPSTREAM_RESET,
    detail="gone",
    rung="nft",
)
SEEN = {"shop/web:http": {"a": Counts(1, 2, 3, 2)}}
CAME_TO = {"shop/web:http": {"a": Stand(1.5, True, 31.5, 2)}}
LOAD = PortLoad(
    "maglev", "zone", 3, 1, "", 4, 5, {"no_key": 6}, {"a": EndpointLoad(3, 0.5, 1.0, ejected=True)}
)
WHY = ExplainedEndpoint("a", "10.0.0.1:80", "first", "", 1.0, "z", 3, 0.5, 1)
EXPLAINED = Explanation("maglev", "source_ip", True, "zone", 0.5, "a", {"no_key": 6}, (WHY,))
TO_WORKER = [
    SeenElsewhere(SEEN),
    KnowBreakers("shop/web:http", CAME_TO["shop/web:http"], {"": "open", "b": "close"}),
    Settings(Config(node="n", log=Log(level="debug")), "/run/x.sock"),
    Maps(),
    OpenDoor(1, "inbound", "nft", 4026531840, WorkloadName(7, "shop"), 2, transparent=True),
    CloseDoor(1),
    KnowWorkload(WorkloadName(7, "")),
    Credentials(7, "spiffe://td/ns/shop/sa/web", (b"leaf", b"signing"), b"key", 1800000000.0),
    Credentials(7, why="the CA does not answer"),
    Trusted("td", {"td": (b"root",)}, {"5d2c": 0.0}, {"spiffe://td/ns/shop/sa/gone": 1800000000.0}),
    Resolved(HERE, None),
    Resolved(HERE, Found(SERVICE, PORT, ENDPOINT)),
    Drain(2.5),
    Report(9),
    AskLoads(9, ("shop/web:http",)),
    AskPick(9, SERVICE, "http", (1 << 64) - 1),
]
TO_AGENT = [
    Ready(123),
    Resolve(HERE),
    Forget(HERE),
    Tally([Count("outbound", "shop", "default/web", Outcome.LIMIT, 1, 2, 3)], [ENDED], 4, 5),
    Observed(SEEN, CAME_TO),
    Tally([], [], handshakes=[Handshakes("inbound", "resumed", 3)]),
    Live(9, [ENDED], 1),
    Tally([], [], balanced=[Balanced("shop/web:http", 1, 2, {"no_key": 3})]),
    Loads(9, {"shop/web:http": LOAD}),
    Picked(9, EXPLAINED, LOAD, 7),
]
SAID = [(message, ToWorker) for message in TO_WORKER] + [(message, ToAgent) for message in TO_AGENT]


@pytest.mark.parametrize(("message", "union"), SAID, ids=lambda one: type(one).__name__)
def test_it_survives_the_way(message: object, union: object) -> None:
    assert msgspec.msgpack.Decoder(union).decode(msgspec.msgpack.encode(message)) == message


@pytest.mark.parametrize(("union", "said"), [(ToWorker, TO_WORKER), (ToAgent, TO_AGENT)])
def test_every_message_is_shown_here(union: object, said: list[object]) -> None:
    assert {type(message) for message in said} == set(typing.get_args(union))


def test_no_side_takes_what_is_meant_for_the_other() -> None:
    assert not set(typing.get_args(ToWorker)) & set(typing.get_args(ToAgent))
    with pytest.raises(msgspec.ValidationError, match="Ready"):
        msgspec.msgpack.decode(msgspec.msgpack.encode(Ready(1)), type=ToWorker)


def test_every_message_is_a_value() -> None:
    structs = [
        one for one in vars(messages).values() if isinstance(one, type) and issubclass(one, msgspec.Struct)
    ]
    assert structs
    assert [one.__name__ for one in structs if not one.__struct_config__.frozen] == []


def test_a_key_is_not_shown() -> None:
    shown = repr(Credentials(7, "spiffe://td/ns/shop/sa/web", (b"leaf",), b"secret key"))
    assert "secret" not in shown
    assert "spiffe://td/ns/shop/sa/web" in shown
