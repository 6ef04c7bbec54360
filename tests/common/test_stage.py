"""What stage.run and disk promise: whole results, resumable runs, listed failures."""

import collections
import concurrent.futures
import contextlib
import errno
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import pytest

from common import command_line, disk, stage
from tests.helpers import ENVIRONMENT, ROOT, make_dataset


def double(source, partial):
    """Work with a file as its result; what `source` says may go wrong."""
    text = source.read_text() if isinstance(source, Path) else source
    if text.startswith("bad"):
        raise ValueError("too bad")
    if text.startswith("bug"):
        raise KeyError("no such thing")
    if text.startswith("full"):
        partial.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")
    if text.startswith("exit"):
        os._exit(7)
    if text.startswith("killed"):
        os.kill(os.getpid(), signal.SIGKILL)
    partial.write_text(text * 2)
    return "looks odd" if text.startswith("odd") else None


def double_in_folder(source, partial):
    partial.mkdir()
    text = source.read_text() if isinstance(source, Path) else source
    for number in range(3):
        (partial / f"{number}.txt").write_text(f"{text} {number}")


def die_once(source, partial):
    """Dies in the middle at the first attempt, as when the memory runs out."""
    partial.mkdir()
    (partial / "0.txt").write_text("half")
    if source.is_file():
        source.unlink()
        os._exit(9)
    (partial / "0.txt").write_text("whole")


def say_process(source, partial):
    partial.write_text(f"{os.getpid()} {cv2.getNumThreads()}")


def jobs_of(output, sources):
    return [stage.Job(source, output / "a" / source, source) for source in sources]


def tree(folder):
    """{relative path: text} of everything below a folder, hidden files too."""
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def outcome(report):
    return report.done, report.skipped, report.failed, report.warnings


# --- outcomes


@pytest.fixture(params=["this process", "processes", "threads"])
def how(request):
    """Settings of stage.run for each way to work."""
    if request.param == "threads":
        with concurrent.futures.ThreadPoolExecutor(3) as executor:
            yield {"executor": executor}
    else:
        yield {"workers": 1 if request.param == "this process" else 2}


def test_all_outcomes_are_counted_and_failures_are_listed(tmp_path, how, capsys):
    sources = ["y", "bad 2", "odd", "x", "bug", "bad 1"]
    report = stage.run("double", double, jobs_of(tmp_path, sources), tmp_path, **how)
    assert outcome(report) == (
        3,
        0,
        [("bad 1", "too bad"), ("bad 2", "too bad"), ("bug", "KeyError: 'no such thing'")],
        [("odd", "looks odd")],
    )
    assert report.exit_status == 1
    assert tree(tmp_path) == {"a/odd": "oddodd", "a/x": "xx", "a/y": "yy"}
    output = capsys.readouterr().out
    assert "failed: bad 2: too bad\n" in output
    assert "warning: odd: looks odd\n" in output
    assert "double: 3 done, 0 skipped, 3 failed" in output.splitlines()[-1]


def test_a_rerun_skips_what_is_done_and_tries_failures_again(tmp_path, how):
    jobs = [stage.Job(tmp_path / f"{n}.in", tmp_path / "out" / str(n), str(n)) for n in range(4)]
    for number, job in enumerate(jobs):
        job.source.write_text("bad" if number == 2 else str(number))
    assert stage.run("double", double, jobs, tmp_path / "out", **how).failed == [("2", "too bad")]
    again = stage.run("double", double, jobs, tmp_path / "out", **how)
    assert outcome(again) == (0, 3, [("2", "too bad")], [])
    jobs[2].source.write_text("fine")
    last = stage.run("double", double, jobs, tmp_path / "out", **how)
    assert (*outcome(last), last.exit_status) == (1, 3, [], [], 0)
    assert tree(tmp_path / "out") == {"0": "00", "1": "11", "2": "finefine", "3": "33"}


def test_nothing_to_do_makes_no_folder(tmp_path):
    report = stage.run("double", double, [], tmp_path / "out")
    assert outcome(report) == (0, 0, [], [])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("work", [double, double_in_folder])
