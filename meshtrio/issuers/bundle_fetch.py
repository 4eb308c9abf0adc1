"""Shell. Get another trust domain's bundle over HTTPS, as the SPIFFE standard has it (profile https_web).

Blocks, ten seconds at most for each step. Does not know when to ask again.
"""

import http.client
import ssl
from urllib.parse import urlsplit

from meshtrio.identity.bundle import BUNDLE_BYTES, Bundle, BundleFault, read_bundle

ANSWER_S = 10.0


class FetchError(Exception):
    """There is no bundle this time; the words say why."""


def fetch(trust_domain: str, url: str, ca_file: str) -> Bundle:
    """Ask once. FetchError if nobody answers, who answers is not proved, or it is no bundle.

    Redirections are not followed: the standard allows it, and who wrote the address meant that one.
    """
    there = urlsplit(url)
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
        line = http.client.HTTPSConnection(there.netloc, timeout=ANSWER_S, context=context)
    except (OSError, ValueError, http.client.HTTPException) as cause:
        raise FetchError(f"{ca_file or url}: {cause}") from cause
    try:
        target = (there.path or "/") + (f"?{there.query}" if there.query else "")
        line.request("GET", target, headers={"accept": "application/json"})
        answer = line.getresponse()
        text = answer.read(BUNDLE_BYTES + 1)
        if answer.status != http.client.OK:
            raise FetchError(f"{url} answered {answer.status}, want 200")
        return read_bundle(trust_domain, text)
    except BundleFault as fault:
        raise FetchError(f"{url}: {fault}") from fault
    except (OSError, http.client.HTTPException, ValueError) as cause:
        raise FetchError(f"{url} does not answer: {cause or type(cause).__name__}") from cause
    finally:
        line.close()
