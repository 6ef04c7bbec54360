"""Downloads one file: resumable, atomic, checked, by one process at a time.

    download.fetch(url, path, check)

writes  <folder>/<name>                what `check` has accepted
        <folder>/<name>.sha256         its SHA-256, compared ever after
        <folder>/.<name>.part          what has come so far; the next call goes on from there
"""

import contextlib
import http.client
import json
import queue
import re
import socket
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

from tqdm import tqdm

from common import disk
from weights import files

CONNECT_SECONDS = 1.5  # after which a server counts as out of reach
READ_SECONDS = 30  # without a single byte
MAX_FAILURES = 4  # in a row, without a megabyte of progress between them
PROGRESS_BYTES = 2**20
FIRST_PAUSE_SECONDS = 0.5  # doubled after every failure
BLOCK_BYTES = 2**16
BUSY_STATUSES = frozenset((408, 425, 429, 500, 502, 503, 504))
USER_AGENT = "sign-language-i3d (urllib)"
WAIT_SECONDS = 0.2  # between looks at another process's download


class UnreachableError(OSError):
    """The file cannot be had now; the message says why."""


class _InterruptedError(Exception):
    """The transfer ended early; what has come is kept."""


def fetch(url, path, check, signature=b""):
    """A file that is downloaded once and compared with its recorded SHA-256 ever after.

    Args:
        url: of the file; asked only where `path` does not exist.
        path: where it belongs. A file put there by hand is checked and recorded, too.
        check: called with the path of what has come; raises ValueError where that is not it.
        signature: bytes that the file begins with; an answer that does not is not stored at all.

    Returns:
        `path`.

    Raises:
        UnreachableError: no server, or it does not have the file.
        ValueError: what came, or what is there, is not accepted.
    """
    if not (path.is_file() and _record(path).is_file()):
        with alone(path):
            if not path.is_file():
                _download_and_check(url, path, check, signature)
            elif not _record(path).is_file():
                _accept(path, path, check, f"Delete it to download {url}.")
    _compare(path, path, f"Delete {path.name} and {_record(path).name} to download it anew.")
    return path


def _download_and_check(url, path, check, signature):
    partial = path.with_name(f".{path.name}.part")
    _download(url, partial, path.name, signature)
    try:
        if _record(path).is_file():
            advice = f"If the publisher has replaced it, delete {_record(path)} to accept it."
            _compare(partial, path, f"That is what {url} serves now. {advice}")
        else:
            _accept(partial, path, check, f"{url} serves that; nothing is kept. Try again later.")
    except ValueError:
        partial.unlink()
        raise
    finally:
        _state(partial).unlink(missing_ok=True)
    partial.replace(path)


def _accept(file, path, check, advice):
    """Checks `file` and records its SHA-256 beside `path`."""
    try:
        check(file)
    except ValueError as error:
        raise ValueError(f"{error} {advice}") from error
    disk.write_atomically(_record(path), f"{files.sha256(file)}  {path.name}\n")


def _compare(file, path, advice):
    expected = _record(path).read_text(encoding="utf-8").split()[:1]
    found = files.sha256(file)
    if expected != [found]:
        raise ValueError(
            f"{path} is not what was accepted: its SHA-256 is {found}, "
            f"{_record(path).name} says {' '.join(expected) or 'nothing'}. {advice}"
        )


def _record(path):
    return path.with_name(f"{path.name}.sha256")


def _state(partial):
    """Says which version of which file a partial one is of."""
    return partial.with_name(f"{partial.name}.json")


@contextlib.contextmanager
def alone(path):
    """A context that waits until no other process downloads `path`, which is nobody else's then.

    Where nothing came of it, its folder is removed again.
    """
    told = False
    lock = path.with_name(f".{path.name}.lock")
    with contextlib.ExitStack() as held:
        held.callback(_remove_empty, path.parent)
        while True:
            try:
                held.enter_context(disk.lock(lock, "busy", remove=True))
                break
            except FileNotFoundError:  # another process has just removed the folder
                continue
            except ValueError:
                if not told:
                    print(f"Waiting for another process that downloads {path.name}.", flush=True)
                told = True
                time.sleep(WAIT_SECONDS)
        yield


def _remove_empty(folder):
    with contextlib.suppress(OSError):
        folder.rmdir()


def _download(url, partial, name, signature):
    """Transfers until `partial` is whole; goes on after interruptions, with growing pauses."""
    failures, best = 0, _size(partial)
    _check_reachable(url)
    while True:
        try:
            return _transfer(url, partial, name, signature)
        except _InterruptedError as error:
            failures = 1 if _size(partial) >= best + PROGRESS_BYTES else failures + 1
            best = max(best, _size(partial))
            if failures >= MAX_FAILURES:
                raise UnreachableError(
                    f"{url}: {error}, {failures} times. {best / 1e6:.1f} MB are kept; the same "
                    "command goes on from there"
                ) from error
            print(f"{name}: {error}; trying again", file=sys.stderr, flush=True)
            time.sleep(FIRST_PAUSE_SECONDS * 2 ** (failures - 1))


