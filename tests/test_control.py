"""World. What the agent says of itself, of real workers, real workloads and real kernel objects."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

from meshtrio import __version__, control
from meshtrio.accelerating import Accelerating
from meshtrio.address import Address
from meshtrio.breaker_board import BreakerBoard
from meshtrio.catalog.service import Endpoint, Service, ServicePort
from meshtrio.config.schema import Catalog, Config, Log
from meshtrio.control import Parts
from meshtrio.directing import Directing
from meshtrio.fleet import Fleet, Seat, Told
from meshtrio.identities import Identities
from meshtrio.intercept.catcher import Catcher
from meshtrio.intercept.kernel import Kernel, open_kernel
from meshtrio.intercept.registry import Registry
from meshtrio.intercept.workload import Rules
from meshtrio.messages import Connection, Count, Live, Settings, Tally
from meshtrio.naming import Naming
from meshtrio.observe.sums import Sums
from meshtrio.outcome import Outcome
from meshtrio.publisher import Publisher
from meshtrio.resolver.resolver import Resolver
from meshtrio.sources import Sources
from meshtrio.web.message import encode
from meshtrio.workload_answers import described
from tests.intercept.node import Place, a_place, node

RULES = Rules(rung="auto", outbound_port=0, inbound_port=0, any_port=True, show_callers=False)
ENDED = Connection(id=1, direction="outbound", workload="shop", source="", destination="", began=0.0)
WEB = Service("web", ports=(ServicePort("http", 80, (Endpoint("a", Address.of("10.0.0.1", 1)),)),))


@pytest.fixture
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One compile cache a session, so that the text is compiled once."""
    folder = tmp_path_factory.getbasetemp() / "bpf-cache"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


async def hear(seat: Seat, message: Told) -> None:
    await trio.lowlevel.checkpoint()


def parts(workers: int = 1, **given: Any) -> Parts:
    fleet = Fleet(workers, hear)
    config, publisher = Config(node="here", log=Log(level="error")), Publisher(fleet.seats)
    registry = Registry(Catcher(RULES, tell=lambda message, descriptors: None))
    sums, board = Sums(), BreakerBoard(fleet)
    return Parts(
        **{
            "config": config,
            "fleet": fleet,
            "breakers": board,
            "publisher": publisher,
            "sources": Sources(config, publisher, lambda: None),
            "naming": Naming(Resolver(lambda: publisher.snapshot, config.dns)),
            "identities": Identities(config.identity, lambda subject, message: None),
            "registry": registry,
            "direct": Directing(config, publisher, registry, sums, board=board),
            "sums": sums,
            "accelerating": Accelerating(config),
            "kernel": None,
            **given,
        }
    )


def ready_parts(workers: int = 1) -> Parts:
    made = parts(workers, catching=True)
    made.sources.settled = True
    for seat in made.fleet.seats:
        seat.ready.set()
    return made


def values(text: bytes) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_ready_is_when_nothing_is_missing() -> None:
    made = parts(2)
    assert control.readiness(made) == [
        "the catalog was not read yet",
        "the workloads are not caught yet",
        "worker 0 is not ready",
        "worker 1 is not ready",
    ]
    made = ready_parts(2)
    assert control.readiness(made) == []
    made.draining = True
    assert control.readiness(made) == ["draining"]
    made.draining = False
    made.fleet.seats[1].ready = trio.Event()
    assert control.readiness(made) == ["worker 1 is not ready"]


def test_status_says_everything() -> None:
    made = ready_parts()
    made.config = msgspec.structs.replace(made.config, catalog=Catalog(file="/c.yaml"))
    made.config_path, made.config_fault, made.sources.file_fault = "/m.yaml", "bad", "worse"
    made.publisher.replace(made.publisher.snapshot.with_services([WEB]))
    made.sums.add(Tally([Count("outbound", "shop", "", Outcome.IDLE, 3, 0, 0)], []))
    made.fleet.seats[0].restarts = 2
    said: Any = msgspec.json.decode(encode(control.status(made)))
    assert (said["version"], said["node"], said["pid"]) == (__version__, "here", os.getpid())
    assert (said["ready"], said["missing"]) == (True, [])
    assert said["config"] == {"path": "/m.yaml", "fault": "bad"}
    assert said["catalog"] == {
        "file": "/c.yaml",
        "version": 1,
        "services": 1,
        "endpoints": 1,
        "fault": "worse",
        "not_in_kernel_map": 0,
    }
    assert said["state"] == {"path": "/var/lib/meshtrio/state.db", "fault": ""}
    assert said["agent"]["rss_bytes"] > 1 << 20
    assert said["workers"] == [
        {
            "number": 0,
            "pid": 0,
            "inside_agent": False,
            "ready": True,
            "restarts": 2,
            "rss_bytes": 0,
            "cpu_s": 0.0,
            "descriptors": 0,
        }
    ]
    assert (said["workloads"], said["outcomes"], said["hooks"]) == ([], {"idle": 3}, {})


