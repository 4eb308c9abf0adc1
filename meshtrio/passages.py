"""Shell. How connections are secured is counted, and noted where they are seen. Does not secure any."""

from collections.abc import Awaitable

from meshtrio.messages import Direction
from meshtrio.observe.ledger import Entry, Ledger
from meshtrio.route.granting import BY_KERNEL
from meshtrio.secure.border import Passage, Unsafe


async def counted(ledger: Ledger, direction: Direction, securing: Awaitable[Passage]) -> Passage:
    """Count how a connection was secured, or why it was not."""
    try:
        passage = await securing
    except Unsafe as unsafe:
        if unsafe.reason:
            ledger.handshake(direction, unsafe.reason)
        raise
    if passage.tls:
        how = "resumed" if passage.resumed else "full"
        ledger.handshake(direction, BY_KERNEL if passage.tls == BY_KERNEL else how)
    return passage


def note_peer(entry: Entry, passage: Passage) -> None:
    """Write down who the other side proved to be."""
    entry.peer, entry.serial = str(passage.peer or ""), passage.serial
    entry.tls, entry.cipher, entry.resumed = passage.tls, passage.cipher, passage.resumed
