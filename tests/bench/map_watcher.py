"""Shell. What the catalog bench runs beside itself: looks when each of many keys comes into a kernel map.

A process of its own, for looking a thousand times a moment would take the interpreter from the API server.
Gets the map's descriptor and its patience in seconds; reads keys in hex, a line each, until an empty one, and
says "ready". Prints as JSON when each was seen first, by the clock that all processes share; fewer than keys
if the patience ended.
"""

import json
import sys
import time

from meshtrio.intercept import bpf

PAUSE_S = 0.003


def watch(descriptor: int, keys: set[bytes], patience_s: float) -> list[float]:
    """Look until all keys are there, and give the moments."""
    seen_at_s: list[float] = []
    until = time.monotonic() + patience_s
    while keys and time.monotonic() < until:
        found = {key for key in keys if bpf.look_up(descriptor, key, 4) is not None}
        seen_at_s += [time.monotonic()] * len(found)
        keys -= found
        time.sleep(PAUSE_S)
    return seen_at_s


if __name__ == "__main__":
    wanted = {bytes.fromhex(line) for line in iter(sys.stdin.readline, "\n")}
    print("ready", flush=True)
    print(json.dumps(watch(int(sys.argv[1]), wanted, float(sys.argv[2]))))
