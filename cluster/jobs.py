"""What runs on a worker of a cluster: a job, once the worker has been found fit for it.

A worker is fit if it sees the folder that the stage was started in, and has the same code and the
same versions of what decodes, computes and encodes. It is asked once.
"""

import dataclasses
import functools
import hashlib
import os
import platform
import time
import uuid
from pathlib import Path

import cv2

from common.command_line import PROJECT

# What the bytes of a result depend on, besides the code.
PACKAGES = ("numpy", "numba", "opencv-contrib-python", "opencv-contrib-python-headless")
APART = ("tests", "benchmarks", "pictures")  # their code makes no results


class UnfitWorkerError(OSError):
    """A worker sees other folders, or has other code; the message names it."""


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a stage was started: what every worker must see, and have.

    `token` is the name of a file in `folder`, and what it holds.
    """

    folder: str
    token: str
    code: str
    versions: tuple


def place_of(folder, token):
    """The `Place` of this process, whose token is in the file of that name."""
    return Place(str(folder), token, code_digest(), versions())


def do(place, work, tasks):
    """Does some tasks of `stage.run`.

    Args:
        place: `Place`.
        work: function of a task.
        tasks: list of (`stage.Job`, path for its partial result).

    Returns:
        (list of what `work` returned, seconds).

    Raises:
        UnfitWorkerError: this worker must not work for the stage.
    """
    check(place)
    started = time.monotonic()
    outcomes = []
    for job, partial in tasks:
        # Another worker may have begun the same task, and may be thought dead while it is not.
        own = partial.with_name(f"{partial.name}-{uuid.uuid4().hex}")
        outcomes.append(work((job, own)))
    return outcomes, time.monotonic() - started + 1e-6


@functools.cache
def check(place):
    """Raises UnfitWorkerError, or makes this process one that works for the stage."""
    here = platform.node()
    token = Path(place.folder, place.token)
    try:
        is_same = token.read_text() == place.token
    except OSError:
        is_same = False
    if not is_same:
        raise UnfitWorkerError(
            f"The worker on {here} does not see {place.folder} as this machine does. All of a "
            "cluster's machines must see the folder of the data sets, at the same path."
        )
    if code_digest() != place.code:
        raise UnfitWorkerError(
            f"The worker on {here} has other code of this project, in {PROJECT}. Bring both to the "
            "same commit, and start the worker again."
        )
    if versions() != place.versions:
        differing = sorted(set(versions()) ^ set(place.versions))
        raise UnfitWorkerError(
            f"The worker on {here} has other packages: {', '.join(' '.join(d) for d in differing)}."
            " Install the same requirements.txt on both, and start the worker again."
        )
    os.chdir(place.folder)
    # A worker has as many threads as it was started with; each computes by itself.
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
    cv2.setNumThreads(1)


@functools.cache
def code_digest():
    """What tells versions of the project's code apart: a digest of all of it."""
    digest = hashlib.sha256()
    for path in sorted(PROJECT.glob("*.py")) + sorted(PROJECT.glob("*/*.py")):
        name = path.relative_to(PROJECT)
        if name.parts[0] not in APART:
            digest.update(f"{name.as_posix()}\n".encode() + path.read_bytes())
    return digest.hexdigest()


@functools.cache
def versions():
    """((package, version), ...) of Python and of the `PACKAGES` that are installed."""
    from importlib import metadata  # here, for scripts without a cluster start without it

    found = [("python", platform.python_version())]
    for name in PACKAGES:
        try:
            found.append((name.removesuffix("-headless"), metadata.version(name)))
        except metadata.PackageNotFoundError:
            continue
    return tuple(found)
