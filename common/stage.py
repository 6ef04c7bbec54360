"""One job per video: parallel, resumable, atomic, with a progress bar and a list of failures.

Every data stage runs through `run`. A job writes into a place of its own below
`<output>/.partial/`; only when it is whole it is renamed to its final name. So a final name never
holds half a result, a run that was killed is resumed by starting it again, and two runs at once
do not disturb each other.
"""

import collections
import concurrent.futures
import contextlib
import dataclasses
import errno
import functools
import multiprocessing
import os
import re
import signal
import sys
import threading
import time
from pathlib import Path

import cv2

from common import disk
from common.command_line import COUNT, Option

JOBS_IN_FLIGHT_PER_WORKER = 2
MAX_LISTED_WARNINGS = 20
MAX_LISTED_ORPHANS = 5
# Between two pictures of a bar, on a terminal or in a file.
ALIVE_SECONDS_SEEN, ALIVE_SECONDS = 1, 2
OPTIONS = {
    "workers": Option(
        None,
        "processes, or threads that read clips",
        COUNT,
        metavar="N",
        of_default="one per core; while a network trains, one",
    ),
    "rebuild": Option(False, "delete this stage's output and make it anew"),
}
DISK_FULL, FAILED = "disk full", "failed"
_ELSEWHERE = []  # what `elsewhere` names, the newest at the end
DISK_FULL_ERRNOS = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))


@dataclasses.dataclass(frozen=True)
class Job:
    """One result to make.

    `source` is handed to the work function. `target` is the final file or folder, `label` what
    failures are listed under. With `stamp`, see `disk.stamp_of`, a target that was made from
    another stamp is made again; without, one that is older than a `source` that is a `Path`.
    """

    source: object
    target: Path
    label: str
    stamp: dict | None = None


@dataclasses.dataclass
class Report:
    """What became of the jobs: counts, and (label, reason) pairs."""

    stage: str
    output: Path
    done: int = 0
    skipped: int = 0
    failed: list = dataclasses.field(default_factory=list)
    warnings: list = dataclasses.field(default_factory=list)
    seconds: float = 0.0

    @property
    def exit_status(self):
        return 1 if self.failed else 0

    def print(self):
        for label, reason in self.warnings[:MAX_LISTED_WARNINGS]:
            print(f"warning: {label}: {reason}")
        if len(self.warnings) > MAX_LISTED_WARNINGS:
            print(f"warning: ... and {len(self.warnings) - MAX_LISTED_WARNINGS} more")
        for label, reason in self.failed:
            print(f"failed: {label}: {reason}")
        print(
            f"{self.stage}: {self.done} done, {self.skipped} skipped, {len(self.failed)} failed "
            f"in {self.seconds:.1f} s -> {self.output}"
        )


def run(stage, work, jobs, output, workers=None, executor=None, bytes_per_job=0):
    """Does every job that is not done yet, prints the report and returns it.

    Args:
        stage: name for the progress bar and the report.
        work: `work(source, partial)` writes the file or folder `partial` (a `Path` that does not
            exist yet) and returns None or a warning. It raises what is wrong with this one video.
            It runs in other processes, so it is a function of a module or a partial of one.
        jobs: list of `Job`.
        output: the stage's folder; holds the partial results on the way.
        workers: number of processes, by default one per core; 1 works in this process.
        executor: any `concurrent.futures.Executor` instead of own processes, or of what
            `elsewhere` names.
        bytes_per_job: expected size of a result; checked against the free disk beforehand.

    Returns:
        `Report`.

    Raises:
        disk.DiskFullError: at the start where the results will not fit, or on the way.
    """
    started = time.monotonic()
    todo = [job for job in jobs if not _is_done(job)]
    report = Report(stage, output, skipped=len(jobs) - len(todo))
    workers = min(workers or num_cores(), max(len(todo), 1))
    if todo:
        output.mkdir(parents=True, exist_ok=True)
        disk.check_free(output, bytes_per_job * len(todo))
        with disk.partial_dir(output) as partial_dir:
            _run_all(executor, work, todo, partial_dir, workers, report)
    report.seconds = time.monotonic() - started
    report.print()
    return report


@contextlib.contextmanager
def elsewhere(outcomes):
    """Within, the tasks of every `run` that names no executor are done somewhere else.

    Args:
        outcomes: function of (`do`, tasks) that calls `do` with each task, wherever it likes, and
            yields what it returns. A task is (`Job`, path of its partial result).
    """
    _ELSEWHERE.append(outcomes)
    try:
        yield
    finally:
        _ELSEWHERE.pop()


