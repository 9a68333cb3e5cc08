"""A server on this machine, with the faults that servers have."""

import base64
import http.server
import threading
import time

import pytest

from tome_zoo.cards import Weights
from tome_zoo.weights import download

BODY = bytes(range(256)) * 4096  # 1 MiB


class Server(http.server.ThreadingHTTPServer):
    """Serves `body`; can drop a connection after some bytes, ignore ranges, answer with an error or a page."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.body, self.etag, self.drops, self.ranges, self.status, self.slow = BODY, '"1"', [], True, 200, 0.0
        self.page = None
        self.retry_after, self.failures = None, None  # of an error's answer; how many answers are errors (None: all)
        self.lengths, self.login, self.moved = True, None, {}  # whether sizes are told; "user:password"; path -> URL
        self.headers = []
        self.requests = []
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def handle_error(self, request, client_address):
        """A client that hangs up is no matter for a test's output."""

    def url(self, name="w.pth"):
        return f"http://127.0.0.1:{self.server_address[1]}/{name}"


def login(pair):
    """The header for a user and a password."""
    return "Basic " + base64.b64encode(pair.encode()).decode()


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_):
        pass

    def do_GET(self):
        server, wanted = self.server, self.headers.get("Range")
        server.requests.append(wanted)
        server.headers.append(self.headers)
        if self.path in server.moved:
            self.reply(302, b"", {"Location": server.moved[self.path]})
            return
        if server.login and self.headers.get("Authorization") != login(server.login):
            self.send_error(401)
            return
        if server.status != 200 and server.failures != 0:
            server.failures = None if server.failures is None else server.failures - 1
            self.reply(server.status, b"", {"Retry-After": server.retry_after} if server.retry_after else {})
            return
        if server.etag and self.headers.get("If-None-Match") == server.etag:
            self.reply(304, b"", {"ETag": server.etag})
            return
        if server.page is not None:
            self.reply(200, server.page, {"Content-Type": "text/html; charset=utf-8"})
            return
        same = self.headers.get("If-Range") in (None, server.etag)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and server.ranges and same else 0
        if start >= len(server.body):
            self.send_error(416)
            return
        headers = {"Content-Range": f"bytes {start}-{len(server.body) - 1}/{len(server.body)}"} if start else {}
        if server.etag:
            headers["ETag"] = server.etag
        self.reply(206 if start else 200, server.body[start:], headers)

    def reply(self, status, body, headers):
        self.send_response(status)
        for key, value in {"Content-Type": "application/octet-stream", **headers}.items():
            self.send_header(key, value)
        if self.server.lengths:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        time.sleep(self.server.slow)
        self.wfile.write(body[: self.server.drops.pop(0)] if self.server.drops else body)


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.setenv("TOME_ZOO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("no_proxy", "*")
    for name in ("TOME_ZOO_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(download, "PAUSE", 0.0)
    server = Server()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def weights(server):
    """A card's weights that the server offers."""
    return lambda **fields: Weights(url=server.url(), layout="timm", license="none", **fields)


@pytest.fixture
def leftovers():
    """What lies beside a fetched file, locks aside."""
    return lambda path: sorted(p.name for p in path.parent.iterdir() if p != path and p.suffix != ".lock")