async def test_a_worker_that_sits_is_measured() -> None:
    made = ready_parts()
    made.fleet.seats[0].pid = os.getpid()
    said: Any = control.status(made)
    assert said["workers"][0]["rss_bytes"] > 1 << 20
    assert ("meshtrio_resident_memory_bytes", "worker-0") in values(await control.metrics(made))


async def test_a_worker_inside_is_measured_once() -> None:
    made = ready_parts(0)
    made.fleet.seats[0].pid = os.getpid()
    said: Any = control.status(made)
    assert said["workers"][0]["inside_agent"] is True
    assert ("meshtrio_resident_memory_bytes", "worker-0") not in values(await control.metrics(made))


def test_the_rung_without_a_kernel() -> None:
    made = parts(why_no_ebpf="too old", pinning_fault="no bpffs")
    assert control.rung(made) == {
        "configured": "auto",
        "in_use": "nft",
        "why": "too old",
        "pinned": False,
        "pinning_fault": "no bpffs",
        "adopted": False,
    }


async def test_metrics_say_how_it_is() -> None:
    made = ready_parts(2)
    made.fleet.seats[1].restarts = 4
    made.publisher.replace(made.publisher.snapshot.with_services([WEB]))
    made.sums.add(Tally([Count("inbound", "shop", "w", Outcome.CARRIED, 3, 5, 7)], []))
    made.breakers.force(["default/web:http"], [""], "open")
    said = values(await control.metrics(made))
    assert said["meshtrio_ready",] == 1
    assert said["meshtrio_services",] == 1
    assert said["meshtrio_catalog_version",] == 1
    assert said["meshtrio_workloads",] == 0
    assert said["meshtrio_worker_restarts", "0"] == 0
    assert said["meshtrio_worker_restarts", "1"] == 4
    assert said["meshtrio_resident_memory_bytes", "agent"] > 1 << 20
    assert said["meshtrio_breaker_state", "default/web:http"] == 2
    closed = {key: value for key, value in said.items() if key[0] == "istio_tcp_connections_closed_total"}
    assert list(closed.values()) == [3]
    made.draining = True
    assert values(await control.metrics(made))["meshtrio_ready",] == 0


class Answering(Fleet):
    """Workers whose reports are known."""

    async def live(self) -> list[tuple[Seat, Live]]:
        await trio.lowlevel.checkpoint()
        return [(self.seats[0], Live(1, [ENDED], 2)), (self.seats[1], Live(1, [ENDED, ENDED], 3))]


async def test_while_metrics_are_written_others_have_their_turn_and_go_on_counting() -> None:
    made = ready_parts()
    made.sums.add(
        Tally([Count("outbound", "shop", f"s{at}", Outcome.IDLE, 1, 0, 0) for at in range(2000)], [])
    )
    said, turns = b"", 0

    async def scrape() -> None:
        nonlocal said
        said = await control.metrics(made)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(scrape)
        while not said:
            await trio.sleep(0.001)
            turns += 1
            made.sums.add(Tally([Count("outbound", "shop", f"t{turns}", Outcome.IDLE, 1, 0, 0)], []))
    assert said.count(b"istio_tcp_connections_closed_total{") in range(2000, 2003)
    assert turns > 2


async def test_connections_are_those_of_all_workers_and_the_last_ended_first() -> None:
    made = ready_parts()
    made.fleet = Answering(3, hear)
    late = msgspec.structs.replace(ENDED, id=2)
    made.sums.add(Tally([], [ENDED, late], omitted=5))
    assert await control.connections(made) == {
        "live": [ENDED, ENDED, ENDED],
        "ended": [late, ENDED],
        "omitted": 5,
        "silent_workers": 1,
    }


