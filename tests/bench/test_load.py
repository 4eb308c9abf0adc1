"""Shell. The load generator: its percentiles are right, times run from the schedule, no byte is lost."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meshtrio.benchmark import procfs
from tests.bench import toolchain

TICK_US = procfs.TICK_S * 1e6
CORES = os.cpu_count() or 1
TALLY = """
#include "tally.h"
int main(void)
{
	struct tally tally = new_tally("x");
	for (unsigned i = 0; i < 1000; i++)
		record(&tally, 1000 * (1 + (i * 7 + 3) % 1000)); /* 1 to 1,000 us, in some order */
	record(&tally, 1ull << 40);
	printf("{\\"count\\": %u", tally.count);
	print_tally(&tally);
	printf("}");
}
"""


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if toolchain.lacking(["cc"]):
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("load")
    toolchain.build(folder)
    return folder


@pytest.fixture
def server(tools: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    with subprocess.Popen([tools / "server", "127.0.0.1"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
        process.kill()


def run(tools: Path, *words: str) -> dict[str, Any]:
    done = subprocess.run(
        [tools / "client", *words], capture_output=True, text=True, timeout=30, check=True, input=""
    )
    numbers: dict[str, Any] = json.loads(done.stdout)
    return numbers


def stalled(tools: Path, server: subprocess.Popen[str], words: list[str]) -> dict[str, Any]:
    """Run at a fixed rate, and stop the server from 200 to 800 ms."""
    command = [str(tools / "client"), "rate", "127.0.0.1", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
        stall = 'sleep 0.2; kill -STOP "$0"; sleep 0.6; kill -CONT "$0"'
        subprocess.run(["sh", "-c", stall, str(server.pid)], check=True)
        said, _ = client.communicate(timeout=20)
    numbers: dict[str, Any] = json.loads(said)
    return numbers


def stolen_us_by_ticks() -> float:
    return procfs.machine_time().steal_s * 1e6


def test_percentiles_are_of_the_nearest_rank_and_long_times_do_not_wrap(tools: Path) -> None:
    (tools / "tally.c").write_text(TALLY)
    words = ["cc", "-I", str(toolchain.SOURCES), "-o", str(tools / "tally"), str(tools / "tally.c")]
    subprocess.run(words, check=True)
    found = json.loads(subprocess.run([tools / "tally"], capture_output=True, check=True).stdout)
    # 1,001 values: the 501st and the 991st.
    assert found == {"count": 1001, "x_p50_us": 501.0, "x_p99_us": 991.0, "x_max_us": 4294967.3}


@pytest.mark.parametrize("mode", ["up", "down", "both"])
def test_bulk_loses_no_byte(tools: Path, server: tuple[object, str], mode: str) -> None:
    found = run(tools, mode, "127.0.0.1", server[1], "0.2")
    assert found["errors"] == 0
    assert found["gigabytes_per_second"] > 0.01


@pytest.mark.parametrize("words", [["1"], ["3", "1"], ["3", "1024"], ["3", "65536"]])
def test_messages_come_back_whole(tools: Path, server: tuple[object, str], words: list[str]) -> None:
    connections, *size = words
    found = run(tools, "roundtrip", "127.0.0.1", server[1], connections, "0.1", *size)
    assert found["errors"] == 0
    assert found["operations"] > 10
    assert 0 < found["roundtrip_p50_us"] <= found["roundtrip_p99_us"]


def test_a_message_of_nothing_is_refused(tools: Path, server: tuple[object, str]) -> None:
    command = [str(tools / "client"), "roundtrip", "127.0.0.1", server[1], "1", "0.1", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("BYTES")


def test_connections_end_at_their_count(tools: Path, server: tuple[object, str]) -> None:
    found = run(tools, "connect", "127.0.0.1", server[1], "4", "10", "200")
    assert found["errors"] == 0
    assert 200 <= found["operations"] < 204
    assert found["connect_p50_us"] < found["first_byte_p50_us"] < found["whole_p50_us"]


@pytest.mark.parametrize(
    "work", ["connect 1", "connect 16", "roundtrip 1", "roundtrip 65536", "up 0", "down 0"]
)
def test_slots_are_answered_one_by_one(tools: Path, server: tuple[object, str], work: str) -> None:
    command = [str(tools / "client"), "slots", "127.0.0.1", server[1], *work.split()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        for milliseconds in (5, 20):
            client.stdin.write(f"{milliseconds}\n")
            client.stdin.flush()
            found = json.loads(client.stdout.readline())
            assert found["errors"] == 0
            assert found["operations"] > 0
            assert found["ns"] >= milliseconds * 1e6
            assert 0 < found["processor_ns"] <= found["ns"]
        client.stdin.close()
        assert client.wait(10) == 0


def test_idle_connections_are_held_until_the_input_ends(tools: Path, server: tuple[object, str]) -> None:
    assert run(tools, "idle", "127.0.0.1", server[1], "50") == {"operations": 50, "errors": 0}


def test_a_stall_counts_for_all_that_should_have_been_sent_in_it(
    tools: Path, server: tuple[subprocess.Popen[str], str]
) -> None:
    """Stop the server half of the time: half of the messages must be late, though few were under way."""
    process, port = server
    found = stalled(tools, process, [port, "2", "1", "500", "1000"])
    assert found["operations"] == 500
    assert found["errors"] == 0
    assert found["roundtrip_p50_us"] > 20_000
    assert found["roundtrip_max_us"] > 500_000


def test_what_a_stall_leaves_behind_is_its_own_windows(
    tools: Path, server: tuple[subprocess.Popen[str], str]
) -> None:
    """Stop the server for longer than a window: the next one begins when the answers are there."""
    process, port = server
    found = stalled(tools, process, [port, "2", "1", "500", "200"])
    windows = found["windows"]
    assert [len(window["trips_ns"]) for window in windows] == [100] * 5
    assert found["errors"] == 0
    # Of the stall of 600 ms a single window has all: the first message of it waited longest.
    assert sum(max(window["trips_ns"]) > 300_000_000 for window in windows) == 1


def test_windows_say_what_the_host_took(tools: Path, server: tuple[object, str]) -> None:
    """By a clock that is as exact as this process may read, and that does not run backwards."""
    before_us = stolen_us_by_ticks()
    found = run(tools, "rate", "127.0.0.1", server[1], "2", "0.5", "500", "50")
    passed_us = stolen_us_by_ticks() - before_us
    assert len(found["windows"]) == 10
    # Ticks and the exact clock differ by less than a tick a core.
    stolen_us = sum(window["stolen_us"] for window in found["windows"])
    assert 0 <= stolen_us < passed_us + TICK_US * CORES
    if os.geteuid() == 0 and toolchain.BTF.exists():
        assert found["exact"] == 1
