"""Stages on a real Dask cluster: a scheduler and two workers, processes of this machine."""

import contextlib
import errno
import io
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import toysigns
from cluster import connection
from common import disk, stage
from tests.helpers import ENVIRONMENT, ROOT, run_script

pytest.importorskip("distributed", reason="requirements-cluster.txt is not installed")

TOYSIGNS = ("toysigns.py", "--clips-per-sign", 2, 1, 1)
STAGES = (
    ("prepare_chalearn.py", "--dataset", "toysigns"),
    ("frame.py", "--dataset", "toysigns"),
    ("opticalflow.py", "--dataset", "toysigns"),
    ("feature.py", "--dataset", "toysigns", "--extractor", "hog_hof"),
)
SECONDS = 150  # that a step may take on a busy machine


def tree(folder):
    """{path: bytes} of all results; stamps hold the times of their sources."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in paths
        if "source.json" not in path.name and not path.name.startswith(".coverage")
    }


def run(*command, **settings):
    return run_script(*command, timeout=3 * SECONDS, **settings)


def until(condition, what):
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.05)


class Cluster:
    """A scheduler, and workers that are started in a folder with the project's code."""

    def __init__(self, folder):
        self.folder = folder
        self.file = folder / "scheduler.json"
        self.scheduler, self.workers = None, []
        self.start_scheduler()

    def start_scheduler(self):
        self.file.unlink(missing_ok=True)
        place = ("--host", "127.0.0.1", "--port", 0)
        self.scheduler = self._start("dask_scheduler", self.folder, *place)
        until(self.file.is_file, "the scheduler")

    def start_worker(self, code=ROOT, kept_alive=False):
        """Starts a worker; one that is `kept_alive` is started anew where it dies."""
        more = ("--nthreads", 1, "--local-directory", self.folder)
        more += () if kept_alive else ("--no-nanny",)
        number = len(self.registered())
        self.workers.append(self._start("dask_worker", code, *more))
        until(lambda: len(self.registered()) > number, "the worker")

    def registered(self):
        """What workers have written on finding the scheduler."""
        log = self.folder / "dask_worker.log"
        return re.findall("Registered to", log.read_text()) if log.is_file() else []

    def close(self):
        for process in [*self.workers, self.scheduler]:
            process.kill()
            process.wait()

    def _start(self, module, folder, *arguments):
        command = [sys.executable, "-m", f"distributed.cli.{module}", "--no-dashboard"]
        command += ["--scheduler-file", self.file, *arguments]
        log = (self.folder / f"{module}.log").open("ab")
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        return subprocess.Popen(
            list(map(str, command)), cwd=folder, env=environment, stdout=log, stderr=log
        )


@pytest.fixture
def cluster(tmp_path_factory):
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    yield cluster
    cluster.close()


@pytest.fixture
def two_workers(cluster):
    for _ in range(2):
        cluster.start_worker()
    return cluster


@pytest.fixture(scope="module")
def local_tree(tmp_path_factory):
    """The folder of a data set whose every stage ran here."""
    root = tmp_path_factory.mktemp("local")
    run(*TOYSIGNS, cwd=root, check=0)
    for script, *flags in STAGES:
        run(script, *flags, cwd=root, check=0)
    return root


@pytest.fixture
def videos(local_tree, tmp_path):
    """A folder with the videos alone."""
    shutil.copytree(local_tree / "data_set", tmp_path / "data_set")
    return tmp_path


