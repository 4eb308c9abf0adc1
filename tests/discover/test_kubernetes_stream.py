"""Ring 2, real sockets. What can go wrong with a stream, and that the truth is known again afterwards."""

import functools
import time
from pathlib import Path

import msgspec
import pytest
import trio

from meshtrio.catalog.stream import State
from meshtrio.discover import kubernetes_calls
from tests.support.kubernetes import ApiServer, Request, Wrong
from tests.support.kubernetes_objects import service, slice_of
from tests.support.kubernetes_side import QUICK, Follow, following, live


def services(request: Request) -> bool:
    return request.resource == "services"


def watches(request: Request) -> bool:
    return request.watches


def shop(api: ApiServer, *ips: str) -> None:
    api.store.put("services", service("orders"))
    api.store.put("endpointslices", slice_of("orders", ips or ("10.1.0.1",)))


async def truth(follow: Follow, api: ApiServer, ip: str, within_s: float = 5.0) -> float:
    """Change an endpoint, and wait until that is said."""
    api.store.put("endpointslices", slice_of("orders", [ip]))
    return await follow.until(lambda: follow.ips() == {ip}, within_s)


async def test_a_long_list_comes_in_pages(api: ApiServer, config: Path) -> None:
    api.store.put("services", *(service(f"s{at}") for at in range(1201)))
    async with following(config) as follow:
        await follow.until(lambda: len(follow.services) == 1201)
        pages = [
            request.query for request in api.requests if request.resource == "services" and request.lists
        ]
        assert [page["limit"] for page in pages] == ["500"] * 3
        assert ["continue" in page for page in pages] == [False, True, True]


async def test_watches_go_on_where_the_last_one_ended(api: ApiServer, config: Path) -> None:
    shop(api)
    async with following(config, resync_s=60) as follow:
        await follow.until(lambda: follow.ips() == {"10.1.0.1"})
        await truth(follow, api, "10.1.0.2")
        version = str(api.store.version)
        await follow.until(lambda: len(api.requests.watches_of("endpointslices")) >= 3)
        assert api.requests.lists_of("endpointslices") == 1
        last = api.requests.watches_of("endpointslices")[-1].query
        assert last["resourceVersion"] == version
        assert (last["allowWatchBookmarks"], last["timeoutSeconds"]) == ("true", "1")
        assert follow.streams["endpointslices"].errors == 0
        assert live(follow)


async def test_a_bookmark_carries_a_quiet_stream_past_a_compaction(api: ApiServer, config: Path) -> None:
    api.bookmark_s = 0.05
    shop(api)
    async with following(config, resync_s=60) as follow:
        await follow.until(lambda: api.watching == 4)
        for at in range(20):
            api.store.put("endpointslices", slice_of("other", [f"10.9.0.{at}"]))
        version = str(api.store.version)
        await follow.until(lambda: follow.streams["services"].position == version)
        await truth(follow, api, "10.1.0.2")
        assert api.requests.lists_of("services") == 1


async def test_a_forgotten_version_is_listed_anew_and_nothing_is_emptied(
    api: ApiServer, config: Path
) -> None:
    shop(api)
    async with following(config, resync_s=60) as follow:
        await follow.until(lambda: api.watching == 4)
        api.store.compact()
        api.tear()
        while api.requests.lists_of("services") < 2:
            assert follow.ips()
            await trio.lowlevel.checkpoint()
        await truth(follow, api, "10.1.0.2")
        assert "forgotten" in follow.error()
        await follow.until(lambda: live(follow))


async def test_a_410_answer_is_the_same_as_one_in_the_stream(api: ApiServer, config: Path) -> None:
    shop(api)
    api.fail(Wrong(410, "too old"), when=lambda request: request.watches and services(request))
    async with following(config, resync_s=60) as follow:
        await follow.until(lambda: api.requests.lists_of("services") == 2)
        await follow.until(lambda: live(follow))


async def test_what_was_deleted_while_we_could_not_see_it_is_gone(api: ApiServer, config: Path) -> None:
    shop(api)
    api.store.put("services", service("old"))
    async with following(config, resync_s=60) as follow:
        await follow.until(lambda: "default/old" in follow.services)
        api.freeze()
        api.store.delete("services", "old")
        api.store.compact()
        api.tear()
        api.thaw()
        await follow.until(lambda: set(follow.services) == {"default/orders"})


async def test_a_storm_of_410_is_not_answered_by_a_storm_of_lists(api: ApiServer, config: Path) -> None:
    shop(api)
    pace = msgspec.structs.replace(QUICK, first_s=0.1, most_s=0.4)
    api.fail(Wrong(410, "too old"), 10_000, when=watches)
    async with following(config, pace, resync_s=60) as follow:
        await follow.until(lambda: follow.ips() == {"10.1.0.1"})
        await trio.sleep(1)
        # At once, then after 0.1, 0.2, 0.4, 0.4 s, give or take.
        assert 3 <= api.requests.lists_of("services") <= 8
        assert follow.ips() == {"10.1.0.1"}
        api.stop_failing()
        await truth(follow, api, "10.1.0.2")
        await follow.until(lambda: live(follow))