def is_elsewhere():
    """Whether jobs are done by other processes than those of this machine's stage."""
    return bool(_ELSEWHERE)


def remove_orphans(stage, output, jobs):
    """Deletes results of the stage that no job makes any more, because their source is gone.

    Args:
        stage: name for the line that tells it.
        output: the stage's folder, with results in `<split>/<class>/`.
        jobs: list of `Job`, all that there are.
    """
    wanted = {job.target for job in jobs}
    orphans = [path for path in output.glob("*/*/*") if path not in wanted and _is_result(path)]
    if orphans:
        with disk.partial_dir(output) as trash:
            for number, path in enumerate(orphans):
                disk.remove_stamp(path)
                with contextlib.suppress(FileNotFoundError):
                    os.replace(path, trash / str(number))
        for folder in {path.parent for path in orphans}:
            with contextlib.suppress(OSError):
                folder.rmdir()
        shown = ", ".join(str(path.relative_to(output)) for path in orphans[:MAX_LISTED_ORPHANS])
        more = ", ..." if len(orphans) > MAX_LISTED_ORPHANS else ""
        print(f"{stage}: {len(orphans)} removed, whose videos are gone: {shown}{more}")


@contextlib.contextmanager
def progress(total, what, unit, **settings):
    """A progress bar that shows life also while nothing gets finished; yields the `tqdm`.

    Args:
        total: number of units.
        what: the words before the bar.
        unit: what is counted.
        settings: of `tqdm`.
    """
    from tqdm import tqdm  # here, for it takes a tenth of the start of scripts that show no bar

    is_seen = sys.stderr.isatty()
    interval = ALIVE_SECONDS_SEEN if is_seen else ALIVE_SECONDS
    settings = {"mininterval": 0.1 if is_seen else interval, "dynamic_ncols": is_seen, **settings}
    with tqdm(total=total, desc=what, unit=unit, **settings) as bar:
        has_ended = threading.Event()
        keeper = threading.Thread(target=_show_life, args=(bar, has_ended, interval), daemon=True)
        keeper.start()
        try:
            yield bar
        finally:
            has_ended.set()
            keeper.join()


def _show_life(bar, has_ended, interval):
    shown = time.time()
    while not has_ended.wait(1):
        shown = max(shown, bar.last_print_t)
        if time.time() - shown > interval - 0.5:
            shown = time.time()
            bar.refresh()


def num_cores():
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _is_done(job):
    if not job.target.exists():
        return False
    made_from = disk.read_stamp(job.target) if job.stamp is not None else None
    if made_from is not None:
        return made_from == job.stamp
    if not isinstance(job.source, Path):
        return True
    is_newer = job.source.stat().st_mtime <= job.target.stat().st_mtime
    if is_newer and job.stamp is not None:  # made before there were stamps
        disk.write_stamp(job.target, job.stamp)
    return is_newer


def _is_result(path):
    return path.parts[-3] != disk.PARTIAL_DIR and not path.name.startswith(".")


class _Processes(concurrent.futures.ProcessPoolExecutor):
    """Starts its processes in `submit`, undisturbed by Ctrl-C."""

    def submit(self, *arguments, **settings):
        with _ctrl_c_waits():
            return super().submit(*arguments, **settings)


@contextlib.contextmanager
def _ctrl_c_waits():
    """Ctrl-C is heard at the end; a process that starts meanwhile never hears it.

    New processes inherit what is blocked. That is not enough for this one: any other thread may
    receive the signal, and Python handles it in the main thread all the same.
    """
    received = []
    handler = signal.getsignal(signal.SIGINT)
    is_held = callable(handler) and threading.current_thread() is threading.main_thread()
    if is_held:
        signal.signal(signal.SIGINT, lambda *arguments: received.append(arguments))
    can_block = hasattr(signal, "pthread_sigmask")  # not on Windows
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT]) if can_block else None
    try:
        yield
    finally:
        if can_block:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if is_held:
            signal.signal(signal.SIGINT, handler)
        if received:
            handler(*received[0])


