"""Shell. One netlink socket to nf_tables: all of a transaction or nothing, and dumps. Does not know our
rules.

Imported by the netlink child alone. The messages are pyroute2's, the conversation is not: pyroute2 0.9.7
waits for ever when the kernel refuses the beginning of a transaction (no CAP_NET_ADMIN), and does not say
which message was refused.

A transaction without its end is checked by the kernel in full and then undone: that is how `nft -c`
works, and how `dry_run` asks what this kernel can do.
"""

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, NamedTuple, Self

from meshtrio.intercept.nft_errand import errno_name
from meshtrio.intercept.nft_message import BEGIN, END, SUBSYSTEM, Message, encoded, frame
from meshtrio.intercept.nft_request import NftRefused, Refusal

_NETLINK_NETFILTER = 12
_NLM_F_ACK, _NLM_F_DUMP = 0x4, 0x300
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NLM_F_DUMP_INTR = 0x10
_SO_SNDBUFFORCE = 32
_HEADER = struct.Struct("=IHHII")

ANSWER_S = 10.0
"""The kernel answers in microseconds, but a transaction waits for other people's."""

ADVICE = {
    errno.EPERM: "needs CAP_NET_ADMIN in the network namespace (be root, or grant it to the service)",
    errno.EOPNOTSUPP: "the kernel lacks it: nf_tables with CONFIG_NF_TABLES_INET; socket cgroupv2 needs 5.13",
    errno.EAFNOSUPPORT: "the kernel lacks CONFIG_NF_TABLES_INET",
    errno.EPROTONOSUPPORT: "the kernel lacks CONFIG_NETFILTER_NETLINK",
    errno.ENOENT: "it is not there, or the kernel lacks the module for it",
}


class Failure(NamedTuple):
    """The first message that the kernel refused."""

    about: str
    code: int

    def refusal(self) -> Refusal:
        """Return it in the agent's terms."""
        return Refusal(
            feature=self.about,
            errno_name=errno_name(self.code),
            advice=ADVICE.get(self.code, os.strerror(self.code)),
        )


class Conversation:
    """A socket in the network namespace that this process is in."""

    def __init__(self) -> None:
        """Open the socket; NftRefused if the kernel has no netfilter netlink at all."""
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
        except OSError as no:
            raise NftRefused(Failure("nf_tables", no.errno or 0).refusal()) from None
        self._socket.settimeout(ANSWER_S)
        self._socket.bind((0, 0))
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def commit(self, messages: Iterable[Message]) -> None:
        """Do all of it, or raise NftRefused and nothing was done."""
        failure = self._transact(messages, end=True)
        if failure is not None:
            raise NftRefused(failure.refusal())

    def dry_run(self, messages: Iterable[Message]) -> Failure | None:
        """Let the kernel check all of it, and undo it."""
        return self._transact(messages, end=False)

    def _transact(self, messages: Iterable[Message], *, end: bool) -> Failure | None:
        steps = list(messages)
        if not steps:
            return None
        begin = self._next_sequence()
        parts, about = [frame(BEGIN, begin)], {begin: "nf_tables"}
        for step in steps:
            sequence = self._next_sequence()
            about[sequence] = step.about
            # Only the last message is acknowledged; refusals come for each.
            parts.append(encoded(step, sequence, more_flags=_NLM_F_ACK if step is steps[-1] else 0))
        if end:
            parts.append(frame(END, self._next_sequence()))
        self._send(b"".join(parts))
        return self._verdict(begin, begin + len(steps), about)

    def _verdict(self, begin: int, last: int, about: dict[int, str]) -> Failure | None:
        first: Failure | None = None
        for kind, _, sequence, payload in self._received():
            if kind != _NLMSG_ERROR or sequence not in about:
                continue
            code = -struct.unpack_from("=i", payload)[0]
            if code and first is None:
                first = Failure(about[sequence], code)
            # A refused beginning or a failed commit is reported on the first message, and then no more.
            if sequence == last or (code and sequence == begin):
                return first
        return first

    def dump(self, kind: int, body: Any, family: int) -> list[Any]:
        """Return all objects of a kind; `body` is the message with which to ask, and how they are read."""
        for _ in range(5):
            with contextlib.suppress(InterruptedError):
                return self._dumped(kind, body, family)
        advice = "it changes all the time; try again"
        restless = Refusal(feature="reading nf_tables", errno_name="EINTR", advice=advice)
        raise NftRefused(restless)

    def _dumped(self, kind: int, body: Any, family: int) -> list[Any]:
        sequence = self._next_sequence()
        body["nfgen_family"] = family
        self._send(encoded(Message("", kind, _NLM_F_DUMP, body), sequence))
        found, interrupted = [], False
        for got, flags, answered, payload in self._received():
            if answered != sequence:
                continue
            interrupted |= bool(flags & _NLM_F_DUMP_INTR)
            if got in (_NLMSG_DONE, _NLMSG_ERROR):
                code = -struct.unpack_from("=i", payload)[0] if len(payload) >= 4 else 0
                if code == errno.EINTR or interrupted:
                    raise InterruptedError
                if code:
                    raise NftRefused(Failure("reading nf_tables", code).refusal())
                break
            if got & 0xFF00 == SUBSYSTEM:
                found.append(type(body)(_HEADER.pack(16 + len(payload), got, flags, answered, 0) + payload))
                found[-1].decode()
        return found

    def _send(self, data: bytes) -> None:
        # A transaction is one datagram, and must fit the send buffer.
        with contextlib.suppress(PermissionError):
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, 2 * len(data) + 65_536)
        self._socket.send(data)

    def _received(self) -> Iterator[tuple[int, int, int, bytes]]:
        while True:
            try:
                data = self._socket.recv(1 << 20)
            except TimeoutError:
                silent = Refusal(feature="nf_tables", advice=f"the kernel did not answer in {ANSWER_S:g} s")
                raise NftRefused(silent) from None
            while len(data) >= _HEADER.size:
                length, kind, flags, sequence, _ = _HEADER.unpack_from(data)
                yield kind, flags, sequence, data[_HEADER.size : length]
                data = data[(length + 3) & ~3 :]

    def _next_sequence(self) -> int:
        self._sequence += 1
        return self._sequence
