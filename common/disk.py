"""What is on disk is whole: atomic writes, locks, and results tied to what they were made from.

A folder of results is tied to its parameters (`claim`), each result in it to its source (a stamp).
"""

import contextlib
import json
import os
import shutil
import tempfile
import uuid
from pathlib import Path

PARAMETERS_FILE = "parameters.json"
PARTIAL_DIR = ".partial"
STAMP_FILE = "source.json"


class DiskFullError(OSError):
    """No space is left; what is finished is kept, and the same command resumes."""


def claim(output, parameters, command, rebuild=False):
    """Ties a stage's folder to the parameters that its content is made with.

    Args:
        output: the stage's folder, made where it does not exist.
        parameters: JSON-able dict.
        command: the command that makes the folder; the message recommends it with --rebuild.
        rebuild: delete what is there first.

    Raises:
        ValueError: the folder's content was made with other parameters.
    """
    if rebuild and output.exists():
        trash = output.with_name(f".{output.name}-{uuid.uuid4().hex}")
        os.rename(output, trash)
        shutil.rmtree(trash)
    parameters = json.loads(json.dumps(parameters))
    there = read_parameters(output)
    if differs := differing_parameters(output, parameters):
        there = there or {}
        raise ValueError(
            f"{output} was made with other parameters: "
            + "; ".join(
                f"{key} is {there.get(key)}, wanted {parameters.get(key)}" for key in differs
            )
            + f". To make it anew: `{command} --rebuild`."
        )
    if there is None:
        output.mkdir(parents=True, exist_ok=True)
        write_atomically(output / PARAMETERS_FILE, json.dumps(parameters, indent=1) + "\n")


def differing_parameters(output, parameters):
    """The names of those that the content of a folder was made with otherwise; of none, []."""
    wanted = json.loads(json.dumps(parameters))
    there = read_parameters(output)
    if there is None:
        there = {} if output.is_dir() and any(output.glob("*/*")) else wanted
    return sorted(key for key in {*there, *wanted} if there.get(key) != wanted.get(key))


def read_parameters(output):
    """The parameters that `output` was made with, or None."""
    path = output / PARAMETERS_FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def stamp_of(source):
    """What tells whether a source has changed: of a file its size and time.

    Args:
        source: `Path` of a file, or of a result, which has the stamp of its own source.

    Returns:
        JSON-able dict.
    """
    if source.is_dir() and (stamp := read_stamp(source)) is not None:
        return stamp
    status = source.stat()
    size = {} if source.is_dir() else {"bytes": status.st_size}
    return {**size, "modified_ns": status.st_mtime_ns}


def read_stamp(result):
    """The stamp of what a result (file or folder) was made from, or None where it has none."""
    try:
        return json.loads(_stamp_file(result).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def write_stamp(result, stamp):
    """Ties a result to the stamp of its source; the result's own time stays as it is."""
    status = result.stat()
    write_atomically(_stamp_file(result), json.dumps(stamp) + "\n")
    os.utime(result, ns=(status.st_atime_ns, status.st_mtime_ns))


def remove_stamp(result):
    _stamp_file(result).unlink(missing_ok=True)


def write_atomically(path, content):
    """Writes text or bytes so that `path` holds either the old or the new content, whole."""
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        if isinstance(content, bytes):
            partial.write_bytes(content)
        else:
            partial.write_text(content, encoding="utf-8", newline="\n")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def user_dir(variable, name):
    """A folder of the user's: what an environment variable says, else `name` in the home folder.

    Where there is neither, as in some containers, in the folder for temporary files.
    """
    if given := os.environ.get(variable):
        return Path(given)
    try:
        return Path.home() / name
    except RuntimeError:
        return Path(tempfile.gettempdir()) / name


@contextlib.contextmanager
def lock(path, busy, remove=False):
    """Holds an exclusive lock on the file `path`; the system frees it when the process dies.

    Args:
        path: of the file, made with its folder where there is none.
        busy: the message where another process holds the lock.
        remove: delete the file afterwards.

    Raises:
        ValueError: another process holds the lock.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked_file(path, busy) as file:
        try:
            yield file
        finally:
            if remove:
                _remove_open(path)
    if remove and os.name == "nt":
        _remove_open(path)  # there it can only be deleted now, and not if it is locked again


def _locked_file(path, busy):
    """The locked open file; again, where its last holder deleted it before the lock held."""
    while True:
        file = path.open("a+b")
        if not _try_lock(file):
            file.close()
            raise ValueError(busy)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()


def _remove_open(path):
    with contextlib.suppress(PermissionError, FileNotFoundError):
        path.unlink()


def check_free(output, needed_bytes):
    free = shutil.disk_usage(output).free
    if needed_bytes > free:
        raise DiskFullError(
            f"{output} needs about {needed_bytes / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free."
        )


@contextlib.contextmanager
def partial_dir(output):
    """A folder of this run's own below `output`; those of runs that died are swept away."""
    parent = output / PARTIAL_DIR
    _sweep(parent)
    with contextlib.ExitStack() as locks:
        own = _new_partial_dir(parent, locks)
        try:
            yield own
        finally:
            locks.close()
            shutil.rmtree(own, ignore_errors=True)
            own.with_suffix(".lock").unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                parent.rmdir()


def _sweep(parent):
    """Removes the folders below `parent` whose lock nobody holds; others may sweep, too."""
    lock_files = []
    with contextlib.suppress(FileNotFoundError):
        lock_files += parent.glob("*.lock")
    for lock_file in lock_files:
        with contextlib.suppress(ValueError, OSError), lock(lock_file, "in use"):
            shutil.rmtree(lock_file.with_suffix(""), ignore_errors=True)
            lock_file.unlink(missing_ok=True)


def _new_partial_dir(parent, locks):
    """Makes a folder and its lock; again, where another run swept them before the lock held."""
    while True:
        own = parent / uuid.uuid4().hex
        own_lock = own.with_suffix(".lock")
        with contextlib.suppress(ValueError, FileExistsError, FileNotFoundError):
            file = locks.enter_context(lock(own_lock, "in use"))
            own.mkdir()
            if os.path.samestat(os.fstat(file.fileno()), own_lock.stat()):
                return own
        locks.close()
        shutil.rmtree(own, ignore_errors=True)


def remove(path):
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _stamp_file(result):
    """In a folder; beside a file."""
    if result.is_dir():
        return result / STAMP_FILE
    return result.with_name(f".{result.name}.{STAMP_FILE}")


def _try_lock(file):
    try:
        import fcntl
    except ImportError:
        import msvcrt

        with contextlib.suppress(OSError):
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            return True
        return False
    with contextlib.suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False
