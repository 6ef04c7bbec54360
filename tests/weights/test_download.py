"""weights/download.py against a local HTTP server with every fault; published files end to end."""

import functools
import hashlib
import http.server
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import i3d_weights
from tests.helpers import ROOT
from tests.weights import formats
from weights import download, files

CONTENT = np.random.default_rng(0).bytes(400_000)
NAME = "weights.h5"


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `server.content`; each request takes the next of `server.faults`, then none."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.requests.append(dict(self.headers))
        faults = self.server.faults
        fault = faults.pop(0) if faults else ""
        start = self.place(fault)
        if fault == "page":
            return self.answer(200, b"<html>Please log in</html>", {"Content-Type": "text/html"})
        if re.fullmatch(r"\d\d\d", fault):
            return self.answer(int(fault), b"")
        size = len(self.server.content)
        if start and start >= size:
            return self.answer(416, b"", {"Content-Range": f"bytes */{size}"})
        headers = {"ETag": self.server.tag} if self.server.tag else {}
        if start:
            headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
        if fault == "another part":
            headers["Content-Range"] = f"bytes 0-{size - 1}/{size}"
        self.answer(206 if start else 200, self.server.content[start:], headers, fault)

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
    server.released = threading.Event()
    server.url = f"http://127.0.0.1:{server.server_port}"
    serve = functools.partial(server.serve_forever, poll_interval=0.01)
    threading.Thread(target=serve, daemon=True).start()
    yield server
    server.released.set()
    server.shutdown()
    server.server_close()


def accept_content(path):
    if path.read_bytes() != CONTENT:
        raise ValueError(f"{path.name} is damaged.")


def fetch(server, folder, **settings):
    url = f"{server.url}/{NAME}"
    path = folder / "cache" / NAME
    settings = {"signature": CONTENT[:8], **settings}
    return download.fetch(url, path, accept_content, **settings)


def left(folder):
    """Names in the cache, apart from the lock's."""
    names = (path.name for path in (folder / "cache").glob("*"))
    return sorted(name for name in names if not name.endswith(".lock"))


def ranges(server):
    return [headers.get("Range") for headers in server.requests]


WHOLE = [NAME, f"{NAME}.sha256"]
PARTIAL = [f".{NAME}.part", f".{NAME}.part.json"]


def test_a_file_is_downloaded_once_and_its_hash_recorded(server, tmp_path):
    for _ in range(2):
        path = fetch(server, tmp_path)
        assert path.read_bytes() == CONTENT and left(tmp_path) == WHOLE
    assert ranges(server) == [None]
    digest = hashlib.sha256(CONTENT).hexdigest()
    assert (tmp_path / "cache" / f"{NAME}.sha256").read_text() == f"{digest}  {NAME}\n"


@pytest.mark.parametrize(
    ("faults", "asked"),
    [
        (["cut"], [None, "bytes=200000-"]),
        (["cut", "cut"], [None, "bytes=200000-", "bytes=300000-"]),
        (["cut", "no ranges"], [None, "bytes=200000-"]),
        (["cut", "503"], [None, "bytes=200000-", "bytes=200000-"]),
        (["cut", "another part"], [None, "bytes=200000-", None]),
        (["503"], [None, None]),
        (["stall"], [None, "bytes=200000-"]),
        (["slow"], [None]),
        (["no length"], [None]),
    ],
)
def test_interrupted_transfers_are_continued(server, tmp_path, faults, asked):
    server.faults += faults
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert ranges(server) == asked and left(tmp_path) == WHOLE


def test_a_later_start_goes_on_unless_the_file_has_changed(server, tmp_path):
    server.faults += ["cut", *["503"] * 9]
    with pytest.raises(download.UnreachableError, match="0.2 MB are kept"):
        fetch(server, tmp_path)
    assert left(tmp_path) == PARTIAL
    server.faults, server.requests = ["cut", *["503"] * 9], []
    with pytest.raises(download.UnreachableError, match="0.3 MB are kept"):
        fetch(server, tmp_path)
    assert ranges(server)[0] == "bytes=200000-"
    # The server has a new version: half of the old one must not be joined to it.
    (tmp_path / "cache" / PARTIAL[0]).write_bytes(b"old" * 1000)
    server.tag, server.faults, server.requests = '"two"', ["same anyway"], []
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert ranges(server) == ["bytes=3000-", None]
    assert server.requests[0]["If-Range"] == '"one"'


def test_without_a_version_mark_nothing_is_joined(server, tmp_path):
    server.tag = None
    server.faults += ["cut"]
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert ranges(server) == [None, None]


def test_a_download_that_was_whole_already_is_not_repeated(server, tmp_path):
    server.faults += ["cut", *["503"] * 9]
    with pytest.raises(download.UnreachableError):
        fetch(server, tmp_path)
    (tmp_path / "cache" / PARTIAL[0]).write_bytes(CONTENT)
    server.faults = []
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert ranges(server)[-1] == f"bytes={len(CONTENT)}-"


def test_a_web_page_with_status_200_is_refused_and_keeps_what_has_come(server, tmp_path):
    server.faults += ["page"]
    with pytest.raises(download.UnreachableError, match="web page"):
        fetch(server, tmp_path)
    assert left(tmp_path) == []
    server.faults += ["cut", "page"]
    with pytest.raises(download.UnreachableError, match="web page"):
        fetch(server, tmp_path)
    assert left(tmp_path) == PARTIAL
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert ranges(server)[-1] == "bytes=200000-"


