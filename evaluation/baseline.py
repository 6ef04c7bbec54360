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
from common.command_line import number_of, telling
from evaluation.metrics import inputs_of
from inference import extractor
from inference.engine import comparison_of
from nearest import comparison

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
    found, streams = {}, {}
    clips = number_of(len(chosen), "clip")
    words = f"evaluate: comparing {clips} with the nearest of {len(examples)} ..."
    with telling(words), concurrent.futures.ThreadPoolExecutor(stage.num_cores()) as threads:
        for stream in run.streams:
            found[stream] = _compare_with(run, stream, examples, threads)
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


def _compare_with(run, stream, clips, threads):
    """`Comparison` with stored clips, as train_nearest.py makes it."""
    rows = {}
    for name in train_nearest.extractors(run.preset):
        of_clip = functools.partial(
            _rows, run, stream, name, extractor.maker(run.preset, stream, name)
        )
        rows[name] = list(threads.map(of_clip, clips))
    classes = [run.labels.index(clip.label) for clip in clips]
    examples = comparison.fit(stream, rows, classes, len(run.signs))
    return comparison_of(stream, examples, run.preset.frame_size)


def _rows(run, stream, name, maker, clip):
    size = extractor.seen_size(run.preset, name)
    return maker.features(inputs_of(run, stream, clip, size))


def _answer(run, stream, known, clip):
    frames = inputs_of(run, stream, clip, run.preset.frame_size)
    return known.answer(known.describe(frames)[None])[0]