async def test_a_list_whose_continuation_is_forgotten_begins_again(api: ApiServer, config: Path) -> None:
    api.store.put("services", *(service(f"s{at}") for at in range(700)))
    api.fail(Wrong(410, "continue token"), 1, when=lambda request: "continue" in request.query)
    async with following(config) as follow:
        await follow.until(lambda: len(follow.services) == 700)
        assert api.requests.lists_of("services") == 2
        assert follow.streams["services"].errors == 0


async def test_a_resync_finds_what_the_watch_never_told(api: ApiServer, config: Path) -> None:
    shop(api)
    api.garble = lambda line: b'{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"9"}}}\n'
    async with following(config, resync_s=0.3) as follow:
        await follow.until(lambda: api.watching == 4)
        await truth(follow, api, "10.1.0.2")


async def test_a_cluster_restored_from_a_backup_is_believed(api: ApiServer, config: Path) -> None:
    shop(api)
    api.store.version = 5000
    api.bookmark_s = 0.1
    async with following(config, resync_s=60) as follow:
        await truth(follow, api, "10.1.0.2")
        api.store.restore(service("orders"), slice_of("orders", ["10.1.0.3"]))
        # The server does not object to a watch from a version that it will not reach for long, and says
        # nothing in it; but a bookmark tells.
        api.tear()
        await follow.until(lambda: follow.ips() == {"10.1.0.3"})
        await truth(follow, api, "10.1.0.4")


@pytest.mark.parametrize("chop", [1, 7, 1000])
async def test_chunks_may_end_anywhere(api: ApiServer, config: Path, chop: int) -> None:
    api.chop = chop
    shop(api)
    async with following(config) as follow:
        await follow.until(lambda: api.watching == 4)
        await truth(follow, api, "10.1.0.2")
        await truth(follow, api, "10.1.0.3")
        assert follow.streams["endpointslices"].errors == 0


async def test_a_torn_stream_goes_on_at_once_and_loses_nothing(api: ApiServer, config: Path) -> None:
    shop(api)
    async with following(config, resync_s=60) as follow:
        await follow.until(lambda: api.watching == 4)
        for at in range(5):
            api.tear()
            await truth(follow, api, f"10.1.1.{at}")
        assert follow.streams["endpointslices"].errors >= 5
        assert follow.error("endpointslices") == "the connection broke off"
        assert api.requests.lists_of("endpointslices") == 1


async def test_garbage_is_asked_for_again_and_then_listed(api: ApiServer, config: Path) -> None:
    shop(api)
    async with following(config, resync_s=60) as follow:
        await follow.until(lambda: api.watching == 4)
        broken = iter([True])
        api.garble = lambda line: b"<html>\n" if next(broken, False) else line
        await truth(follow, api, "10.1.0.2")
        assert api.requests.lists_of("endpointslices") == 1
        assert "no event" in follow.error("endpointslices")
        api.garble = lambda line: b"<html>\n" if b"10.1.0.3" in line else line
        await truth(follow, api, "10.1.0.3")
        assert api.requests.lists_of("endpointslices") == 2


async def test_a_line_that_is_too_long_is_skipped_and_the_stream_goes_on(
    api: ApiServer, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes_calls, "LINE_BYTES", 100_000)
    shop(api)
    async with following(config, resync_s=60) as follow:
        await follow.until(lambda: api.watching == 4)
        large = service("large")
        large["metadata"]["annotations"] = {"a": "x" * 1_000_000}
        api.store.put("services", large)
        api.store.put("services", service("small"))
        await follow.until(lambda: "default/small" in follow.services)
        stream = follow.streams["services"]
        assert (stream.skipped, stream.errors) == (1, 0)
        assert "an event of 100" in stream.last_skipped
        assert "default/large" not in follow.services


async def test_large_objects_come_in_smaller_pages(
    api: ApiServer, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes_calls, "PAGE_BYTES", 1_000_000)
    for at in range(40):
        one = service(f"s{at}")
        one["metadata"]["annotations"] = {"a": "x" * 100_000}
        api.store.put("services", one)
    async with following(config) as follow:
        await follow.until(lambda: len(follow.services) == 40)
        limits = [int(r.query["limit"]) for r in api.requests if r.resource == "services" and r.lists]
        assert limits[:5] == [500, 125, 31, 7, 7]
        assert follow.streams["services"].errors == 0


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_a_server_in_trouble_is_asked_again(api: ApiServer, config: Path, status: int) -> None:
    shop(api)
    api.fail(Wrong(status, "etcd is away"), 8)
    async with following(config) as follow:
        await follow.until(lambda: follow.ips() == {"10.1.0.1"})
        await follow.until(lambda: live(follow))
        assert any(f"{status}" in stream.last_error for stream in follow.streams.values())


