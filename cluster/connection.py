"""Hands the jobs of all stages to a Dask cluster, as long as a `with` block lasts.

    with connection.used("tcp://host:8786"):
        frame.extract_frames(dataset)

Source of the engine: distributed.dask.org. What it does by itself is left to it: spreading jobs,
watching workers, and doing the jobs of a worker that died again elsewhere.
"""

import concurrent.futures
import contextlib
import functools
import logging
import os
import pickle
import sys
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
WORKERS_SECONDS = 10  # that the first worker may take to come
MISSING = "--cluster needs Dask: pip install -r requirements-cluster.txt"
START_WORKERS = "python -m distributed.cli.dask_worker {address} --nthreads 1 --nworkers auto"
GONE = (
    "The cluster's scheduler at {address} is gone. What is finished is kept: start the scheduler "
    "and its workers again, then the same command."
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
        with _Cluster(client, place) as executor, stage.elsewhere(executor):
            threads = executor.num_workers
            words = f"cluster: {threads} {'thread' if threads == 1 else 'threads'} at"
            print(f"{words} {client.scheduler.address}", file=sys.stderr, flush=True)
            yield


class _Cluster(concurrent.futures.Executor):
    """A Dask cluster as an executor of `stage.run`."""

    def __init__(self, client, place):
        self._client, self._place = client, place
        self._address = client.scheduler.address
        self._pending = set()

    @property
    def num_workers(self):
        """Threads of all workers that are there now."""
        return max(1, sum(self._client.nthreads().values()))

    def submit(self, work, task):
        answer = concurrent.futures.Future()
        try:
            content = wire.pickled(jobs.do, self._place, work, task)
            job = self._client.submit(pickle.loads, content, pure=False)
        except Exception as error:  # whatever a client says that has lost its scheduler
            raise self._gone() from error
        self._pending.add(job)
        job.add_done_callback(functools.partial(self._hand_on, answer))
        return answer

    def shutdown(self, wait=True, *, cancel_futures=False):
        """Nobody waits for what is still pending: it is taken back."""
        with contextlib.suppress(Exception):
            self._client.cancel(list(self._pending))

    def _hand_on(self, answer, job):
        """What became of a job, in the words of `stage`."""
        from distributed import KilledWorker

        self._pending.discard(job)
        if job.status == "finished":
            try:
                answer.set_result(job.result())
            except Exception:  # the worker that held the answer is gone, and the scheduler too
                answer.set_exception(self._gone())
        elif job.status != "error":
            answer.set_exception(self._gone())
        elif isinstance(error := job.exception(), KilledWorker):
            answer.set_exception(stage.WorkerDiedError("the workers that worked on it died"))
        elif isinstance(error, ImportError):
            command = START_WORKERS.format(address=self._address)
            answer.set_exception(
                jobs.UnfitWorkerError(
                    f"A worker lacks this project's code ({error}). Start it in a clone of the "
                    f"project, in which requirements-cluster.txt is installed: {command}"
                )
            )
        else:
            answer.set_exception(error)

    def _gone(self):
        return OSError(GONE.format(address=self._address))


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
                n_workers=stage.num_cores(), threads_per_worker=1, dashboard_address=None
            )
            target = {"address": stack.enter_context(cluster)}
        elif os.path.isfile(address):
            target = {"scheduler_file": address}
        else:
            target = {"address": address}
        try:
            client = distributed.Client(**target, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError) as error:
            raise OSError(
                f"No Dask scheduler answers at {address}. Start one: python -m "
                "distributed.cli.dask_scheduler, which tells its address."
            ) from error
        yield stack.enter_context(client)


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
