"""Shell. How to reach and to convince the API server: the `kubernetes` package's configuration, loaded when
it is wanted and afresh when it may have changed. Does not know what is asked of the server.

Blocks, and is called from the streams' threads. Importing this costs 37 MB and a quarter of a second.
"""

import contextlib
import logging
import re
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes.client
import kubernetes.config
from kubernetes.config import kube_config

from meshtrio.config.discovery import Kubernetes
from meshtrio.discover.kubernetes_socket import CutError, Sockets

LOOK_S = 0.2
"""How often a thread that waits for another's credentials looks whether it should end."""

# What the package says of a faulty kubeconfig may contain the whole entry, with its token; so only what
# matches here, and no more of it than that, is ever shown.
_SAFE = re.compile(
    r"Service (host/port is (not set|set but empty)|token file does not exist"
    r"|certification file does not exist)|Token file exists but empty|Cert file exists but empty"
    r"|File does not exist: \S+|No configuration found|Expected key \S+|Expected object with name \S+"
    r"|file is empty"
)


class AccessError(Exception):
    """No way to the server can be made of what is configured. The words hold no secret."""


class Access:
    """The configuration that holds now, shared by all streams."""

    def __init__(self, settings: Kubernetes) -> None:
        """Touch nothing yet."""
        self._settings = settings
        self._lock = threading.Lock()
        self._loaded: Any = None
        self._stamp: object = None

    def configuration(self, sockets: Sockets) -> Any:
        """Give the configuration, loaded if need be. AccessError, or CutError if `sockets` are cut."""
        with self._alone(sockets):
            stamp = self._files()
            if self._loaded is None or stamp != self._stamp:
                self._loaded, self._stamp = _load(self._settings), stamp
            return self._loaded

    def renew(self, used: object) -> None:
        """Have it loaded anew before it is used again, unless somebody has done so since `used` was given."""
        if self._loaded is used:
            self._loaded = None

    def headers(self, client: Any, sockets: Sockets) -> dict[str, str]:
        """Give what proves who we are. Tokens in files are read again, plugins run again, as they expire."""
        headers: dict[str, str] = {}
        with self._alone(sockets), _telling():
            client.update_params_for_auth(headers, [], ["BearerToken"])
        headers = {name: value.strip() for name, value in headers.items() if value}
        if not all(value.isprintable() for value in headers.values()):
            raise AccessError("the token cannot be sent: it holds a line break, or the like")
        return headers

    @contextlib.contextmanager
    def _alone(self, sockets: Sockets) -> Iterator[None]:
        """One thread at a time: a plugin of the kubeconfig takes seconds, and one answer serves all."""
        while not self._lock.acquire(timeout=LOOK_S):
            if sockets.is_cut:
                raise CutError
        try:
            yield
        finally:
            self._lock.release()

    def _files(self) -> object:
        """Say what is seen of a change of the kubeconfig: a cluster made anew has another port and CA."""
        stamps = []
        for path in _kubeconfig(self._settings).split(":"):
            try:
                status = Path(path).expanduser().stat()
            except (OSError, RuntimeError):
                continue
            stamps.append((status.st_mtime_ns, status.st_size, status.st_ino))
        return stamps


def _kubeconfig(settings: Kubernetes) -> str:
    return settings.kubeconfig or str(kube_config.KUBE_CONFIG_DEFAULT_LOCATION)


def _load(settings: Kubernetes) -> Any:
    made = kubernetes.client.Configuration()
    # Without retries: the back-off is ours. And a redirection is never followed with our token in hand.
    made.retries = False
    if not made.no_proxy:
        # The package (35.0) reads NO_PROXY and then forgets it.
        made.no_proxy = urllib.request.getproxies_environment().get("no")
    with _telling():
        if not settings.kubeconfig:
            try:
                kubernetes.config.load_incluster_config(client_configuration=made)
            except kubernetes.config.ConfigException as cause:
                if not any(Path(path).expanduser().exists() for path in _kubeconfig(settings).split(":")):
                    raise AccessError(f"neither a pod nor a kubeconfig: {_words(cause)}") from None
            else:
                return made
        kubernetes.config.load_kube_config(
            config_file=_kubeconfig(settings), context=settings.context or None, client_configuration=made
        )
    return made


class _Plugin(logging.Filter):
    """Catches what the package logs of a plugin that failed: its output, and so perhaps a secret."""

    failed = False

    def filter(self, record: logging.LogRecord) -> bool:
        ours = record.pathname == kube_config.__file__
        self.failed = self.failed or ours
        return not ours


@contextlib.contextmanager
def _telling() -> Iterator[None]:
    """Make one sort of error of all that loading can raise, with words that hold no secret."""
    plugin = _Plugin()
    root = logging.getLogger()
    root.addFilter(plugin)
    try:
        yield
    except AccessError:
        raise
    # A stranger's loader, in which a wrong type in a file is a TypeError, and an identity provider's answer
    # may be anything.
    except Exception as cause:  # noqa: BLE001
        raise AccessError(_words(cause)) from None
    finally:
        root.removeFilter(plugin)
    if plugin.failed:
        raise AccessError("the credential plugin of the kubeconfig failed")


def _words(cause: Exception) -> str:
    safe = _SAFE.search(str(cause))
    if safe:
        return safe[0]
    if isinstance(cause, OSError) and cause.strerror:
        return f"{cause.filename or 'the kubeconfig'}: {cause.strerror}"
    mark = getattr(cause, "problem_mark", None)
    where = f", line {mark.line + 1}" if mark is not None else ""
    return f"the kubeconfig cannot be used ({type(cause).__name__}{where})"
