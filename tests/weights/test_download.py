"""weights/download.py against a local HTTP server with every fault."""

import hashlib
import signal
import subprocess
import sys
import time

import pytest

from tests.helpers import ROOT
from tests.weights.conftest import CONTENT
from weights import download

NAME = "weights.h5"


def accept_content(path):
    if path.read_bytes() != CONTENT:
        raise ValueError(f"{path.name} is damaged.")


def fetch(server, folder, **settings):
    url = f"{server.url}/{NAME}"
    path = folder / "cache" / NAME
    settings = {"signature": CONTENT[:8], **settings}
    return download.fetch(url, path, accept_content, **settings)


def left(folder):
    """Names in the cache, which goes with the last of them."""
    names = sorted(path.name for path in (folder / "cache").glob("*"))
    assert names or not (folder / "cache").exists()
    return names


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
