"""Shell. One probe of one target, whatever its type. Does not know when, nor what becomes of the answer."""

from collections.abc import Awaitable, Callable, Mapping

import trio

from meshtrio.catalog.probing import Answer, Finding, Target, told
from meshtrio.discover.probe_http import ask_http
from meshtrio.discover.probe_tcp import Unanswered, ask_nothing, connected, leave
from meshtrio.observe import log


async def _ask_grpc(sock: trio.socket.SocketType, target: Target) -> Answer:
    # It brings HTTP/2 with it, 1.3 MB, which an agent that probes nobody by gRPC does not carry.
    from meshtrio.discover.probe_grpc import ask_grpc

    return await ask_grpc(sock, target)


_ASK: Mapping[str, Callable[[trio.socket.SocketType, Target], Awaitable[Answer]]] = {
    "tcp": ask_nothing,
    "http": ask_http,
    "grpc": _ask_grpc,
}


async def ask(target: Target) -> Answer:
    """Probe a target once, and say what came of it.

    Ends within the target's timeout, and `probe_tcp.LEAVE_S` for a polite goodbye. Leaves nothing open, also
    when cancelled.
    """
    began, timeout_s = trio.current_time(), target.manner.timeout_s
    answer = Answer(Finding.SILENT, f"no connection within {timeout_s:g} s")
    sock: trio.socket.SocketType | None = None
    try:
        with trio.move_on_after(timeout_s):
            sock = await connected(target.address)
            answer = Answer(Finding.SILENT, f"connected, but no answer within {timeout_s:g} s")
            answer = await _ASK[target.manner.type](sock, target)
    except Unanswered as end:
        answer = end.answer
    except Exception as fault:  # noqa: BLE001  strangers feed the parsers; their faults must not end the agent
        log.rarely("a fault of ours in a probe", address=str(target.address), fault=repr(fault))
        answer = Answer(Finding.VOID, f"a fault of ours: {fault!r}")
    finally:
        took_s = trio.current_time() - began
        if sock is not None:
            await leave(sock)
    return Answer(answer.finding, told(answer.text), took_s)
