"""Hands the jobs of all stages to a Dask cluster, as long as a `with` block lasts.

    with connection.used("tcp://host:8786"):
        frame.extract_frames(dataset)

Source of the engine: distributed.dask.org. What it does by itself is left to it: spreading jobs,
watching workers, and doing the jobs of a worker that died again elsewhere.
"""

import collections
import contextlib
import json
import logging
import math
import os
import pickle
import queue
import re
import sys
import time
import uuid
from pathlib import Path

from cluster import jobs, wire
from common import stage
from common.command_line import Option

OPTIONS = {
    "cluster": Option(
        None,
        "run the jobs on a Dask cluster: its address such as tcp://host:8786, its scheduler file, "
        "or local",
        metavar="ADDRESS",
    )
}
LOCAL = "local"
LOGGERS = ("distributed", "tornado", "asyncio")
CONNECT_SECONDS = 10
BATCHES_PER_THREAD = 2  # that are under way: one is done, one waits
BATCH_SECONDS, MOST_IN_BATCH = 0.5, 16  # of tasks that are given to a worker at once
WORKERS_SECONDS = 30  # that the first worker may take to come
FETCH_SECONDS = 3  # of what a batch returned, after which that is asked for again
ALONE_SECONDS = 10  # without any worker, after which that is told
LONGEST_MESSAGE = 2**40  # bytes; Dask's begin with their number, other servers with words
MISSING = "--cluster needs Dask: pip install -r requirements-cluster.txt"
START_WORKERS = "python -m distributed.cli.dask_worker {address} --nthreads 1 --nworkers auto"
NOBODY = (
    "No Dask scheduler answers at {address}. Start one: python -m distributed.cli.dask_scheduler, "
    "which tells its address."
)
STRANGER = (
    "What answers at {address} is no Dask scheduler. Its address is the one that it tells first, "
    "such as tcp://host:8786; another one is that of its dashboard."
)
ALONE = "\ncluster: no worker is left. The stage goes on when one comes: " + START_WORKERS
GONE = (
    "The cluster's scheduler at {address} is gone. What is finished is kept: start the scheduler "
    "and its workers again, then the same command, without --rebuild."
)


@contextlib.contextmanager
def used(address):
    """Within, every `stage.run` gives its jobs to the cluster; with None, nothing changes.

    Args:
        address: of a scheduler, path of its scheduler file, or "local" for workers of this machine.

    Raises:
        OSError: Dask is not installed, nobody answers at the address, there are no workers, the
            scheduler goes away meanwhile, or a worker is unfit (`jobs.UnfitWorkerError`).
    """
    if address is None:
        yield
        return
    with _client(address) as client, _token() as token:
        _wait_for_workers(client)
        place = jobs.place_of(Path.cwd(), token)
        _refuse_unfit(client, place)
        cluster = _Cluster(client, place)
        with stage.elsewhere(cluster.outcomes):
            threads = cluster.num_threads()
            words = f"cluster: {threads} {'thread' if threads == 1 else 'threads'} at"
            print(f"{words} {client.scheduler.address}", file=sys.stderr, flush=True)
            yield


class _TooEarlyError(Exception):
    """What was asked for has not come yet."""


