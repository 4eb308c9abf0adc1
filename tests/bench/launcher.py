"""Shell. The process that is put into the mesh: runs the commands that the bench sends it, one by one.

Needs nothing but the standard library, for it is run by its path. A command comes over an AF_UNIX socket,
which no mesh touches, with its standard streams as descriptors; what goes back is its pid, and then how it
ended. Ends when the bench closes the socket, and takes a running command with it.
"""

import json
import os
import select
import socket
import subprocess
import sys

ENOUGH = b"enough"
"""What the bench says instead of a command, while one runs, to have it killed."""


def main(path: str) -> None:
    """Serve the bench that listens at this path until it hangs up."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as bench:
        bench.connect(path)
        while True:
            order, streams, _, _ = socket.recv_fds(bench, 65536, 3)
            if not order:
                return
            if order == ENOUGH:  # it crossed the end of the command on the way
                continue
            _run(bench, json.loads(order), streams)


def _run(bench: socket.socket, order: dict[str, object], streams: list[int]) -> None:
    words, core = order["words"], order["core"]
    assert isinstance(words, list)
    assert isinstance(core, int)
    # Set here and inherited: the launcher itself does nothing while its command runs.
    os.sched_setaffinity(0, {core})
    try:
        command = subprocess.Popen(words, stdin=streams[0], stdout=streams[1], stderr=streams[2])
    except OSError as wrong:
        bench.send(json.dumps({"failed": str(wrong)}).encode())
        return
    finally:
        for stream in streams:
            os.close(stream)
    bench.send(json.dumps({"pid": command.pid}).encode())
    ended = os.pidfd_open(command.pid)
    try:
        ready, _, _ = select.select([ended, bench.fileno()], [], [])
        if bench.fileno() in ready:
            # Either it hangs up or it has had enough: in both cases the command ends here.
            bench.recv(len(ENOUGH))
            command.kill()
        bench.send(json.dumps({"code": command.wait()}).encode(), socket.MSG_NOSIGNAL)
    finally:
        os.close(ended)


if __name__ == "__main__":
    main(sys.argv[1])