def _check_reachable(url):
    """Raises where nobody answers; `urlopen` alone would try for a minute and more."""
    host, port = _address(url)
    answers = queue.SimpleQueue()

    def connect():
        try:
            socket.create_connection((host, port), CONNECT_SECONDS).close()
            answers.put(None)
        except OSError as error:
            answers.put(error)

    threading.Thread(target=connect, daemon=True).start()
    try:
        error = answers.get(timeout=CONNECT_SECONDS)
    except queue.Empty:
        error = f"no answer in {CONNECT_SECONDS} s"
    if error is not None:
        raise UnreachableError(f"{host} is out of reach: {error}")


def _address(url):
    """(host, port) to connect to: the server, or the proxy that the system uses for it."""
    parts = urllib.parse.urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and not urllib.request.proxy_bypass(parts.hostname):
        parts = urllib.parse.urlsplit(proxy if "//" in proxy else f"http://{proxy}")
    return parts.hostname, parts.port or {"https": 443}.get(parts.scheme, 80)


def _transfer(url, partial, name, signature):
    """One request, for what is missing; returns when `partial` is whole."""
    start, version = _resume_point(url, partial)
    headers = {"User-Agent": USER_AGENT}
    if start:
        headers |= {"Range": f"bytes={start}-", "If-Range": version}
    try:
        request = urllib.request.Request(url, headers=headers)
        with urllib.request.urlopen(request, timeout=READ_SECONDS) as response:
            total = _total(response, start, version, partial)
            with _opened(response, url, partial, start, signature) as file:
                _receive(response, file, total, name)
    except urllib.error.HTTPError as error:
        _explain_status(error, url, partial, start)
    except urllib.error.URLError as error:
        raise _InterruptedError(f"no connection ({error.reason})") from error
    except (TimeoutError, ConnectionError, http.client.HTTPException) as error:
        raise _InterruptedError(f"the connection broke ({error!r})") from error


def _resume_point(url, partial):
    """(number of bytes that are there, the version that they are of); (0, None) for none."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        state = json.loads(_state(partial).read_text(encoding="utf-8"))
        if state["url"] == url and state["version"]:
            return partial.stat().st_size, state["version"]
    return 0, None


def _version(response):
    """What tells one version of the file from another: a strong ETag, else its date."""
    tag = response.headers.get("ETag")
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified")


def _total(response, start, version, partial):
    """Size of the whole file, or None where the server does not say."""
    if response.status != 206:
        length = response.headers.get("Content-Length")
        return int(length) if length else None
    place = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
    if not place or int(place[1]) != start or _version(response) not in (None, version):
        _state(partial).unlink()
        raise _InterruptedError("the server sends another part or version than asked for")
    return int(place[2])


@contextlib.contextmanager
def _opened(response, url, partial, start, signature):
    """`partial`, to write the answer to; nothing is touched where the answer is something else."""
    if response.status == 206:
        with partial.open("r+b") as file:
            file.seek(start)
            yield file
        return
    beginning = response.read(len(signature))
    if beginning != signature:
        is_page = response.headers.get_content_type() == "text/html"
        what = "a web page (of a login or a proxy?)" if is_page else f"{beginning!r}..."
        raise UnreachableError(f"{url} answers with {what} instead of the file")
    with partial.open("wb") as file:
        state = {"url": url, "version": _version(response)}
        disk.write_atomically(_state(partial), json.dumps(state))
        file.write(beginning)
        yield file


def _receive(response, file, total, name):
    disk.check_free(file.name, (total or 0) - file.tell())
    interval = 0.1 if sys.stderr.isatty() else 10
    options = {"unit": "B", "unit_scale": True, "mininterval": interval}
    with tqdm(total=total, initial=file.tell(), desc=name, **options) as progress:
        while block := response.read1(BLOCK_BYTES):
            file.write(block)
            progress.update(len(block))
    if total is not None and file.tell() != total:
        raise _InterruptedError(f"the connection ended after {file.tell()} of {total} bytes")


def _explain_status(error, url, partial, start):
    """Returns where the server says that nothing is missing; else raises."""
    if error.code == 416:
        if error.headers.get("Content-Range") == f"bytes */{start}":
            return
        _state(partial).unlink(missing_ok=True)
    if error.code == 416 or error.code in BUSY_STATUSES:
        raise _InterruptedError(f"the server answers {error.code} {error.reason}") from error
    raise UnreachableError(f"{url}: the server answers {error.code} {error.reason}") from error


def _size(path):
    return path.stat().st_size if path.is_file() else 0
