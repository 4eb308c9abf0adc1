"""Shell. The kit before anything is meshed with it: every program works, and leaves nothing behind."""

import socket
import sys
import time
from pathlib import Path

import pytest

from tests.integrity.faulty import Fault, faulty_relay
from tests.programs.table import PROGRAMS
from tests.support.programs import Program, Service, Visit, listens


def free_address(host: str) -> tuple[str, int]:
    with socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as sock:
        return host, sock.getsockname()[1]


@pytest.mark.soak
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_program_works_unmeshed(program: Program, host: str) -> None:
    if program.skip_reason:
        pytest.skip(program.skip_reason)
    address = free_address(host)
    with program.serving(address) as pid:
        folder = Path(f"/proc/{pid}/cwd").readlink()
        program.try_out(address)
    assert not listens(1, address[1])
    assert not Path(f"/proc/{pid}").exists()
    assert not folder.exists()


@pytest.mark.soak
@pytest.mark.parametrize(
    "name", ["curl", "nginx", "nginx-tls", "python", "node", "postgresql", "mariadb", "haproxy-splice"]
)
def test_one_wrong_bit_is_told(name: str) -> None:
    program = next(program for program in PROGRAMS if program.name == name)
    if program.skip_reason:
        pytest.skip(program.skip_reason)
    address = free_address("127.0.0.1")
    with program.serving(address):
        with faulty_relay(address, Fault.NONE) as door:
            program.try_out(door)
        with faulty_relay(address, Fault.FLIPS_BIT) as door, pytest.raises(AssertionError):
            program.try_out(door)


def _no_service(address: tuple[str, int], folder: Path) -> Service:
    return Service([sys.executable, "-c", "print('no, thank you'); raise SystemExit(3)"])


def _stubborn_service(address: tuple[str, int], folder: Path) -> Service:
    script = f"import socket, time; one = socket.create_server(('127.0.0.1', {address[1]})); time.sleep(600)"
    return Service([sys.executable, "-c", script])


def _any(visit: Visit) -> None:
    assert visit.stdout == "right\n", "not right"


def test_server_that_dies_is_told_with_its_words() -> None:
    program = Program("none", (), _no_service, lambda _address, _folder: [], _any)
    with (
        pytest.raises(RuntimeError, match=r"(?s)exited with 3.*no, thank you"),
        program.serving(("127.0.0.1", 9)),
    ):
        pass


@pytest.mark.parametrize(
    ("client", "fault"),
    [(["false"], "exit 1"), (["echo", "wrong"], "not right"), (["sh", "-c", "kill -9 $$"], "exit -9")],
)
def test_client_that_fails_is_told(client: list[str], fault: str) -> None:
    program = Program("some", (), _no_service, lambda _address, _folder: client, _any)
    with pytest.raises(AssertionError, match=fault):
        program.try_out(("127.0.0.1", 9))


def test_prefix_comes_before_server_and_client() -> None:
    program = Program("some", (), _stubborn_service, lambda _address, _folder: ["right"], _any)
    address = free_address("127.0.0.1")
    began = time.monotonic()
    with program.serving(address, prefix=["env", "A=b"]) as pid:
        assert b"A=b" in Path(f"/proc/{pid}/environ").read_bytes()
        program.try_out(address, prefix=["echo"])
    assert time.monotonic() - began < 5


def test_missing_binaries_are_a_reason_to_skip() -> None:
    program = Program("some", ("sh", "no-such-binary"), _no_service, lambda _address, _folder: [], _any)
    assert program.skip_reason == "not installed: no-such-binary"