async def test_an_answer_that_is_no_list_empties_nothing(api: ApiServer, config: Path) -> None:
    shop(api)
    async with following(config, resync_s=0.2) as follow:
        await follow.until(lambda: follow.ips() == {"10.1.0.1"})
        api.fail(Wrong(200, raw=b"<html>log in</html>"), 10_000)
        await follow.until(lambda: "no list" in follow.error())
        assert follow.streams["services"].state is State.RETRYING
        await trio.sleep(0.2)
        assert follow.ips() == {"10.1.0.1"}
        api.stop_failing()
        await truth(follow, api, "10.1.0.2")


async def test_a_server_that_asks_for_time_gets_it(api: ApiServer, config: Path) -> None:
    pace = msgspec.structs.replace(QUICK, patience_s=0.4)
    api.fail(Wrong(429, "slow down", (("Retry-After", "3600"),)), 1, when=services)
    async with following(config, pace) as follow:
        await follow.until(lambda: "429" in follow.error())
        began = time.perf_counter()
        await follow.until(lambda: live(follow))
        assert 0.35 < time.perf_counter() - began < 2
        assert api.requests.count_of("services") <= 3


async def test_a_restarted_server_is_found_again(api: ApiServer, config: Path) -> None:
    shop(api)
    # With the real back-off, which is at 4 s and more by then: the look-out must cut it short.
    pace = msgspec.structs.replace(QUICK, first_s=4.0, most_s=30.0, look_s=0.2)
    async with following(config, pace, resync_s=60) as follow:
        await follow.until(lambda: api.watching == 4)
        api.stop()
        await follow.until(lambda: follow.streams["services"].errors >= 2)
        assert follow.error() == "no connection: Connection refused"
        assert follow.ips() == {"10.1.0.1"}
        api.start()
        assert await truth(follow, api, "10.1.0.2") < 2


async def test_silence_is_noticed_and_after_it_the_truth_is_known(api: ApiServer, config: Path) -> None:
    shop(api)
    pace = msgspec.structs.replace(QUICK, list_s=0.2, grace_s=0.1, first_s=4.0, most_s=30.0, look_s=0.2)
    async with following(config, pace, resync_s=60) as follow:
        await follow.until(lambda: api.watching == 4)
        api.freeze()
        await follow.until(lambda: "silent" in follow.error())
        assert follow.streams["services"].state is State.RETRYING
        assert follow.ips() == {"10.1.0.1"}
        api.store.put("endpointslices", slice_of("orders", ["10.1.0.7"]))
        api.thaw()
        assert await follow.until(lambda: follow.ips() == {"10.1.0.7"}) < 2


async def test_a_server_that_ends_every_watch_at_once_is_not_hammered(api: ApiServer, config: Path) -> None:
    shop(api)
    api.fail(Wrong(200, raw=b""), 10_000, when=watches)
    pace = msgspec.structs.replace(QUICK, first_s=0.2)
    async with following(config, pace, resync_s=60) as follow:
        await follow.until(lambda: follow.ips() == {"10.1.0.1"})
        await trio.sleep(0.6)
        assert len(api.requests.watches_of("services")) <= 5
        assert follow.error() == "the watch ended at once"


@pytest.mark.parametrize("rounds", [1, pytest.param(17, marks=pytest.mark.soak)])
async def test_a_slow_folder_makes_the_server_wait_and_not_our_memory(
    api: ApiServer, config: Path, rounds: int
) -> None:
    """The hub's loop stands still for a while; what comes meanwhile stays with the server. 17 times: 1 GB."""
    shop(api)
    async with following(config, resync_s=600) as follow:
        await follow.until(lambda: api.watching == 4)
        before_mb, grown_mb = 0, list[int]()
        for number in range(rounds):
            for at in range(60):
                large = slice_of("orders", [f"10.3.{number}.{at}"])
                large["metadata"]["annotations"] = {"a": "x" * 1_000_000}
                api.store.put("endpointslices", large)
            before_mb = before_mb or _rss_mb()
            time.sleep(0.5)  # noqa: ASYNC251
            await follow.until(functools.partial(_knows, follow, f"10.3.{number}.59"), 20)
            grown_mb.append(_rss_mb() - before_mb)
            # The server is of this process: what it has told it shall not keep either.
            api.store._history["endpointslices"].clear()
        print(f"  grown by {grown_mb} MB")
        assert grown_mb[0] < 40
        # What the server sends is of this process, too, and is in pieces in the end.
        assert max(grown_mb) < 100
        assert follow.streams["endpointslices"].events >= 60 * rounds


def _knows(follow: Follow, ip: str) -> bool:
    return follow.ips() == {ip}


def _rss_mb() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4 >> 10
