"""What every trained network has to beat: naming a clip by the nearest training clip.

It needs no training, see train_nearest.py.
"""

import concurrent.futures
import functools
import hashlib

import numpy as np

import predict
import train_nearest
from common import stage
from common.command_line import telling
from evaluation.metrics import inputs_of
from nearest import descriptor, files
from nearest.examples import Examples

MAX_EXAMPLES, MAX_JUDGED = 500, 200  # clips: more would take minutes and tell no more


def nearest_clips(run, train, judged, scores):
    """How often the nearest training clip names the sign, and the network on the same clips.

    Args:
        run: `run_folder.Run` of a network.
        train: list of `dataset.Clip` that it was trained on.
        judged: list of others; of many, some stand for all, as of the training clips.
        scores: float `(len(judged), num_classes)`: the network's probabilities.

    Returns:
        {"top1": of the nearest clip, "network": of the network, "num_videos", "num_examples"}.
    """
    examples = some_of(train, MAX_EXAMPLES)
    chosen = some_of(judged, MAX_JUDGED)
    places = [judged.index(clip) for clip in chosen]
    classes = np.array([run.labels.index(clip.label) for clip in chosen])
    known = [run.labels.index(clip.label) for clip in examples]
    found, streams = {}, {}
    words = f"evaluate: comparing {len(chosen)} clips with the nearest of {len(examples)} ..."
    with telling(words), concurrent.futures.ThreadPoolExecutor(stage.num_cores()) as threads:
        for stream in run.streams:
            rows = threads.map(functools.partial(_rows, run, stream), examples)
            found[stream] = Examples(list(rows), known, len(run.signs), stream == "flow")
            answer = functools.partial(_answer, run, stream, found[stream])
            streams[stream] = np.stack(list(threads.map(answer, chosen)))
    fused = predict.fuse(streams, train_nearest.fusion_weight(found))
    return {
        "top1": float(np.mean(fused.argmax(axis=1) == classes)),
        "network": float(np.mean(scores[places].argmax(axis=1) == classes)),
        "num_videos": len(chosen),
        "num_examples": len(examples),
    }


def some_of(clips, number):
    """At most so many of the clips, always the same ones."""
    return sorted(sorted(clips, key=_digest)[:number])


def _digest(clip):
    return hashlib.sha256(str(clip.place()).encode(errors="surrogateescape")).digest()


def _rows(run, stream, clip):
    return descriptor.describe(stream, inputs_of(run, stream, clip, run.preset.frame_size))[:, 0]


def _answer(run, stream, examples, clip):
    comparison = files.Comparison(stream, examples, *run.preset.frame_size)
    frames = inputs_of(run, stream, clip, run.preset.frame_size)
    return comparison.answer(comparison.describe(frames)[None])[0]