def test_a_result_older_than_its_source_is_made_again(tmp_path, work):
    source = tmp_path / "in"
    source.write_text("old")
    job = stage.Job(source, tmp_path / "out" / "result", "result")
    stage.run("work", work, [job], tmp_path / "out", workers=1)
    made = job.target.stat().st_mtime_ns
    old = tree(tmp_path / "out")
    source.write_text("new")
    os.utime(source, ns=(made, made))
    assert stage.run("work", work, [job], tmp_path / "out", workers=1).skipped == 1
    os.utime(source, ns=(made + 10**9, made + 10**9))
    assert stage.run("work", work, [job], tmp_path / "out", workers=1).done == 1
    new = tree(tmp_path / "out")
    assert new == {name: text.replace("old", "new") for name, text in old.items()}


def test_one_worker_is_this_process_with_one_thread_and_more_are_others(tmp_path):
    threads = cv2.getNumThreads()
    stage.run("one", say_process, jobs_of(tmp_path, ["1"]), tmp_path, workers=1)
    stage.run("two", say_process, jobs_of(tmp_path, ["2", "3", "4"]), tmp_path, workers=2)
    told = {name: text.split() for name, text in tree(tmp_path).items()}
    assert told["a/1"] == [str(os.getpid()), "1"]
    assert all(told[f"a/{n}"][0] != str(os.getpid()) and told[f"a/{n}"][1] == "1" for n in "234")
    assert cv2.getNumThreads() == threads


def test_only_so_many_warnings_are_printed(tmp_path, capsys):
    sources = [f"odd{number}" for number in range(stage.MAX_LISTED_WARNINGS + 5)]
    stage.run("double", double, jobs_of(tmp_path, sources), tmp_path, workers=1)
    output = capsys.readouterr().out
    assert output.count("looks odd") == stage.MAX_LISTED_WARNINGS
    assert "and 5 more" in output


# --- results that follow their sources


def stamped_jobs(sources, output, suffix=""):
    return [
        stage.Job(path, output / "train" / "a" / f"{path.stem}{suffix}", path.name, stamp)
        for path in sources
        for stamp in [disk.stamp_of(path)]
    ]


def folder_of(source, partial):
    partial.mkdir()
    (partial / "content").write_text(source.read_text())


@pytest.mark.parametrize(("work", "suffix"), [(folder_of, ""), (double, ".txt")])
@pytest.mark.parametrize("days", [-9000, 1])
def test_a_result_is_made_again_where_its_source_differs_whichever_way(
    tmp_path, work, suffix, days
):
    source = tmp_path / "clip"
    source.write_text("one")

    def run():
        jobs = stamped_jobs([source], tmp_path / "out", suffix)
        report = stage.run("copy", work, jobs, tmp_path / "out", workers=1)
        return report.done, report.skipped

    assert [run(), run()] == [(1, 0), (0, 1)]
    moment = source.stat().st_mtime + 86400 * days
    os.utime(source, (moment, moment))
    assert [run(), run()] == [(1, 0), (0, 1)]
    source.write_text("other")
    os.utime(source, (moment, moment))
    assert [run(), run()] == [(1, 0), (0, 1)]


def test_results_of_before_there_were_stamps_are_kept_where_they_are_newer(tmp_path):
    source, target = tmp_path / "clip", tmp_path / "out" / "train" / "a" / "clip"
    source.write_text("one")
    target.mkdir(parents=True)
    made = target.stat().st_mtime_ns
    jobs = stamped_jobs([source], tmp_path / "out")
    assert stage.run("copy", folder_of, jobs, tmp_path / "out", workers=1).skipped == 1
    assert disk.read_stamp(target) == jobs[0].stamp and target.stat().st_mtime_ns == made


def test_results_whose_source_is_gone_are_removed_and_counted(tmp_path, capsys):
    sources = [tmp_path / name for name in ("u", "v", "w")]
    for source in sources:
        source.write_text("text")
    for work, suffix, output in ((folder_of, "", tmp_path / "1"), (double, ".txt", tmp_path / "2")):
        jobs = stamped_jobs(sources, output, suffix)
        stage.run("copy", work, jobs, output, workers=1)
        stage.remove_orphans("copy", output, jobs)
        assert "removed" not in capsys.readouterr().out
        stage.remove_orphans("copy", output, jobs[:1])
        assert "copy: 2 removed, whose videos are gone: train/a/" in capsys.readouterr().out
        left = {path.name for path in (output / "train" / "a").iterdir()}
        assert left - {f".u{suffix}.{disk.STAMP_FILE}"} == {f"u{suffix}"}
        stage.remove_orphans("copy", output, [])
        capsys.readouterr()
        assert not (output / "train" / "a").exists()


# --- processes that die


