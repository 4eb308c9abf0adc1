"""Ring 4. A real API server that dies, stands still, forgets and refuses; then the truth is known again."""

import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import trio

from meshtrio.catalog.stream import State
from tests.kube.test_truth import PACE, bare, compared, slices
from tests.support.kubernetes_objects import service
from tests.support.kubernetes_real import MESH, RealServer
from tests.support.kubernetes_side import following, kubeconfig, live

pytestmark = pytest.mark.slow


def prepared(server: RealServer) -> None:
    server.apply(bare(service("orders", "10.96.7.30")), slices("orders", "10.1.0.1", space="default"))


async def test_a_killed_server_that_comes_back(server: RealServer, config: Path) -> None:
    prepared(server)
    # The real back-off: only looking out can be so quick.
    pace = msgspec.structs.replace(PACE, first_s=1.0, most_s=30.0, look_s=2.0)
    async with following(config, pace) as follow:
        await follow.until(lambda: live(follow))
        server.stop()
        await follow.until(lambda: follow.streams["services"].errors >= 3, 10)
        await trio.sleep(5)
        assert follow.ips() == {"10.1.0.1"}
        await trio.to_thread.run_sync(server.start)
        began = time.perf_counter()
        await trio.to_thread.run_sync(lambda: server.apply(slices("orders", "10.1.0.2", space="default")))
        await follow.until(lambda: follow.ips() == {"10.1.0.2"})
        assert time.perf_counter() - began < 5
        await compared(follow, server)


async def test_a_server_that_stands_still(server: RealServer, config: Path) -> None:
    prepared(server)
    pace = msgspec.structs.replace(PACE, list_s=0.5, first_s=1.0, most_s=30.0, look_s=1.0)
    async with following(config, pace) as follow:
        await follow.until(lambda: live(follow))
        server.freeze()
        try:
            await follow.until(lambda: "silent" in follow.error("services"), 10)
            assert follow.streams["services"].state is State.RETRYING
            assert follow.ips() == {"10.1.0.1"}
        finally:
            server.thaw()
        await trio.to_thread.run_sync(lambda: server.apply(slices("orders", "10.1.0.3", space="default")))
        await compared(follow, server)
        await follow.until(lambda: live(follow))


async def test_a_token_that_is_no_good(server: RealServer, tmp_path: Path) -> None:
    prepared(server)
    config = kubeconfig(tmp_path / "c", server.url, {"token": "wrong"}, ca=server.certificate.cert)
    async with following(config, PACE) as follow:
        await follow.until(lambda: follow.error() == "401 Unauthorized: Unauthorized")
        assert follow.streams["services"].state is State.REFUSED
        kubeconfig(config, server.url, {"token": MESH}, ca=server.certificate.cert)
        await compared(follow, server)


async def test_no_thread_is_left_whenever_it_ends(server: RealServer, config: Path) -> None:
    prepared(server)
    for part in range(6):
        async with following(config, PACE):
            await trio.sleep(part * 0.05)


async def test_a_version_that_etcd_has_forgotten(start: Callable[..., RealServer], tmp_path: Path) -> None:
    server = start(watch_cache=False)
    prepared(server)
    config = kubeconfig(tmp_path / "c", server.url, {"token": MESH}, ca=server.certificate.cert)
    async with following(config, PACE, resync_s=600) as follow:
        await follow.until(lambda: live(follow))
        server.freeze()
        await follow.until(lambda: "silent" in follow.error("services"), 10)
        server.thaw()
        server.stop()
        await follow.until(lambda: "refused" in follow.error("services"), 10)
        await trio.to_thread.run_sync(server.start)
        # While nobody looked, so much happened that where we were is forgotten.
        for at in range(3):
            server.apply(slices("orders", f"10.1.5.{at}", space="default"))
            server.compact()
        await follow.until(lambda: follow.ips() == {"10.1.5.2"})
        await compared(follow, server)


async def test_every_watch_is_forgotten_again_and_again(
    start: Callable[..., RealServer], tmp_path: Path
) -> None:
    server = start(watch_cache=False)
    prepared(server)
    config = kubeconfig(tmp_path / "c", server.url, {"token": MESH}, ca=server.certificate.cert)
    async with following(config, PACE, resync_s=600) as follow:
        await follow.until(lambda: live(follow))
        forgotten = 0
        for at in range(20):
            await trio.to_thread.run_sync(
                lambda at=at: server.apply(slices("orders", f"10.1.6.{at}", space="default"))  # type: ignore[misc]
            )
            await trio.to_thread.run_sync(server.compact)
            await compared(follow, server)
            forgotten = sum("forgotten" in stream.last_error for stream in follow.streams.values())
        # The streams of which nothing is told end each second where etcd knows nothing any more.
        assert forgotten >= 1, follow.story()
        await follow.until(lambda: live(follow))
