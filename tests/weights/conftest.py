"""A local HTTP server with every fault, for all that is downloaded."""

import functools
import http.server
import re
import threading
import time

import numpy as np
import pytest

from weights import download

CONTENT = np.random.default_rng(0).bytes(400_000)


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `server.files[path]` or else `server.content`, or 404 where that is None.

    Each request takes the next of `server.faults`, then none.
    """

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.requests.append(dict(self.headers))
        self.server.paths.append(self.path)
        content = self.server.files.get(self.path, self.server.content)
        faults = self.server.faults
        fault = faults.pop(0) if faults else ""
        start = self.place(fault)
        if fault == "page":
            return self.answer(200, b"<html>Please log in</html>", {"Content-Type": "text/html"})
        if content is None or re.fullmatch(r"\d\d\d", fault):
            return self.answer(int(fault or 404), b"")
        size = len(content)
        if start and start >= size:
            return self.answer(416, b"", {"Content-Range": f"bytes */{size}"})
        headers = {"ETag": self.server.tag} if self.server.tag else {}
        if start:
            headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
        if fault == "another part":
            headers["Content-Range"] = f"bytes 0-{size - 1}/{size}"
        self.answer(206 if start else 200, content[start:], headers, fault)

    def place(self, fault):
        """The first byte to send."""
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        is_current = self.headers.get("If-Range") == self.server.tag or fault == "same anyway"
        return int(asked[1]) if asked and is_current and fault != "no ranges" else 0

    def answer(self, status, content, headers=None, fault=""):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if fault != "no length":
            self.send_header("Content-Length", str(len(content)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        if fault in ("cut", "stall"):
            content = content[: len(content) // 2]
        step = 20_000 if fault == "slow" else len(content) or 1
        for at in range(0, len(content), step):
            self.wfile.write(content[at : at + step])
            time.sleep(0.05 if fault == "slow" else 0)
        if fault == "stall":
            self.server.released.wait(5)

    def log_message(self, *_):
        pass

    def handle(self):
        try:
            super().handle()
        except ConnectionError:
            pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(download, "READ_SECONDS", 0.5)
    monkeypatch.setattr(download, "FIRST_PAUSE_SECONDS", 0.01)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.content, server.tag, server.faults, server.requests = CONTENT, '"one"', [], []
    server.files, server.paths = {}, []
    server.released = threading.Event()
    server.url = f"http://127.0.0.1:{server.server_port}"
    serve = functools.partial(server.serve_forever, poll_interval=0.01)
    threading.Thread(target=serve, daemon=True).start()
    yield server
    server.released.set()
    server.shutdown()
    server.server_close()