@pytest.mark.parametrize("death", ["exit", "killed"])
def test_a_worker_that_dies_fails_only_its_video(tmp_path, death):
    sources = ["u", "v", f"{death} 1", "w", f"{death} 2", "x", "y", "z"]
    report = stage.run("double", double, jobs_of(tmp_path, sources), tmp_path, workers=2)
    reason = "the process that worked on it died"
    assert report.failed == [(f"{death} 1", reason), (f"{death} 2", reason)]
    assert tree(tmp_path) == {f"a/{name}": name * 2 for name in "uvwxyz"}
    assert report.done == 6


def test_a_video_whose_worker_died_once_is_tried_again_from_nothing(tmp_path):
    fuse = tmp_path / "fuse"
    fuse.write_text("")
    os.utime(fuse, (0, 0))
    jobs = [stage.Job(fuse, tmp_path / "out" / "1", "1")]
    jobs += [stage.Job(tmp_path / "none", tmp_path / "out" / name, name) for name in "23"]
    report = stage.run("die", die_once, jobs, tmp_path / "out", workers=2)
    assert (report.done, report.failed) == (3, [])
    assert tree(tmp_path / "out") == {f"{n}/0.txt": "whole" for n in "123"}


def test_an_executor_that_breaks_loses_no_job_from_the_count(tmp_path):
    sources = ["exit", *(f"{number}" for number in range(20))]
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as executor:
        report = stage.run(
            "double", double, jobs_of(tmp_path, sources), tmp_path, workers=1, executor=executor
        )
    assert report.done + len(report.failed) == len(sources)
    assert "exit" in dict(report.failed)


SLOW_SCRIPT = """
import functools, os, sys, time
from pathlib import Path
from common import command_line, stage

def work(source, partial):
    partial.mkdir()
    Path("pids").mkdir(exist_ok=True)
    Path("pids", str(os.getpid())).touch()
    for number in range(5):
        (partial / str(number)).write_text(f"{source} {number}" * 1000)
        time.sleep(0.02)

def main():
    out = Path("out")
    jobs = [stage.Job(str(n), out / str(n % 3) / f"clip{n}", str(n)) for n in range(30)]
    return stage.run("slow", work, jobs, out, workers=int(sys.argv[1])).exit_status

if __name__ == "__main__":
    command_line.run(main)
"""


@pytest.fixture
def slow_stage(tmp_path, monkeypatch):
    """Starts a stage of 30 jobs, 3 s of work, in a process group of its own."""
    monkeypatch.chdir(tmp_path)
    Path("slow.py").write_text(SLOW_SCRIPT)
    started = []

    def start(workers):
        process = subprocess.Popen(
            [sys.executable, "slow.py", str(workers)],
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


EXPECTED_SLOW = {
    f"{n % 3}/clip{n}/{part}": f"{n} {part}" * 1000 for n in range(30) for part in range(5)
}


def finished_clips():
    return list(Path("out").glob("[0-2]/clip*"))


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


def is_running(pid):
    """Whether a process lives; one that is dead and not yet collected does not."""
    status = Path(f"/proc/{pid}/stat")
    if status.parent.parent.is_dir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            return status.read_text().rpartition(")")[2].split()[0] not in "ZX"
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


@pytest.mark.parametrize("workers", [1, 2])
def test_kill_9_leaves_nothing_half_done_no_worker_and_the_rerun_completes(slow_stage, workers):
    process = slow_stage(workers)
    wait_for(lambda: len(finished_clips()) >= 5)
    process.kill()
    process.wait()
    workers_seen = [int(path.name) for path in Path("pids").iterdir()]
    wait_for(lambda: not any(map(is_running, workers_seen)))
    clips = finished_clips()
    assert 5 <= len(clips) < 30
    for clip in clips:
        there = {f"{clip.parent.name}/{clip.name}/{k}": text for k, text in tree(clip).items()}
        assert len(there) == 5
        assert there.items() <= EXPECTED_SLOW.items()
    assert Path("out/.partial").is_dir()
    output, errors = slow_stage(workers).communicate()
    assert f"{30 - len(clips)} done, {len(clips)} skipped, 0 failed" in output, errors
    assert tree(Path("out")) == EXPECTED_SLOW
    assert not Path("out/.partial").exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_ends_with_130_and_the_next_run_goes_on(slow_stage, workers):
    process = slow_stage(workers)
    wait_for(lambda: len(finished_clips()) >= 3)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Stopped. The same command goes on from here." in errors
    assert "Traceback" not in errors
    clips = finished_clips()
    assert len(clips) < 30
    assert not Path("out/.partial").exists()
    output, _ = slow_stage(workers).communicate()
    assert f"{len(clips)} skipped, 0 failed" in output
    assert tree(Path("out")) == EXPECTED_SLOW


def children_of(pid):
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs /proc to see processes")
@pytest.mark.parametrize("later_ms", [0, 60, 150, 300])
def test_ctrl_c_while_workers_start_is_one_word(tmp_path, later_ms):
    make_dataset(tmp_path, {"train": 6})
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "frame.py"), "--dataset", "moves", "--workers", "2"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        wait_for(lambda: len(children_of(process.pid)) >= 2)  # the first one tracks resources
        time.sleep(later_ms / 1000)
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors and "Fatal" not in errors
    assert errors.count("Stopped") == 1