@pytest.mark.world
async def test_connections_of_a_real_worker() -> None:
    made = parts()
    made.fleet.tell(("settings",), Settings(made.config))
    async with trio.open_nursery() as seats:
        await seats.start(made.fleet.keep, made.fleet.seats[0])
        said = await control.connections(made)
        status: Any = control.status(made)
        assert status["workers"][0]["pid"] == made.fleet.seats[0].pid
        made.fleet.drain(0)
    assert said == {"live": [], "ended": [], "omitted": 0, "silent_workers": 0}
    made.fleet.close()


@pytest.fixture
def place() -> Iterator[Place]:
    with a_place() as made:
        yield made


@pytest.fixture
async def kernel(cache: Path) -> Any:
    loaded = await open_kernel(None, cache)
    yield loaded
    loaded.close()


@pytest.mark.kernel
@pytest.mark.world
@pytest.mark.parametrize("rung", ["ebpf", "nft"])
async def test_a_workload_is_described(rung: str, kernel: Kernel, place: Place) -> None:
    async with node(kernel, rung=rung) as there:
        added = await there.registry.add(place.spec(pid=7, on_agent_loss="closed"))
        made = parts(kernel=kernel, registry=there.registry)
        said: Any = control.status(made)
        assert said["workloads"] == [described(added, made.accelerating)]
        (one,) = said["workloads"]
        assert (one["name"], one["rung"], one["pid"], one["on_agent_loss"]) == ("shop", rung, 7, "closed")
        assert (one["cgroup"], one["source_address"]) == (str(place.group), "fixed")
        assert (one["dns_port"], one["why_no_dns"]) == (added.dns.port if added.dns else 0, "")
        assert one["lost"] == ""
        added.cgroup = place.group / "gone"
        assert str(added.cgroup) in str(described(added, made.accelerating)["lost"])
        added.why_no_dns = "no hooks"
        assert described(added, made.accelerating)["why_no_dns"] == "no hooks"
        assert one["netns"] == added.spec.netns
        assert one["outbound_port"] == added.capture.outbound.port
        listening = place.space.command("ss", "-Hltn")
        assert f":{one['inbound_port']} " in listening
        assert f":{one['outbound_port']} " in listening
        assert control.rung(made)["in_use"] == "ebpf"
        before = said["hooks"].get("redirected", 0)
        if rung == "ebpf":
            place.caught(added, "10.0.0.1")
            now: Any = control.status(made)
            assert now["hooks"]["redirected"] == before + 1
            assert (
                values(await control.metrics(made))["meshtrio_hook_decisions_total", "redirected"]
                == before + 1
            )
            assert values(await control.metrics(made))["meshtrio_workloads",] == 1
        made.config = msgspec.structs.replace(made.config, rung="nft")
        assert control.rung(made)["in_use"] == "nft"


async def test_sources_and_names_are_in_status_and_metrics() -> None:
    made = ready_parts()
    hub = made.sources.hub
    hub.sink("file").say({WEB.key: WEB})
    hub.sink("file").stream("services.yaml").failed("no such file", 0.0)
    hub.publish_now()
    made.naming.resolver.counts.answered = 7
    made.naming.resolver.counts.drop("garbage")
    said: Any = msgspec.json.decode(encode(control.status(made)))
    assert said["discovery"]["levels"] == {"live": 1, "last_known": 0, "dns": 0, "static": 0}
    assert [(one["source"], one["state"]) for one in said["discovery"]["sources"]] == [("file", "retrying")]
    assert (said["dns"]["capture"], said["dns"]["doors"], said["dns"]["queries"]["answered"]) == (True, 0, 7)
    found = values(await control.metrics(made))
    assert found["meshtrio_services_by_level", "live"] == 1
    assert found["meshtrio_endpoints", "healthy"] == 1
    assert found["meshtrio_discovery_stream_up", "file", "services.yaml"] == 0
    assert found["meshtrio_discovery_stream_errors_total", "file", "services.yaml"] == 1
    assert found["meshtrio_dns_queries_total", "answered"] == 7
    assert found["meshtrio_dns_queries_total", "dropped"] == 1
