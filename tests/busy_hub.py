"""A door before a Hub that counts requests, and refuses the first ones as a busy Hub does."""

import http.client
import http.server
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

_HOP = ("connection", "keep-alive", "transfer-encoding", "te", "upgrade")


class Door(http.server.ThreadingHTTPServer):
    """`asked` counts what came, by method and path; `refusals` are given first, one a request."""

    daemon_threads = True
    request_queue_size = 512

    def __init__(self, hub: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.hub = urlsplit(hub).netloc
        self.endpoint = f"http://127.0.0.1:{self.server_port}"
        self.lock = threading.Lock()
        self.asked: Counter[str] = Counter()
        self.refusals: list[tuple[int, dict[str, str]]] = []


class Handler(http.server.BaseHTTPRequestHandler):
    server: Door
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Says nothing."""

    def answer(self) -> None:
        """A refusal, or what the Hub says."""
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        with self.server.lock:
            self.server.asked[f"{self.command} {urlsplit(self.path).path}"] += 1
            refusal = self.server.refusals.pop(0) if self.server.refusals else None
        if refusal is not None:
            return self.reply(refusal[0], refusal[1], b"")
        connection = http.client.HTTPConnection(self.server.hub, timeout=60)
        connection.request(self.command, self.path, body, dict(self.headers))
        said = connection.getresponse()
        headers = {k: v for k, v in said.getheaders() if k.lower() not in _HOP}
        self.reply(said.status, headers, said.read())
        return connection.close()

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer

    def reply(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response_only(status)
        if "content-length" not in map(str.lower, headers):
            headers = {**headers, "content-length": str(len(body))}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def door(hub: str) -> Iterator[Door]:
    """A door before the Hub at this address, for as long as the block runs."""
    with Door(hub) as opened:
        thread = threading.Thread(target=opened.serve_forever, daemon=True)
        thread.start()
        yield opened
        opened.shutdown()