@contextlib.contextmanager
def started(script, *flags, cwd):
    """A script that runs beside the test."""
    command = [sys.executable, str(ROOT / script), *map(str, flags)]
    with subprocess.Popen(
        command, cwd=cwd, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def some_results(root, stage="frame"):
    """Whether a stage has made a few results, and has more to do."""
    return len(list((root / "data_temp").glob(f"toysigns/*/{stage}/*/*/*"))) >= 3


def test_every_stage_gives_the_bytes_of_a_local_run(two_workers, local_tree, tmp_path):
    flags = ("--cluster", two_workers.file)
    run(*TOYSIGNS, *flags, cwd=tmp_path, check=0)
    for script, *more in STAGES:
        result = run(script, *more, *flags, cwd=tmp_path, check=0)
        assert "cluster: 2 threads at tcp://127.0.0.1" in result.stderr
    assert tree(tmp_path) == tree(local_tree)
    again = run(*STAGES[1], *flags, cwd=tmp_path, check=0)
    assert "0 done, 32 skipped, 0 failed" in again.stdout


@pytest.mark.parametrize(
    ("command", "output", "on_the_way"),
    [
        (TOYSIGNS, "data_set/toysigns/*.zip", f"data_set/toysigns/{toysigns.WORK_DIR}/*/*/*"),
        (STAGES[0], "data_set/toysigns/train/*/*", None),
        (STAGES[1], "data_temp/toysigns/laptop/frame/*/*/*", None),
        (STAGES[2], "data_temp/toysigns/laptop/oflow/*/*/*", None),
        (STAGES[3], "data_temp/toysigns/laptop/oflow-hog_hof/*/*/*.npy", None),
    ],
)
def test_a_worker_that_is_killed_costs_nothing_but_time(
    two_workers, local_tree, tmp_path, command, output, on_the_way
):
    for name in ("data_set", "data_temp"):
        shutil.copytree(local_tree / name, tmp_path / name)
    made = list(tmp_path.glob(output))
    for path in made:
        (shutil.rmtree if path.is_dir() else Path.unlink)(path)
    with started(*command, "--cluster", two_workers.file, cwd=tmp_path) as process:
        until(lambda: list(tmp_path.glob(on_the_way or output)), "results")
        two_workers.workers[0].kill()
        said, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, said + errors
    assert sorted(tmp_path.glob(output)) == sorted(made)
    assert tree(tmp_path) == tree(local_tree)


def test_workers_compute_features_with_the_weights_of_the_one_who_asks(two_workers, local_tree):
    """Random ones: each process would draw its own."""
    command = ("feature.py", "--dataset", "toysigns", "--stream", "flow", "--weights", "none")
    features = local_tree / "data_temp/toysigns/laptop/oflow-mobilenet"
    try:
        run(*command, cwd=local_tree, check=0)
        here = {path: np.load(path) for path in features.glob("*/*/*.npy")}
        flags = ("--rebuild", "--cluster", two_workers.file)
        result = run(*command, *flags, cwd=local_tree, check=0)
        assert "32 done, 0 skipped, 0 failed" in result.stdout
        assert sorted(features.glob("*/*/*.npy")) == sorted(here)
        for path, values in here.items():
            assert np.allclose(values, np.load(path), atol=2e-3), path
        assert not list(features.glob(".*"))
    finally:
        shutil.rmtree(features)


def kill_the_worker(source, partial):
    """Work on which a worker dies, as of `stage.run`."""
    if source == 5:
        time.sleep(0.5)  # until another waits behind it
        os.kill(os.getpid(), signal.SIGKILL)
    partial.write_text("done")


def test_a_clip_that_kills_workers_fails_alone(tmp_path, monkeypatch, request):
    """Though Dask blames whatever was at a worker that died; here already the first time."""
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", "0")
    cluster = request.getfixturevalue("cluster")
    for _ in range(2):
        cluster.start_worker(kept_alive=True)
    monkeypatch.chdir(tmp_path)
    jobs = [stage.Job(n, tmp_path / "out" / str(n), str(n)) for n in range(20)]
    with connection.used(str(cluster.file)):
        report = stage.run("kill", kill_the_worker, jobs, tmp_path / "out")
    assert report.failed == [("5", "the workers that worked on it died")] and report.done == 19


def take_a_while(source, partial):
    """Work that takes half a second, as of `stage.run`."""
    time.sleep(0.5)
    partial.write_text("done")


def fill_the_disk(source, partial):
    """Work whose disk is full, as of `stage.run`."""
    if source == 5:
        raise OSError(errno.ENOSPC, "No space left on device")
    partial.write_text("done")


def test_a_full_disk_of_a_worker_stops_the_stage(two_workers, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    jobs = [stage.Job(n, tmp_path / "out" / str(n), str(n)) for n in range(40)]
    with connection.used(str(two_workers.file)):
        with pytest.raises(disk.DiskFullError, match="same command"):
            stage.run("fill", fill_the_disk, jobs, tmp_path / "out")
    assert len(list((tmp_path / "out").iterdir())) < 40


def test_a_worker_that_stands_still_for_a_while_does_no_harm(two_workers, local_tree, videos):
    with started(*STAGES[1], "--cluster", two_workers.file, cwd=videos) as process:
        until(lambda: some_results(videos), "results")
        two_workers.workers[0].send_signal(signal.SIGSTOP)
        time.sleep(2)
        two_workers.workers[0].send_signal(signal.SIGCONT)
        process.communicate(timeout=SECONDS)
    assert process.returncode == 0
    folder = videos / "data_temp" / "toysigns" / "laptop" / "frame"
    assert tree(folder) == tree(local_tree / folder.relative_to(videos))


def test_what_fails_is_told_as_here(two_workers, videos):
    broken = next((videos / "data_set" / "toysigns" / "train").glob("*/*.avi"))
    broken.write_bytes(b"no video")
    result = run(*STAGES[1], "--cluster", two_workers.file, cwd=videos, check=1)
    assert f"failed: {broken.relative_to(videos)}" in result.stdout
    assert "31 done, 0 skipped, 1 failed" in result.stdout


def test_a_scheduler_that_goes_away_is_told_and_the_same_command_goes_on(two_workers, videos):
    command = (*STAGES[1], "--cluster", two_workers.file)
    with started(*command, cwd=videos) as process:
        until(lambda: some_results(videos), "results")
        two_workers.close()
        _, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 1 and "scheduler" in errors and "is gone" in errors
    assert "Traceback" not in errors
    assert not list(videos.glob(".cluster-*"))
    two_workers.start_scheduler()
    two_workers.start_worker()
    again = run(*command, cwd=videos, check=0)
    assert "0 failed" in again.stdout and " 0 skipped" not in again.stdout


def test_ctrl_c_ends_it_and_the_same_command_goes_on(two_workers, videos):
    command = (*STAGES[1], "--cluster", two_workers.file)
    with started(*command, cwd=videos) as process:
        until(lambda: some_results(videos), "results")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 130 and "Traceback" not in errors
    assert not list(videos.glob(".cluster-*"))
    assert "0 failed" in run(*command, cwd=videos, check=0).stdout


def test_a_worker_with_other_code_is_refused_by_name(cluster, videos):
    other = cluster.folder / "code"
    ignored = shutil.ignore_patterns(".*", "data_*", "model", "tests", "docs", "__pycache__")
    shutil.copytree(ROOT, other, ignore=ignored)
    with (other / "frame.py").open("a") as file:
        file.write("# another version\n")
    cluster.start_worker(other)
    result = run(*STAGES[1], "--cluster", cluster.file, cwd=videos, check=1)
    assert f"other code of this project, in {other}" in result.stderr
    assert not (videos / "data_temp").exists()  # before anything is deleted or made


def test_a_worker_without_the_code_is_told_how_to_start(cluster, videos):
    cluster.start_worker(cluster.folder)
    result = run(*STAGES[1], "--cluster", cluster.file, cwd=videos, check=1)
    assert "The worker at tcp://127.0.0.1" in result.stderr
    assert "lacks this project's code" in result.stderr
    assert "python -m distributed.cli.dask_worker tcp://127.0.0.1" in result.stderr


def test_nobody_at_the_address_and_nobody_who_works_are_told(cluster, videos, monkeypatch):
    result = run(*STAGES[1], "--cluster", "tcp://127.0.0.1:9", cwd=videos, check=1)
    assert "No Dask scheduler answers at tcp://127.0.0.1:9" in result.stderr
    assert "Traceback" not in result.stderr
    for wrong in ("nonsense", "no_such_file.json", "tcp://host", ""):
        with pytest.raises(ValueError, match="--cluster is an address"), connection.used(wrong):
            pass
    monkeypatch.setattr(connection, "WORKERS_SECONDS", 1)
    with pytest.raises(OSError, match="has no workers.*dask_worker"):
        with connection.used(str(cluster.file)):
            pass


def test_an_address_of_another_server_is_told(videos, monkeypatch):
    monkeypatch.setattr(connection, "CONNECT_SECONDS", 1)
    for answer in (b"", b"HTTP/1.1 400 Bad Request"):  # one that waits, one that speaks first
        with socket.create_server(("127.0.0.1", 0)) as server:
            address = f"127.0.0.1:{server.getsockname()[1]}"

            def speak(server=server, answer=answer):
                with contextlib.suppress(OSError):
                    asking, _ = server.accept()
                    asking.sendall(answer)
                    asking.recv(1)

            threading.Thread(target=speak, daemon=True).start()
            for kind in ("tcp://", "http://"):
                with pytest.raises(OSError, match="is no Dask scheduler"):
                    with connection.used(kind + address):
                        pass


@pytest.mark.parametrize("is_fetched", [False, True])
def test_a_stage_without_workers_says_so_and_goes_on_when_one_comes(
    cluster, tmp_path, monkeypatch, is_fetched
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(connection, "ALONE_SECONDS", 1)
    told = io.StringIO()  # pytest's own loses what is written while another thread reads
    monkeypatch.setattr(sys, "stderr", told)
    cluster.start_worker()
    jobs = [stage.Job(n, tmp_path / "out" / str(n), str(n)) for n in range(9)]
    words = connection.ALONE.strip().partition(".")[0]
    seen, is_due = [], threading.Event()
    fetch = connection._Cluster._result

    def die(self, batch):  # a batch is done, and what it returned is still at the worker alone
        found = fetch(self, batch) if is_fetched else None
        if not is_due.is_set():
            cluster.workers[0].kill()
            cluster.workers[0].wait()
            is_due.set()
        return found or fetch(self, batch)

    monkeypatch.setattr(connection._Cluster, "_result", die)

    def replace():
        try:
            until(is_due.is_set, "the first job")
            until(lambda: words in told.getvalue(), words)
            seen.append(words)
        finally:
            cluster.start_worker()

    thread = threading.Thread(target=replace)
    with connection.used(str(cluster.file)):
        thread.start()
        report = stage.run("slow", take_a_while, jobs, tmp_path / "out")
    thread.join()
    assert seen and report.done == 9


def test_workers_of_this_machine_need_no_address(local_tree, videos):
    run(*STAGES[1], "--cluster", "local", cwd=videos, check=0)
    folder = videos / "data_temp" / "toysigns" / "laptop" / "frame"
    assert tree(folder) == tree(local_tree / folder.relative_to(videos))


def test_without_dask_the_message_says_what_to_install(videos):
    blocked = "import sys; sys.modules['distributed'] = None; import frame; "
    blocked += "from common import command_line; sys.argv = ['frame.py', '--dataset', 'toysigns', "
    blocked += "'--cluster', 'local']; command_line.run(frame.main)"
    result = subprocess.run(
        [sys.executable, "-c", blocked], cwd=videos, env=ENVIRONMENT, capture_output=True, text=True
    )
    assert result.returncode == 1 and "requirements-cluster.txt" in result.stderr
