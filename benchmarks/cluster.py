"""A stage through Dask against the same through processes of this machine; what ChaLearn costs.

    pip install -r requirements-cluster.txt
    python -m benchmarks.cluster

Two workers each, on the same cores, with drawn clips of ChaLearn's size. Both ways run in turn,
each into a folder of its own, and what they write is compared first. The seconds are those that the
stage itself reports: Dask's workers are there already, the others are started by the stage.
"""

import argparse
import contextlib
import functools
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.rounds import in_turns, medians
from common.command_line import PROJECT, run
from toy.film import render_clip
from toy.scene import write_video

NUM_CLIPS = {"frame": 240, "opticalflow": 12}
SIGNS = ("wave", "circle", "swipe_up", "clap")
ROUNDS = 5
WORKERS = 2
WANTED = 1.1
CHALEARN_CLIPS = 47_933
MACHINES = (1, 4, 16, 64)
CORES = 8  # of a machine
DISK_MB_PER_SECOND = 400  # of the folder that all of them share
VIDEO_BYTES = 300_000  # of one of ChaLearn's videos, an estimate
RESULT = re.compile(r"(\d+) done, (\d+) skipped, (\d+) failed in ([\d.]+) s")


@contextlib.contextmanager
def cluster_of(folder):
    """The scheduler file of a cluster of `WORKERS` processes."""
    file = folder / "scheduler.json"
    start = [sys.executable, "-m"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": PROJECT}
    scheduler = ["distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"]
    worker = ["distributed.cli.dask_worker", "--nthreads", "1", "--no-nanny"]
    worker += ["--local-directory", str(folder)]
    last = ["--no-dashboard", "--scheduler-file", str(file)]
    processes = [subprocess.Popen([*start, *scheduler, *last], **quiet)]
    processes += [subprocess.Popen([*start, *worker, *last], **quiet) for _ in range(WORKERS)]
    try:
        yield file
    finally:
        for process in processes:
            process.kill()
            process.wait()


def seconds_of(stage, folder, *flags):
    """Seconds that a stage reports for making everything anew."""
    command = [sys.executable, PROJECT / f"{stage}.py", "--dataset", "bench", "--rebuild"]
    command += ["--preset", "full", *flags]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    found = RESULT.search(result.stdout)
    if result.returncode or not found or found[1] == "0":
        raise ValueError(f"{stage} in {folder}: {result.stdout}{result.stderr}")
    return float(found[4])


def tree(folder):
    """{path: bytes} of what a stage wrote, without its stamps."""
    paths = [path for path in folder.rglob("*.jpg")]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def bytes_per_clip(folder, number):
    return sum(path.stat().st_size for path in folder.rglob("*.jpg")) / number


def print_costs(seconds, sizes):
    """What all of ChaLearn takes on several machines, and where their disk is the limit."""
    print(f"\nChaLearn, {CHALEARN_CLIPS:,} clips, --preset full, machines of {CORES} cores such as")
    print(f"these, a shared folder of {DISK_MB_PER_SECOND} MB/s (computed, not measured)")
    print(f"{'machines':>9}{'frame':>10}{'flow':>10}{'MB/s asked':>12}  limit")
    read = {"frame": VIDEO_BYTES, "opticalflow": sizes["frame"]}
    for machines in MACHINES:
        hours, asked = {}, {}
        for stage in seconds:
            total = (read[stage] + sizes[stage]) * CHALEARN_CLIPS / 1e6
            alone = CHALEARN_CLIPS * seconds[stage] / (machines * CORES)
            hours[stage] = max(alone, total / DISK_MB_PER_SECOND) / 3600
            asked[stage] = total / alone
        limits = [stage for stage, rate in asked.items() if rate > DISK_MB_PER_SECOND]
        shown = f"disk, for {', '.join(limits)}" if limits else "cores"
        times = "".join(f"{hours[stage]:8.2f} h" for stage in seconds)
        print(f"{machines:9d}{times}{max(asked.values()):12.0f}  {shown}")


def main(argv=None):
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args(argv)
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        print(f"{'stage':14}{'processes':>11}{'Dask':>9}{'ratio':>8}   wanted <= {WANTED}")
        seconds, sizes = {}, {}
        with cluster_of(root) as file:
            for stage, number in NUM_CLIPS.items():
                folders = _folders(root, stage, number)
                ways = {
                    "processes": (folders[0], "--workers", str(WORKERS)),
                    "Dask": (folders[1], "--cluster", str(file)),
                }
                for way in ways.values():
                    seconds_of(stage, *way)
                if tree(folders[0]) != tree(folders[1]):
                    raise ValueError(f"{stage}: Dask's results differ")
                calls = {
                    name: functools.partial(seconds_of, stage, *way) for name, way in ways.items()
                }
                figures = in_turns(calls, ROUNDS)
                pairs = zip(figures["Dask"], figures["processes"], strict=True)
                ratio = statistics.median(dask / own for dask, own in pairs)
                found = medians(figures)
                print(
                    f"{stage:14}{found['processes']:9.2f} s{found['Dask']:7.2f} s{ratio:8.2f}"
                    f"   {number} clips",
                    flush=True,
                )
                seconds[stage] = WORKERS * found["processes"] / number
                part = {"frame": "frame", "opticalflow": "oflow"}[stage]
                written = folders[0] / "data_temp" / "bench" / "full" / part
                sizes[stage] = bytes_per_clip(written, number)
        print_costs(seconds, sizes)


def _folders(root, stage, number):
    """Two folders with the same videos, for flow also with their frames."""
    folders = [root / f"{stage}-{way}" for way in ("processes", "dask")]
    train = folders[0] / "data_set" / "bench" / "train"
    for clip in range(number):
        sign = SIGNS[clip % len(SIGNS)]
        (train / sign).mkdir(parents=True, exist_ok=True)
        write_video(train / sign / f"{clip}.avi", render_clip(sign, clip % 7, clip)[0])
    if stage == "opticalflow":
        seconds_of("frame", folders[0])
    shutil.copytree(folders[0], folders[1])
    return folders


if __name__ == "__main__":
    run(main)
