"""Shell. The programs that dial in the demo, and those of them that this machine lacks. Starts none of them.

curl where there is one, and Python's urllib where there is none; neither knows of a mesh.
"""

import shutil
import sys
from pathlib import Path

URLLIB = """
import sys, urllib.request
for url in sys.argv[1:]:
    print(urllib.request.urlopen(url, timeout=5).read().decode())
"""

_NSSWITCH = Path("/etc/nsswitch.conf")
_ASKED_INSTEAD = {
    "resolve": Path("/run/systemd/resolve/io.systemd.Resolve"),
    "nscd": Path("/run/nscd/socket"),
}
"""By these sockets the C library has names looked up by a process that is not in the mesh."""


def browser() -> str:
    """Name the program that fetches pages."""
    return "curl" if shutil.which("curl") else "python urllib"


def fetching(host: str, times: int, *, asking: str = "") -> list[str]:
    """Give the command that fetches the first page of a host so many times, by a connection each.

    `asking` is said to the server.
    """
    query = f"?{asking}" if asking else ""
    url = f"http://[{host}]/{query}" if ":" in host else f"http://{host}/{query}"
    if not shutil.which("curl"):
        return by_urllib(url, times)
    loop = f"for i in {' '.join(map(str, range(times)))}; do curl -gsS -m 5 '{url}' || exit; done"
    return ["sh", "-c", loop]


def by_urllib(url: str, times: int) -> list[str]:
    """Give the command that does the same by Python."""
    return [sys.executable, "-c", URLLIB, *[url] * times]


def why_no_names() -> str:
    """Say why names that programs ask for here do not come to our resolver; empty: they do."""
    hosts = ""
    if _NSSWITCH.exists():
        lines = _NSSWITCH.read_text(errors="replace").splitlines()
        hosts = next((line.partition(":")[2] for line in lines if line.strip().startswith("hosts:")), "")
    for name, socket in _ASKED_INSTEAD.items():
        if socket.exists() and (name == "nscd" or name in hosts.split()):
            return f"programs ask for names at {socket} here, and not by DNS"
    return ""
