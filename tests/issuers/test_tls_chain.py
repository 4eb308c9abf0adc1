"""A key that is in no file, and a TLS context that shows it."""

import os
import ssl

from meshtrio.issuers.tls_chain import load_chain
from tests.support.identities import key, leaf, root, signing


def test_the_context_shows_the_whole_chain_and_nothing_stays_open() -> None:
    before = len(os.listdir("/proc/self/fd"))
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    load_chain(server, key("leaf"), (leaf(signing()), *signing().chain))
    assert len(os.listdir("/proc/self/fd")) == before
    client.check_hostname = False
    client.load_verify_locations(cadata=root().certificate.der)
    client.verify_flags |= 0x200000  # X509_V_FLAG_NO_CHECK_TIME
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = client.wrap_bio(down, up), server.wrap_bio(up, down, server_side=True)
    done: set[int] = set()
    for _ in range(6):
        for number, end in enumerate(ends):
            try:
                end.do_handshake()
                done.add(number)
            except ssl.SSLWantReadError:
                pass
    assert done == {0, 1}
    assert ends[0].getpeercert(binary_form=True) == leaf(signing()).der
