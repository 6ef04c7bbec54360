"""Trained runs of one data set beside each other: accuracy, training time, size, time to answer."""

import io
import statistics
import time
import zipfile

import h5py
import numpy as np

import predict
from common.command_line import number_of, quote
from evaluation import results
from inference import run_folder
from training import history

NUM_ANSWERS = 5  # of which the median counts
COLUMNS = ("rgb", "flow", "fused", "training", "parameters", "size", "answer")


def compare(run_dirs, engine="auto", split=None):
    """Prints a table of evaluated runs and returns its rows.

    Args:
        run_dirs: folders or names of runs of one data set, with a split that all were judged on.
        engine: see `predict.Recognizer`.
        split: that all were judged on; by default the one that tells most.

    Returns:
        list of dicts: "run", "rgb", "flow" and "fused" top-1 (None without that stream),
        "training" seconds of all epochs, number of "parameters", "size" in bytes, and seconds from
        the last frame to the "answer".

    Raises:
        FileNotFoundError: a run is not there or not evaluated.
        ValueError: the runs are of different data sets or clips.
    """
    runs = [run_folder.Run.read(run_folder.find(run_dir)) for run_dir in run_dirs]
    judged = [read_evaluation(run) for run in runs]
    split = _common_split(runs, judged, split)
    found = [result[split] for result in judged]
    clips = [
        f"{number_of(result['num_videos'], 'clip')} of {split} of {run.dataset}"
        for result, run in zip(found, runs, strict=True)
    ]
    for run, text in zip(runs, clips, strict=True):
        if text != clips[0]:
            raise ValueError(
                f"Only runs with the same clips compare: {runs[0].folder} was evaluated on "
                f"{clips[0]}, but {run.folder} on {text}."
            )
    print(
        f"{clips[0]}, {number_of(len(runs[0].signs), 'sign')}, chance {results.chance(runs[0]):.3f}"
    )
    rows = [row(run, result, engine) for run, result in zip(runs, found, strict=True)]
    print_rows(rows)
    return rows


def read_evaluation(run):
    """{split: result} of a run.

    Raises:
        FileNotFoundError: it is not evaluated.
    """
    judged = results.read(run)
    if not judged:
        raise FileNotFoundError(
            f"{run.folder} is not evaluated. Run `python evaluate.py --model "
            f"{quote(run.folder)}` first."
        )
    return judged


def _common_split(runs, judged, wanted):
    """The wanted split, or the one that tells most of those that all runs were judged on."""
    shared = set.intersection(*map(set, judged))
    if wanted in shared:
        return wanted
    if not shared or wanted:
        of_each = "; ".join(
            f"{run.folder}: {', '.join(result)}" for run, result in zip(runs, judged, strict=True)
        )
        lacking = f"were not all judged on {wanted}" if wanted else "share no split"
        raise ValueError(
            f"Only runs with the same clips compare, and these {lacking} ({of_each}). Judge one "
            f"again: `python evaluate.py --model {quote(runs[0].folder)} --split "
            f"{wanted or results.best_split(judged[-1])}`."
        )
    return results.best_split(shared)


def row(run, result, engine="auto"):
    """One row of `compare`."""
    top1 = {name: values["top1"] for name, values in result["streams"].items()}
    files = [run.model_file(stream) for stream in run.streams]
    return {
        "run": run.folder.name,
        **{name: top1.get(name) for name in ("rgb", "flow", "fused")},
        "training": float(history.read(run.folder)["seconds"].sum()),
        "parameters": sum(num_parameters(path) for path in files),
        "size": sum(path.stat().st_size for path in files),
        "answer": seconds_to_answer(run, engine),
    }


def num_parameters(path):
    """Numbers in a `.keras` file, counted without opening the network, or in a file of examples."""
    if path.suffix == ".npz":
        with np.load(path) as file:
            return sum(array.size for array in file.values())
    total = 0

    def count(name, item):
        nonlocal total
        if isinstance(item, h5py.Dataset) and "seed_generator" not in name:
            total += item.size

    with zipfile.ZipFile(path) as archive:
        with h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as file:
            file.visititems(count)
    return total


def seconds_to_answer(run, engine="auto"):
    """Median seconds from a clip's last frame to its answer, the others having arrived before."""
    recognizer = predict.Recognizer(run.folder, engine, stepwise=True)
    print(f"{run.title}: engine {predict.engine_text(recognizer)}")
    preset = run.preset
    random = np.random.default_rng(0)
    frames = random.integers(0, 256, (preset.num_frames, *preset.frame_size, 3), np.uint8)
    seconds = [answer_once(recognizer, frames) for _ in range(NUM_ANSWERS + 1)]
    return statistics.median(seconds[1:])  # the first one compiles


def answer_once(recognizer, frames):
    """Seconds from a clip's last frame to its answer."""
    clip = recognizer.stream(len(frames))
    for image in frames[:-1]:
        clip.add(image)
    started = time.perf_counter()
    clip.add(frames[-1])
    clip.answer()
    return time.perf_counter() - started


def print_rows(rows):
    """The table, a line per run."""
    width = max(len(row["run"]) for row in rows) + 2
    print(f"{'top-1':{width}}" + "".join(f"{name:>12}" for name in COLUMNS))
    for values in rows:
        cells = ["-" if values[name] is None else f"{values[name]:.3f}" for name in COLUMNS[:3]]
        cells += [f"{values['training']:.0f} s", f"{values['parameters']:,}"]
        cells += [f"{values['size'] / 1e6:.1f} MB", f"{1000 * values['answer']:.0f} ms"]
        print(f"{values['run']:{width}}" + "".join(f"{cell:>12}" for cell in cells))
