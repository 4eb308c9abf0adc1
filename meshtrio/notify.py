"""Shell. Tell the service manager how we are (sd_notify(3)). Without one, nothing happens."""

import os
import socket


def notify(state: str) -> None:
    """Send a state such as READY=1 to the service manager, if there is one."""
    address = os.environ.get("NOTIFY_SOCKET", "")  # noqa: TID251  the service manager's protocol, no setting
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line:
        try:
            line.connect(address)
            line.sendall(state.encode())
        except OSError:
            return