@contextlib.contextmanager
def _processes(workers):
    with _ctrl_c_waits():
        context = multiprocessing.get_context("spawn")
        pool = _Processes(workers, mp_context=context, initializer=_start_worker)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker():
    """One thread per process, Ctrl-C left to the parent, and death with the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent():
    multiprocessing.parent_process().join()
    os._exit(1)


def _run_all(executor, work, todo, partial_dir, workers, report):
    tasks = [(job, partial_dir / str(number)) for number, job in enumerate(todo)]
    do = functools.partial(_do, work)
    if executor is not None:
        outcomes = _in_given_executor(executor, do, tasks, workers)
    elif _ELSEWHERE:
        outcomes = _ELSEWHERE[-1](do, tasks)
    elif workers == 1:
        outcomes = _in_this_process(do, tasks)
    else:
        outcomes = _in_processes(do, tasks, workers)
    with progress(len(todo), report.stage, "video") as bar:
        for label, problem, text in outcomes:
            if problem == DISK_FULL:
                raise disk.DiskFullError(
                    f"The disk of {report.output} is full. What is finished is kept: make room "
                    "and start the same command again."
                )
            if problem == FAILED:
                report.failed.append((label, text))
            else:
                report.done += 1
                report.warnings += [(label, text)] if text else []
            bar.update()
    report.failed.sort(key=_by_numbers)
    report.warnings.sort(key=_by_numbers)


def _by_numbers(told):
    """Line 9 comes before line 10."""
    return [
        (not part.isdecimal(), int(part) if part.isdecimal() else part)
        for part in re.split(r"(\d+)", told[0])
    ]


def _in_this_process(do, tasks):
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield from map(do, tasks)
    finally:
        cv2.setNumThreads(threads)


def _in_processes(do, tasks, workers):
    """Yields the outcome of each task from processes of our own.

    When a process dies (a decoder that crashes, memory that runs out), the tasks that were in
    flight are done again one by one, each in a fresh process: the one that kills it has failed.
    """
    tasks = collections.deque(tasks)
    while tasks:
        suspects = []
        with _processes(workers) as pool:
            yield from _in_executor(pool, do, tasks, workers, suspects)
        for task in suspects:
            with _processes(1) as pool:
                lost = []
                yield from _in_executor(pool, do, collections.deque([task]), 1, lost)
            if lost:
                yield task[0].label, FAILED, "the process that worked on it died"


def _in_given_executor(executor, do, tasks, workers):
    """Yields the outcome of each task; where the executor breaks, the rest has failed."""
    tasks, lost = collections.deque(tasks), []
    yield from _in_executor(executor, do, tasks, workers, lost)
    for job, _ in [*lost, *tasks]:
        yield job.label, FAILED, "the executor that worked on it broke"


def _in_executor(executor, do, tasks, workers, suspects):
    """Yields outcomes as they come, a few tasks per worker in flight; fills `suspects`."""
    pending = {}
    while (tasks or pending) and not suspects:
        with contextlib.suppress(concurrent.futures.BrokenExecutor):
            while tasks and len(pending) < JOBS_IN_FLIGHT_PER_WORKER * workers:
                pending[executor.submit(do, tasks[0])] = tasks[0]
                tasks.popleft()
        if not pending:
            return
        finished, _ = concurrent.futures.wait(
            pending, return_when=concurrent.futures.FIRST_COMPLETED
        )
        for future in finished:
            task = pending.pop(future)
            try:
                outcome = future.result()
            except concurrent.futures.BrokenExecutor:
                suspects += [task, *pending.values()]
                return
            yield outcome


def _do(work, task):
    """Does one task and says (label, problem, text): the only code that workers start with."""
    job, partial = task
    try:
        disk.remove(partial)  # what a process left that died in the middle
        warning = work(job.source, partial)
        if job.stamp is not None and partial.is_dir():
            disk.write_stamp(partial, job.stamp)
        _publish(partial, job)
        if job.stamp is not None and job.target.is_file():
            disk.write_stamp(job.target, job.stamp)
        return job.label, None, warning
    except OSError as error:
        problem = DISK_FULL if error.errno in DISK_FULL_ERRNOS else FAILED
        return job.label, problem, str(error)
    except ValueError as error:
        return job.label, FAILED, str(error)
    except Exception as error:  # one bad video never stops a batch
        return job.label, FAILED, f"{type(error).__name__}: {error}"
    finally:
        disk.remove(partial)


def _publish(partial, job):
    job.target.parent.mkdir(parents=True, exist_ok=True)
    if job.target.is_file():
        disk.remove_stamp(job.target)
    if job.target.is_dir() and not _is_done(job):
        outdated = partial.with_name(f"{partial.name}.outdated")
        with contextlib.suppress(FileNotFoundError):
            os.rename(job.target, outdated)
        disk.remove(outdated)
    try:
        os.replace(partial, job.target)
    except OSError:
        # Where the target is there now, another run was first, with the same bytes.
        if not job.target.is_dir():
            raise
