"""Ring 2, real sockets and plugins. Who we are to the API server, however that is configured, and no secret
is ever shown."""

import json
import os
import ssl
import stat
import sys
from pathlib import Path

import pytest
from kubernetes.config import incluster_config

from meshtrio.catalog.stream import State
from meshtrio.config.discovery import Kubernetes
from meshtrio.discover.kubernetes_access import Access, AccessError
from meshtrio.discover.kubernetes_socket import Sockets
from tests.support.certificate import Certificate, make_certificate
from tests.support.kubernetes import ApiServer
from tests.support.kubernetes_objects import service
from tests.support.kubernetes_side import Follow, following, kubeconfig, live

SECRET = "s3cr3t-t0k3n"
OTHER = "an0th3r-t0k3n"


def shown(follow: Follow, capsys: pytest.CaptureFixture[str]) -> str:
    """Everything that anybody could read of it."""
    captured = capsys.readouterr()
    return follow.story() + captured.out + captured.err


@pytest.fixture
def pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a pod: environment, token and CA as the kubelet gives them."""
    folder = tmp_path / "serviceaccount"
    folder.mkdir()
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(folder / "token"))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(folder / "ca.crt"))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "1")
    return folder


def plugin(folder: Path, body: str) -> dict[str, object]:
    path = folder / "plugin"
    path.write_text(f"#!{sys.executable}\nimport json, pathlib, sys, time\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return {
        "exec": {
            "command": str(path),
            "apiVersion": "client.authentication.k8s.io/v1",
            "interactiveMode": "Never",
        }
    }


def says(token: str, counted: Path) -> str:
    credential = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {"token": token},
    }
    text = json.dumps(credential)
    return f"with open({str(counted)!r}, 'a') as f: f.write('x')\nprint({text!r})"


async def test_in_a_pod_the_service_account_is_enough(
    tmp_path: Path, pod: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_certificate(tmp_path)
    with ApiServer(tls=made.server()) as api:
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(api.port))
        (pod / "token").write_text(SECRET)
        (pod / "ca.crt").write_text(made.cert.read_text())
        api.tokens = {SECRET}
        api.store.put("services", service("orders"))
        async with following(None) as follow:
            await follow.until(lambda: "default/orders" in follow.services)
            await follow.until(lambda: live(follow))


async def test_a_rotated_token_is_read_again_when_the_old_one_is_refused(
    tmp_path: Path, pod: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = make_certificate(tmp_path)
    with ApiServer(tls=made.server()) as api:
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(api.port))
        (pod / "token").write_text(SECRET + "\n")
        (pod / "ca.crt").write_text(made.cert.read_text())
        api.tokens = {SECRET}
        async with following(None, resync_s=60) as follow:
            await follow.until(lambda: live(follow))
            (pod / "token").write_text(OTHER)
            api.tokens = {OTHER}
            api.tear()
            api.store.put("services", service("orders"))
            await follow.until(lambda: "default/orders" in follow.services)
            await follow.until(lambda: live(follow))
            assert follow.error() in ("401 Unauthorized: Unauthorized", "the connection broke off")
            words = shown(follow, capsys)
            assert SECRET not in words
            assert OTHER not in words


async def test_a_refused_token_is_tried_slowly_and_for_ever(
    api: ApiServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    api.tokens = {OTHER}
    config = kubeconfig(tmp_path / "config", api.url, {"token": SECRET})
    async with following(config) as follow:
        await follow.until(lambda: follow.streams and follow.streams["services"].errors >= 3)
        assert follow.streams["services"].state is State.REFUSED
        assert follow.error() == "401 Unauthorized: Unauthorized"
        assert SECRET not in shown(follow, capsys)
        kubeconfig(config, api.url, {"token": OTHER})
        await follow.until(lambda: live(follow))


async def test_a_server_that_repeats_our_token_does_not_bring_it_into_the_record(
    api: ApiServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    api.forbidden = lambda request: bool(request.resource)
    api.echo = True
    config = kubeconfig(tmp_path / "config", api.url, {"token": SECRET})
    async with following(config) as follow:
        await follow.until(lambda: "(secret)" in follow.error())
        assert SECRET not in shown(follow, capsys)


async def test_a_plugin_of_the_kubeconfig_is_run_once_for_all_streams(api: ApiServer, tmp_path: Path) -> None:
    counted = tmp_path / "counted"
    api.tokens = {SECRET}
    config = kubeconfig(tmp_path / "config", api.url, plugin(tmp_path, says(SECRET, counted)))
    async with following(config, resync_s=60) as follow:
        await follow.until(lambda: live(follow))
        assert counted.read_text() == "x"
        # It is asked again when what it gave is refused.
        plugin(tmp_path, says(OTHER, counted))
        api.tokens = {OTHER}
        api.tear()
        api.store.put("services", service("orders"))
        await follow.until(lambda: "default/orders" in follow.services)
        assert 2 <= len(counted.read_text()) <= 3


@pytest.mark.parametrize(
    "body",
    [
        f"sys.exit('cannot refresh {SECRET}')",
        f"print('{SECRET} is no JSON')",
        f'print(\'{{"apiVersion": "{SECRET}", "kind": "x", "status": {{}}}}\')',
        f'print(\'{{"apiVersion": "client.authentication.k8s.io/v1", "kind": 1,\')\n'
        f'print(\'"status": {{"clientCertificateData": "{SECRET}"}}}}\')',
    ],
)
async def test_a_plugin_that_fails_is_named_and_not_quoted(
    api: ApiServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    body: str,
) -> None:
    api.tokens = {SECRET}
    config = kubeconfig(tmp_path / "config", api.url, plugin(tmp_path, body))
    async with following(config) as follow:
        await follow.until(lambda: "plugin of the kubeconfig failed" in follow.error())
        assert follow.streams["services"].state is State.REFUSED
        assert SECRET not in shown(follow, capsys) + caplog.text
        assert not api.requests, "it was asked without credentials"


async def test_a_plugin_that_hangs_keeps_nobody_from_ending(api: ApiServer, tmp_path: Path) -> None:
    began = tmp_path / "began"
    body = f"pathlib.Path({str(began)!r}).touch()\ntime.sleep(1.4)"
    config = kubeconfig(tmp_path / "config", api.url, plugin(tmp_path, body))
    # One thread waits for the plugin, and the others for that thread.
    async with following(config, hangs_s=3.0) as follow:
        await follow.until(began.exists)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no configuration found|file is empty|cannot be used"),
        ("{", "cannot be used (ParserError, line 2)|cannot be used (ParserError, line 1)"),
        ("[]", "cannot be used (AttributeError)|cannot be used (TypeError)"),
        ("a: 1", "cannot be used|Expected key"),
        (f"users: [{{name: x, user: {{token: {SECRET}}}}}]", "Expected key current-context|cannot be used"),
        ("\x00", "cannot be used (ReaderError)"),
    ],
)
def test_a_faulty_kubeconfig_is_told_without_its_contents(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(AccessError) as raised:
        Access(Kubernetes(kubeconfig=str(path))).configuration(Sockets())
    assert any(word.lower() in str(raised.value).lower() for word in words.split("|")), str(raised.value)
    assert SECRET not in str(raised.value)


def test_a_missing_key_is_named_and_its_entry_is_not(tmp_path: Path) -> None:
    config = kubeconfig(tmp_path / "config", "http://127.0.0.1:1", {"token": SECRET})
    broken = config.read_text().replace("server:", "sever:").replace("cluster: test", "cluster: best")
    config.write_text(broken)
    with pytest.raises(AccessError) as raised:
        Access(Kubernetes(kubeconfig=str(config))).configuration(Sockets())
    assert str(raised.value) == "Expected object with name best"


def test_no_pod_and_no_kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(AccessError, match="neither a pod nor a kubeconfig: Service host/port is not set"):
        Access(Kubernetes()).configuration(Sockets())


def test_the_default_kubeconfig_and_a_context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = kubeconfig(tmp_path / "config", "http://127.0.0.1:1")
    text = config.read_text().replace("contexts:\n", "contexts:\n- name: two\n  context: {cluster: two}\n")
    config.write_text(
        text.replace("clusters:\n", "clusters:\n- name: two\n  cluster: {server: 'http://127.0.0.1:2'}\n")
    )
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(config))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert Access(Kubernetes()).configuration(Sockets()).host == "http://127.0.0.1:1"
    assert Access(Kubernetes(context="two")).configuration(Sockets()).host == "http://127.0.0.1:2"
    with pytest.raises(AccessError, match="Expected object with name three"):
        Access(Kubernetes(context="three")).configuration(Sockets())


def test_it_is_loaded_once_and_again_when_it_may_be_another(tmp_path: Path) -> None:
    config = kubeconfig(tmp_path / "config", "http://127.0.0.1:1")
    access, sockets = Access(Kubernetes(kubeconfig=str(config))), Sockets()
    first = access.configuration(sockets)
    assert access.configuration(sockets) is first
    access.renew(first)
    second = access.configuration(sockets)
    assert second is not first
    access.renew(first)  # somebody was slow: the new one is not at fault
    assert access.configuration(sockets) is second
    kubeconfig(config, "http://127.0.0.1:22")
    assert access.configuration(sockets).host == "http://127.0.0.1:22"


def test_it_neither_retries_nor_forgets_no_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "10.0.0.0/8,127.0.0.1")
    config = kubeconfig(tmp_path / "config", "http://127.0.0.1:1")
    made = Access(Kubernetes(kubeconfig=str(config))).configuration(Sockets())
    assert made.retries is False
    assert made.proxy == "http://proxy.example:3128"
    assert made.no_proxy == "10.0.0.0/8,127.0.0.1"


def test_a_kubeconfig_that_may_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.mkdir()
    with pytest.raises(AccessError) as raised:
        Access(Kubernetes(kubeconfig=str(path))).configuration(Sockets())
    assert str(raised.value) == f"{path}: {os.strerror(21)}"


async def test_a_client_certificate_is_shown(tmp_path: Path) -> None:
    made: Certificate = make_certificate(tmp_path)
    ours = make_certificate(tmp_path, "client")
    context = made.server()
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(ours.cert)
    with ApiServer(tls=context) as api:
        user = {"client-certificate": str(ours.cert), "client-key": str(ours.key)}
        config = kubeconfig(tmp_path / "config", api.url, user, ca=made.cert)
        async with following(config) as follow:
            await follow.until(lambda: live(follow))


async def test_a_server_with_another_ca_is_not_believed(tmp_path: Path) -> None:
    made, other = make_certificate(tmp_path), make_certificate(tmp_path, "other")
    with ApiServer(tls=made.server()) as api:
        config = kubeconfig(tmp_path / "config", api.url, ca=other.cert)
        async with following(config) as follow:
            await follow.until(lambda: follow.error().startswith("TLS failed: "))
            assert not api.requests
            # The CA is rotated in its file, and nothing else changes.
            other.cert.write_text(made.cert.read_text())
            await follow.until(lambda: live(follow))