def test_what_the_check_refuses_is_not_kept(server, tmp_path):
    server.content = CONTENT[:300_000]
    with pytest.raises(ValueError, match="damaged.*nothing is kept"):
        fetch(server, tmp_path)
    assert left(tmp_path) == []


@pytest.mark.parametrize("status", ["403", "404"])
def test_a_missing_file_is_said_at_once(server, tmp_path, status):
    server.faults += [status]
    with pytest.raises(download.UnreachableError, match=status):
        fetch(server, tmp_path)
    assert len(server.requests) == 1 and left(tmp_path) == []


def test_files_that_changed_since_they_were_accepted_are_refused(server, tmp_path):
    path = fetch(server, tmp_path)
    path.write_bytes(CONTENT[:-1] + b"!")
    with pytest.raises(ValueError, match="SHA-256 .* Delete weights.h5 and weights.h5.sha256"):
        fetch(server, tmp_path)
    path.unlink()
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    path.unlink()
    server.content = CONTENT[:8] + CONTENT
    with pytest.raises(ValueError, match="serves now.*delete .*sha256 to accept"):
        fetch(server, tmp_path)
    assert left(tmp_path) == [f"{NAME}.sha256"]


def test_files_put_there_by_hand_are_checked_and_recorded(server, tmp_path):
    path = tmp_path / "cache" / NAME
    path.parent.mkdir()
    path.write_bytes(b"something else")
    with pytest.raises(ValueError, match="damaged. Delete it to download"):
        fetch(server, tmp_path)
    path.write_bytes(CONTENT)
    assert fetch(server, tmp_path) == path
    assert left(tmp_path) == WHOLE and server.requests == []


def closed_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_offline_fails_at_once_with_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    # A port where nobody listens, and a listener whose queue is full: it never answers.
    full = socket.socket()
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    waiting = [socket.socket() for _ in range(4)]
    for client in waiting:
        client.setblocking(False)
        client.connect_ex(full.getsockname())
    for port in (closed_port(), full.getsockname()[1]):
        started = time.monotonic()
        base_url = f"http://127.0.0.1:{port}/release"
        with pytest.raises(FileNotFoundError) as error:
            i3d_weights.find_weights("kinetics", "flow", base_url=base_url)
        assert time.monotonic() - started < 2
        for part in ("rgb", "flow"):
            assert f"{base_url}/{i3d_weights.FILE_NAME.format(part)}" in str(error.value)
        assert str(tmp_path / "i3d") in str(error.value)
        assert "--weights none" in str(error.value)
    for each in (full, *waiting):
        each.close()


FETCH = """
import sys, pathlib
from weights import download
path = pathlib.Path(sys.argv[2])
download.fetch(sys.argv[1], path, lambda path: None)
print(path.stat().st_size)
"""


def start_process(server, folder):
    command = [sys.executable, "-c", FETCH, f"{server.url}/{NAME}", folder / "cache" / NAME]
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(list(map(str, command)), cwd=ROOT, **output)


def test_two_processes_download_once(server, tmp_path):
    server.faults += ["slow"]
    processes = [start_process(server, tmp_path) for _ in range(2)]
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert all(output.endswith(f"{len(CONTENT)}\n") for output in outputs), outputs
    assert len(server.requests) == 1 and left(tmp_path) == WHOLE


@pytest.mark.parametrize("end", ["kill", "interrupt"])
def test_a_stopped_process_leaves_a_part_that_the_next_goes_on_from(server, tmp_path, end):
    server.faults += ["slow"]
    process = start_process(server, tmp_path)
    partial = tmp_path / "cache" / PARTIAL[0]
    while not (partial.is_file() and partial.stat().st_size > 50_000):
        assert process.poll() is None
        time.sleep(0.01)
    if end == "kill":
        process.kill()
    else:
        process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert not (tmp_path / "cache" / NAME).exists()
    size = partial.stat().st_size
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert 50_000 < size < len(CONTENT) and ranges(server)[-1] == f"bytes={size}-"


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The content of a file that is laid out as the published one of the flow stream."""
    path = tmp_path_factory.mktemp("published") / "flow.h5"
    return formats.write_hdf5(path, formats.recipe_layers(2)).read_bytes()


def test_published_weights_are_downloaded_checked_and_found(
    server, published, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(i3d_weights, "RELEASE_URL", server.url)
    monkeypatch.setattr(download, "READ_SECONDS", 10)
    server.content = published[: len(published) // 2]
    with pytest.raises(ValueError, match="not a whole Keras HDF5 .*nothing is kept"):
        i3d_weights.find_weights("kinetics", "flow")
    server.content = published
    with pytest.raises(ValueError, match="holds the flow stream"):
        i3d_weights.find_weights("kinetics", "rgb")
    server.faults += ["cut"]
    path = i3d_weights.find_weights("kinetics", "flow")
    name = i3d_weights.FILE_NAME.format("flow")
    assert path == tmp_path / "i3d" / name and files.read(path).num_classes is None
    names = {item.name for item in path.parent.iterdir() if item.suffix != ".lock"}
    assert names == {name, f"{name}.sha256"}
    assert i3d_weights.find_weights(path.parent, "flow") == path
