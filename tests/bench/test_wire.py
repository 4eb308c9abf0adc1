"""Shell. The wire between two hops, as slow as it is asked to be; or the reason why it cannot be."""

import pytest

from tests.bench.__main__ import main
from tests.bench.wire import FAR, delay_hindrance, delay_words, wired

pytestmark = pytest.mark.world


def test_by_itself_the_wire_has_no_delay_and_leads_over() -> None:
    with wired() as wire, wire.far.space.tcp_socket() as listener, wire.near.space.tcp_socket() as caller:
        assert "qdisc netem" not in wire.near.space.command("tc", "qdisc", "show", "dev", "wire")
        listener.bind((FAR, 0))
        listener.listen()
        caller.settimeout(5)
        caller.connect(listener.getsockname())


def test_a_delay_is_had_or_the_kernel_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    why = delay_hindrance()
    if why is None:
        with wired(10.0) as wire:
            for spot in wire:
                assert "delay 10ms" in spot.space.command("tc", "qdisc", "show", "dev", "wire")
    else:
        # tc understood the words; it is the kernel that does not know the kind.
        assert why == "the kernel has no sch_netem (tc: Error: Specified qdisc kind is unknown.)"
        assert main(["--mtls", "--delay-ms", "10"]) == 2
        assert f"--delay-ms: {why}" in " ".join(capsys.readouterr().err.split())


def test_a_delay_is_each_way() -> None:
    assert " ".join(delay_words("wire", 0.5)) == "tc qdisc add dev wire root netem delay 0.5ms limit 100000"
