"""Shell. A SPIFFE Workload API that behaves like a SPIRE agent's, by gRPC's own server; a process of its own.

    python -m tests.support.spire_program SOCKET

Told what to do by lines on standard input: `offer HEX` (an X509SVIDResponse, to all streams now, and to
whoever comes), `deny` (end all streams with PERMISSION_DENIED, and whoever comes), `end CODE` (end the
streams that there are). Says "ready" when it listens, and "done" after each line.
"""

import sys
import threading
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import grpc


class Api(grpc.GenericRpcHandler):  # type: ignore[misc]
    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.version = 0
        self.response: bytes | None = None
        self.ended = 0
        self.code = grpc.StatusCode.UNAVAILABLE

    def service(self, details: Any) -> Any:
        if details.method != "/SpiffeWorkloadAPI/FetchX509SVID":
            return None
        return grpc.unary_stream_rpc_method_handler(self.fetch)

    def fetch(self, request: bytes, context: Any) -> Iterator[bytes]:
        if dict(context.invocation_metadata()).get("workload.spiffe.io") != "true":
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "security header missing from request")
        seen, ended = -1, self.ended
        while context.is_active():
            with self.changed:
                self.changed.wait_for(lambda seen=seen: seen != self.version or ended != self.ended, 0.1)  # type: ignore[misc]
                if ended != self.ended:
                    context.abort(self.code, "a test wants it so")
                if self.response is None:
                    context.abort(grpc.StatusCode.PERMISSION_DENIED, "no identity issued")
                news = seen != self.version
                seen, response = self.version, self.response
            if news and response is not None:
                yield response

    def obey(self, line: str) -> None:
        word, _, value = line.strip().partition(" ")
        with self.changed:
            self.version += 1
            if word == "offer":
                self.response = bytes.fromhex(value)
            elif word == "deny":
                self.response = None
            elif word == "end":
                self.ended += 1
                self.code = grpc.StatusCode[value]
            self.changed.notify_all()


def main() -> None:
    api = Api()
    server = grpc.server(futures.ThreadPoolExecutor(8), handlers=(api,))
    assert server.add_insecure_port(f"unix:{sys.argv[1]}")
    server.start()
    print("ready", flush=True)
    for line in sys.stdin:
        api.obey(line)
        print("done", flush=True)
    server.stop(0)


if __name__ == "__main__":
    main()
