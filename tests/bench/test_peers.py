"""Shell. The proxies of others take the configurations that are written for them."""

import contextlib
import re
import ssl
import subprocess
import time
from pathlib import Path

import pytest

from tests.bench import credentials, envoy, nginx_stream
from tests.bench.__main__ import MTLS, PEERS, main
from tests.bench.commanded import WORDS, Commanded
from tests.bench.process import running
from tests.bench.rivals import hops_of


def test_names_say_how_many_hops_there_are() -> None:
    assert {name: peer.hops for name, peer in PEERS.items()} == {name: hops_of(name) for name in PEERS}
    assert {hops_of(name) for name in MTLS} == {2}


def test_the_named_certificate_proves_its_name_below_the_same_root(tmp_path: Path) -> None:
    files = credentials.write(tmp_path)
    named = credentials.write_named(files, tmp_path / "named.pem")
    near = ssl.create_default_context(cafile=str(files.root))
    far = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    far.load_cert_chain(named)
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    caller = near.wrap_bio(down, up, server_hostname=credentials.FAR_NAME)
    called = far.wrap_bio(up, down, server_side=True)
    for one in (caller, called, caller):
        with contextlib.suppress(ssl.SSLWantReadError):
            one.do_handshake()
    assert caller.version() == "TLSv1.3"


@pytest.mark.skipif(nginx_stream.module() is None, reason="no stream module of nginx")
def test_nginx_takes_what_is_written(tmp_path: Path) -> None:
    files = credentials.write(tmp_path)
    named = credentials.write_named(files, tmp_path / "named.pem")
    near = nginx_stream.server(
        "127.0.0.1", 7000, "127.0.0.1:1", more=nginx_stream.near_tls(files, reuse=False)
    )
    tls = nginx_stream.FAR_TLS.format(crt=named, ca=files.root)
    far = nginx_stream.server("127.0.0.1", 7001, "127.0.0.1:1", secure=True, more=tls)
    words = nginx_stream.command(tmp_path, "both", near + far)
    done = subprocess.run([*words, "-t"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(envoy.binary() is None, reason="no Envoy")
def test_envoy_takes_what_is_written(tmp_path: Path) -> None:
    files = credentials.write(tmp_path)
    chains = [envoy.chain("echo", port=7000), envoy.chain("http", port=80)]
    listeners = [
        envoy.listener("outbound", "127.0.0.1", 7000, chains, redirected=True),
        envoy.listener("far", "127.0.0.1", 7001, [envoy.chain("echo", tls=envoy.downstream_tls(files))]),
    ]
    near = envoy.upstream_tls(files, resumed=False)
    clusters = [envoy.cluster("echo", "127.0.0.1", 1), envoy.cluster("http", "127.0.0.1", 2, tls=near)]
    words = envoy.command(tmp_path, "both", listeners, clusters)
    done = subprocess.run([*words, "--mode", "validate"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("name", "command", "why"),
    [
        ("Mine", "{echo_port}", "'Mine' (want a-z, 0-9, -; 20 at most; no -wire or -mtls at its end)"),
        ("mine-mtls", "x", "'mine-mtls' (want a-z, 0-9, -; 20 at most; no -wire or -mtls at its end)"),
        (
            "mine",
            "proxy {echo_port} {echo_server} {http_server}",
            "mine: its command has no {http_port}",
        ),
        ("mine", f"'{' '.join(WORDS)}", "No closing quotation"),
    ],
)
def test_a_command_that_cannot_be_a_peer_is_told(name: str, command: str, why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        Commanded(name, command)


def test_who_leads_a_group_takes_it_along(tmp_path: Path) -> None:
    script = "sleep 600 & echo $!; wait"
    with running(["sh", "-c", script], 0, log=tmp_path / "log", piped=True, leads=True) as process:
        assert process.stdout is not None
        left = Path("/proc", process.stdout.readline().strip())
        assert left.exists()
    until = time.monotonic() + 5
    while left.exists():
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("--rounds 0", "--rounds: '0' (want a whole number, 1 or more)"),
        ("--rounds -1", "--rounds: '-1' (want a whole number, 1 or more)"),
        ("--seconds 0.5", "--seconds: '0.5' (want a whole number, 1 or more)"),
        ("--retries -1", "--retries: '-1' (want a whole number, 0 or more)"),
        ("--json /nowhere/run.json", "--json: cannot write /nowhere/run.json: No such file or directory"),
        ("--plot /nowhere/run.svg", "--plot: cannot write /nowhere/run.svg: No such file or directory"),
        ("--peer-command nft", "--peer-command: nft: its command has no {echo_port}"),
        ("--peer-command haproxy=x", "--peer-command: there is a peer haproxy already"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_measured(
    words: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words.split())
    assert ended.value.code == 2
    assert f"error: argument {why}" in capsys.readouterr().err