def say_mask(source, partial):
    partial.write_text(str(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])))


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="POSIX signals")
def test_processes_start_deaf_to_ctrl_c_and_their_parent_hears_it_afterwards(tmp_path):
    jobs = jobs_of(tmp_path, ["1", "2", "3"])
    stage.run("say", say_mask, jobs, tmp_path, workers=2)
    assert set(tree(tmp_path).values()) == {"True"}
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    with pytest.raises(KeyboardInterrupt), stage._ctrl_c_waits():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
        reached = True
    assert reached and signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_two_runs_at_once_make_the_same_tree(slow_stage):
    runs = [slow_stage(1), slow_stage(2)]
    outputs = [run.communicate() for run in runs]
    assert [run.returncode for run in runs] == [0, 0], outputs
    assert tree(Path("out")) == EXPECTED_SLOW


def test_a_live_run_keeps_its_partial_folder_and_a_dead_ones_is_swept(tmp_path):
    dead = tmp_path / ".partial" / "dead"
    dead.mkdir(parents=True)
    (dead / "0").write_text("half")
    dead.with_suffix(".lock").touch()
    with disk.partial_dir(tmp_path) as first:
        assert not dead.exists()
        (first / "0").write_text("in work")
        with disk.partial_dir(tmp_path) as second:
            assert second != first
            assert (first / "0").read_text() == "in work"
        assert (first / "0").read_text() == "in work"
    assert tree(tmp_path) == {}


