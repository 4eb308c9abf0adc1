"""Shell. Send a short-lived child on a netlink errand: both ends of that pipe. Does not know what the errand
is.

pyroute2 costs 24 MB that a process never gives back (measured), so agent and workers never import it: a
child does, answers in JSON, and is gone after 0.2 s. A child also may enter a network namespace, which a
thread of ours must not.
"""

import ctypes
import errno
import os
import sys
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import msgspec

from meshtrio import program
from meshtrio.intercept.nft_request import ErrandRefused, Refusal

Answer = TypeVar("Answer")

ERRAND_S = 20.0
"""A child takes 0.2 s; one that takes this long will never answer."""

_CLONE_NEWNET = 0x4000_0000


class _Letter(msgspec.Struct):
    errand: msgspec.Raw
    netns_fd: int | None


class _Reply(msgspec.Struct):
    done: msgspec.Raw = msgspec.Raw(b"null")
    refused: Refusal | None = None


class Child(NamedTuple):
    """A module that can be run for errands, and the exception that its refusals become."""

    module: str
    refused: type[ErrandRefused]

    async def send(self, errand: object, netns_fd: int | None, *, answer: type[Answer]) -> Answer:
        """Run the child once in the network namespace (None: our own), and return its answer.

        Raises the child's refusal; nothing was changed then. When cancelled the child is ended, and the
        kernel has done the whole transaction or nothing of it.
        """
        import trio  # not above: the child imports this module too, and trio is half of its time

        letter = _Letter(msgspec.Raw(msgspec.json.encode(errand)), netns_fd)
        with trio.move_on_after(ERRAND_S) as patience:
            ended = await trio.run_process(
                program.command("meshtrio.intercept.errand_process", self.module),
                stdin=msgspec.json.encode(letter),
                capture_stdout=True,
                capture_stderr=True,
                check=False,
                pass_fds=() if netns_fd is None else (netns_fd,),
            )
        if patience.cancelled_caught:
            raise self.refused(Refusal(feature=f"{self.module} did not answer in {ERRAND_S:g} s"))
        try:
            reply = msgspec.json.decode(ended.stdout, type=_Reply)
        except msgspec.DecodeError:
            last = ended.stderr.decode(errors="replace").strip().rpartition("\n")[2]
            feature = f"{self.module} ended with code {ended.returncode}"
            raise self.refused(Refusal(feature=feature, advice=last)) from None
        if reply.refused is not None:
            raise self.refused(reply.refused)
        return msgspec.json.decode(reply.done, type=answer)


def serve(errand_type: Any, act: Callable[[Any], object]) -> int:
    """Be the child: read one errand, enter its network namespace, act, and write the answer."""
    reply = _Reply()
    try:
        letter = msgspec.json.decode(sys.stdin.buffer.read(), type=_Letter)
        errand = msgspec.json.decode(letter.errand, type=errand_type)
        if letter.netns_fd is not None:
            _enter(letter.netns_fd)
        reply.done = msgspec.Raw(msgspec.json.encode(act(errand)))
    except ErrandRefused as no:
        reply.refused = no.refusal
    except ImportError as missing:
        reply.refused = Refusal(
            feature=f"Python package {missing.name}", advice=f"install it for {sys.executable}"
        )
    except OSError as failed:
        reply.refused = Refusal(feature=str(failed), errno_name=errno_name(failed.errno))
    sys.stdout.buffer.write(msgspec.json.encode(reply))
    return 0


def errno_name(code: int | None) -> str:
    """Return "EPERM" for 1, and so on."""
    if code == errno.EOPNOTSUPP:
        return "EOPNOTSUPP"  # Python prefers ENOTSUP, which has the same number and is not what man pages say
    return errno.errorcode.get(code or 0, str(code))


def _enter(netns_fd: int) -> None:
    # os.setns comes with Python 3.12. This process has one thread, so all of it moves.
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(netns_fd, _CLONE_NEWNET) == 0:
        return
    code = ctypes.get_errno()
    advice = "needs CAP_SYS_ADMIN" if code == errno.EPERM else os.strerror(code)
    refusal = Refusal(feature="entering the network namespace", errno_name=errno_name(code), advice=advice)
    raise ErrandRefused(refusal)