class _Cluster:
    """Does the tasks of stages on a Dask cluster, several at once: each costs Dask some time.

    Args:
        client: `distributed.Client`.
        place: `jobs.Place`.
    """

    def __init__(self, client, place):
        self._client, self._place = client, place
        self._address = client.scheduler.address

    def num_threads(self):
        """Threads of all workers that are there now."""
        return max(1, sum(self._client.nthreads().values()))

    def outcomes(self, do, tasks):
        """Yields what `do` returns of each task, as they come; see `stage.elsewhere`."""
        tasks, number = collections.deque(tasks), 1
        suspects = []
        in_flight, done = {}, queue.SimpleQueue()
        try:
            while tasks or in_flight:
                wanted = BATCHES_PER_THREAD * self._num_threads_or_gone()
                while tasks and len(in_flight) < wanted:
                    share = max(1, len(tasks) // wanted)  # so that all end at about the same time
                    some = [tasks.popleft() for _ in range(min(number, share))]
                    in_flight[self._submit(do, some, done)] = some
                batch = self._first_of(done)
                some = in_flight.pop(batch)
                if result := self._result(batch):
                    found, seconds = result
                    number = min(MOST_IN_BATCH, max(1, round(BATCH_SECONDS * len(some) / seconds)))
                    yield from found
                else:
                    suspects += some
            for task in suspects:  # with nothing beside it: one that waited where another killed is
                in_flight[self._submit(do, [task], done)] = [task]
                if result := self._result(self._first_of(done)):
                    yield from result[0]
                else:
                    yield task[0].label, stage.FAILED, "the workers that worked on it died"
        finally:  # whatever stops the stage
            with contextlib.suppress(Exception):
                self._client.cancel(list(in_flight))

    def _num_threads_or_gone(self):
        try:
            return self.num_threads()
        except Exception as error:  # whatever a client says that has lost its scheduler
            raise self._gone() from error

    def _first_of(self, done):
        """The next item of a queue."""
        return self._waited_for(lambda: done.get(timeout=1))

    def _waited_for(self, ask):
        """What `ask` returns, which gives up after a moment: asked until it has something.

        Ctrl-C is heard meanwhile on every system, and it is told where no worker is left.
        """
        since = None  # when the last worker was gone
        while True:
            with contextlib.suppress(queue.Empty, _TooEarlyError):
                return ask()
            if self._has_workers():
                since = None
            elif since is None:
                since = time.monotonic()
            elif time.monotonic() - since > ALONE_SECONDS:
                print(ALONE.format(address=self._address), file=sys.stderr, flush=True)
                since = math.inf

    def _has_workers(self):
        with contextlib.suppress(Exception):  # of a scheduler that is gone: a job will say so
            return bool(self._client.nthreads())
        return True

    def _submit(self, do, tasks, done):
        content = wire.pickled(jobs.do, self._place, do, tasks)
        try:
            batch = self._client.submit(pickle.loads, content, pure=False)
        except Exception as error:  # whatever a client says that has lost its scheduler
            raise self._gone() from error
        batch.add_done_callback(done.put)
        return batch

    def _result(self, batch):
        """What `jobs.do` returned, or None where several workers died with it.

        Raises:
            OSError: the scheduler is gone, or a worker is unfit.
        """
        from asyncio import CancelledError  # here, for scripts without a cluster start without it

        from distributed import KilledWorker

        def ask():  # a batch is done again where the worker died that held what it returned
            try:
                return batch.result(timeout=FETCH_SECONDS)
            except TimeoutError as error:
                if batch.status == "error":
                    raise
                raise _TooEarlyError from error

        try:
            return self._waited_for(ask)
        except KilledWorker:
            return None
        except ImportError as error:  # of one that has come since
            raise _without_code("A worker", error, self._address) from error
        except jobs.UnfitWorkerError:
            raise
        except (Exception, CancelledError) as error:
            if batch.status == "error":
                raise
            raise self._gone() from error

    def _gone(self):
        return OSError(GONE.format(address=self._address))


def _refuse_unfit(client, place):
    """Asks all workers that are there, before a stage deletes or writes anything.

    Raises:
        jobs.UnfitWorkerError: one is unfit.
    """
    content = wire.pickled(jobs.check, place)
    for address, answer in client.run(pickle.loads, content, on_error="return").items():
        if isinstance(answer, ImportError):
            raise _without_code(f"The worker at {address}", answer, client.scheduler.address)
        if isinstance(answer, Exception):
            raise answer


def _without_code(who, error, address):
    command = START_WORKERS.format(address=address)
    return jobs.UnfitWorkerError(
        f"{who} lacks this project's code ({error}). Start it in a clone of the project, in which "
        f"requirements-cluster.txt is installed: {command}"
    )


@contextlib.contextmanager
def _client(address):
    """A client of the cluster; that of this machine is started, and ends with the block."""
    try:
        import dask
        import distributed
    except ImportError as error:
        raise OSError(MISSING) from error
    dask.config.set({"distributed.comm.timeouts.connect": f"{CONNECT_SECONDS}s"})
    for name in list(logging.root.manager.loggerDict):
        if name.startswith(LOGGERS):  # they write pages about what is told in a line here
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    with contextlib.ExitStack() as stack:
        if address == LOCAL:
            cluster = distributed.LocalCluster(
                n_workers=stage.num_cores(), threads_per_worker=1, dashboard_address=":0"
            )
            target = stack.enter_context(cluster)
        else:
            target = _reachable(address)
        try:
            client = distributed.Client(target, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError) as error:
            raise OSError(NOBODY.format(address=target)) from error
        yield stack.enter_context(client)


def _reachable(address):
    """The address of a scheduler, also of one that a scheduler file names.

    Raises:
        OSError: nobody listens there; Dask's own client would take half a minute to say so.
        ValueError: it is neither an address nor a file.
    """
    if os.path.isfile(address):
        address = json.loads(Path(address).read_text(encoding="utf-8"))["address"]
    found = re.fullmatch(r"(?:(\w+)://)?\[?([^/\[\]]+?)\]?:(\d+)", address)
    if not found:
        raise ValueError(
            f"--cluster is an address such as tcp://host:8786, the scheduler's file, or {LOCAL}. "
            f"Received: {address}"
        )
    import socket

    kind, host, port = found.groups()
    if kind in ("http", "https"):
        raise OSError(STRANGER.format(address=address))
    if kind in (None, "tcp"):
        try:
            connected = socket.create_connection((host, int(port)), CONNECT_SECONDS)
        except (OSError, OverflowError) as error:
            raise OSError(NOBODY.format(address=address)) from error
        begun = b""
        with connected, contextlib.suppress(OSError):
            begun = connected.recv(8)
        if len(begun) < 8 or int.from_bytes(begun, "little") > LONGEST_MESSAGE:
            raise OSError(STRANGER.format(address=address))
    return address


def _wait_for_workers(client):
    try:
        client.wait_for_workers(1, timeout=WORKERS_SECONDS)
    except TimeoutError as error:
        address = client.scheduler.address
        raise OSError(
            f"The cluster at {address} has no workers. Start some on each machine, in a clone of "
            f"this project: {START_WORKERS.format(address=address)}"
        ) from error


@contextlib.contextmanager
def _token():
    """The name of a file in this folder that holds its own name, for workers to find."""
    path = Path(f".cluster-{uuid.uuid4().hex}")
    path.write_text(path.name)
    try:
        yield path.name
    finally:
        path.unlink(missing_ok=True)