def test_partial_folders_of_runs_that_come_and_go_never_disturb_each_other(tmp_path):
    problems = []

    def come_and_go():
        for _ in range(100):
            try:
                with disk.partial_dir(tmp_path) as own:
                    (own / "0").write_text("in work")
                    time.sleep(0)
                    (own / "0").read_text()
            except Exception as error:
                problems.append(repr(error))

    threads = [threading.Thread(target=come_and_go) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert collections.Counter(problems) == {}
    assert tree(tmp_path) == {}


# --- a full disk


def test_a_full_disk_stops_the_run_with_a_message_and_keeps_what_is_done(tmp_path, how):
    sources = ["a", "b", "full", *(f"later {number}" for number in range(30))]
    output = tmp_path / "out"
    jobs = [stage.Job(tmp_path / source, output / source, source) for source in sources]
    for job in jobs:
        job.source.write_text(job.label)
    with pytest.raises(disk.DiskFullError, match="out is full.*same command"):
        stage.run("double", double, jobs, output, **how)
    there = tree(output)
    assert "full" not in there
    assert there.items() <= {source: source * 2 for source in sources}.items()
    (tmp_path / "full").write_text("fits")
    report = stage.run("double", double, jobs, output, **how)
    assert report.skipped >= len(there)
    assert tree(output) == {source: source * 2 for source in sources} | {"full": "fitsfits"}


def test_results_that_will_not_fit_are_refused_at_the_start(tmp_path):
    free = shutil.disk_usage(tmp_path).free
    jobs = jobs_of(tmp_path, ["x", "y"])
    with pytest.raises(disk.DiskFullError, match="GB are free"):
        stage.run("double", double, jobs, tmp_path, workers=1, bytes_per_job=free)
    assert tree(tmp_path) == {}


# --- the command line


def run_as_command(main):
    with pytest.raises(SystemExit) as caught:
        command_line.run(main)
    return caught.value.code


def raise_error(error):
    raise error


def test_a_script_ends_with_its_status_or_a_message(capsys, monkeypatch):
    monkeypatch.setattr(os, "_exit", sys.exit)  # else it would end the tests
    assert run_as_command(lambda: 0) == 0
    assert run_as_command(lambda: 1) == 1
    assert run_as_command(lambda: raise_error(ValueError("no such sign"))) == 1
    assert capsys.readouterr().err == "error: no such sign\n"
    assert run_as_command(lambda: raise_error(FileNotFoundError("no clips"))) == 1
    assert run_as_command(lambda: raise_error(KeyboardInterrupt())) == 130
    with pytest.raises(KeyError):
        command_line.run(lambda: raise_error(KeyError("a bug shows its traceback")))


@pytest.mark.skipif("sys.platform == 'win32'", reason="has no such error")
@pytest.mark.parametrize("number", [1, 100_000])
def test_a_reader_that_has_enough_ends_a_script_quietly(number, monkeypatch):
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    code = (
        f"from common import command_line; command_line.run(lambda: print(input(), 'x' * {number}))"
    )
    script = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    script.stdout.close()
    script.stdin.write(b"now\n")
    script.stdin.close()
    assert script.stderr.read() == b"" and script.wait(30) == 1


# --- folders tied to their parameters


def test_a_folder_is_only_continued_with_the_parameters_it_was_made_with(tmp_path):
    output = tmp_path / "frame"
    made_with = {"num_frames": 40, "size": (240, 320)}
    disk.claim(output, made_with, "python frame.py")
    (output / "train").mkdir()
    (output / "train" / "clip").write_text("a frame")
    disk.claim(output, made_with, "python frame.py")
    assert disk.read_parameters(output) == {"num_frames": 40, "size": [240, 320]}
    wanted = {"num_frames": 20, "size": (240, 320), "flip": True}
    with pytest.raises(ValueError) as caught:
        disk.claim(output, wanted, "python frame.py")
    message = str(caught.value)
    assert "num_frames is 40, wanted 20" in message
    assert "flip is None, wanted True" in message
    assert "size" not in message
    assert "`python frame.py --rebuild`" in message
    assert (output / "train" / "clip").read_text() == "a frame"
    disk.claim(output, wanted, "python frame.py", rebuild=True)
    assert disk.read_parameters(output)["num_frames"] == 20
    assert [path.name for path in output.iterdir()] == ["parameters.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["frame"]


def test_content_without_parameters_is_refused(tmp_path):
    (tmp_path / "frame" / "train").mkdir(parents=True)
    (tmp_path / "frame" / "train" / "clip").touch()
    with pytest.raises(ValueError, match="num_frames is None, wanted 40"):
        disk.claim(tmp_path / "frame", {"num_frames": 40}, "python frame.py")


def test_a_write_that_fails_leaves_the_old_content_and_no_litter(tmp_path, monkeypatch):
    path = tmp_path / "run.json"
    disk.write_atomically(path, "old\n")
    assert path.read_bytes() == b"old\n"
    with pytest.raises(UnicodeEncodeError):
        disk.write_atomically(path, "new \ud800")
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda *paths: raise_error(OSError("no rename")))
        with pytest.raises(OSError, match="no rename"):
            disk.write_atomically(path, b"new")
    assert tree(tmp_path) == {"run.json": "old\n"}
    disk.write_atomically(path, b"new")
    assert tree(tmp_path) == {"run.json": "new"}


LOCK_SCRIPT = """
import time
from pathlib import Path
from common import disk
with disk.lock(Path("lock"), "busy"):
    print("locked", flush=True)
    time.sleep(60)
"""


def test_a_lock_keeps_others_out_until_its_process_is_killed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-c", LOCK_SCRIPT], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "locked\n"
    with pytest.raises(ValueError, match="^busy here$"), disk.lock(Path("lock"), "busy here"):
        pytest.fail("two processes have the lock")
    process.kill()
    process.communicate()
    with disk.lock(Path("lock"), "busy here"):
        pass
    with disk.lock(Path("lock"), "busy here"):
        pass


def test_failures_are_listed_in_the_order_of_their_numbers(tmp_path):
    labels = ["line 10", "line 9", "line 9²", "other"]
    jobs = [stage.Job("x", tmp_path / "out" / str(n), label) for n, label in enumerate(labels)]
    report = stage.run("fail", refuse, jobs, tmp_path / "out", workers=1)
    assert [label for label, _ in report.failed] == ["line 9", "line 9²", "line 10", "other"]


def refuse(source, partial):
    """Work that always fails, as of `stage.run`."""
    raise ValueError("no")
