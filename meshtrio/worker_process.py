"""Shell. A worker as a process of its own: `python -m meshtrio.worker_process FD`, started by the agent.

Knows signals and the descriptor of the line to the agent; worker.py knows the rest.
"""

import gc
import signal
import socket
import sys

import trio

from meshtrio.channel import SocketChannel
from meshtrio.messages import ToAgent, ToWorker
from meshtrio.observe import log
from meshtrio.observe.process import give_memory_back
from meshtrio.worker import Worker


async def run(line: SocketChannel[ToWorker, ToAgent]) -> None:
    """Be a worker on this line until drained.

    SIGTERM and SIGINT often go to all processes of a group or a unit; the agent, which gets them too, then
    drains us. Only a worker without an agent drains by itself.
    """
    worker = Worker(line)

    async def heed() -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for _ in signals:
                worker.terminate()

    async with trio.open_nursery() as process:
        process.start_soon(heed)
        await worker.run()
        process.cancel_scope.cancel()


def main() -> None:
    """Serve until told to end; exit status 1 and the trace in the log if by a bug of ours."""
    log.name_process("meshtrio-worker")
    log.keep_memory_private()
    line: SocketChannel[ToWorker, ToAgent] = SocketChannel(socket.socket(fileno=int(sys.argv[1])), ToWorker)
    # What was imported stays; a full collection (8 ms) need not look at it amid a round trip.
    gc.collect()
    gc.freeze()
    give_memory_back()  # 0.4 MB
    try:
        trio.run(run, line)
    except BaseException as fault:  # noqa: BLE001  the process border
        log.bug("the worker ends by a bug of ours", fault)
        sys.exit(1)


if __name__ == "__main__":
    main()
