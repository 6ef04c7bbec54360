"""How often a run is right: its probabilities for stored clips, and accuracy."""

import numpy as np

from common.network_input import stream_input
from opticalflow import load_clip


def score(recognizer, clips):
    """Every stream's probabilities for stored clips.

    Returns:
        ({stream: float32 `(num_clips, num_classes)`}, int array `(num_clips,)` of true classes).
    """
    run = recognizer.run
    dataset = run.clips_of()
    size, batch_size = run.preset.input_size, run.preset.batch_size
    streams = {}
    for stream in recognizer.streams:
        folders = [dataset.stored_dir(stream) / clip.place() for clip in clips]
        scores = []
        for first in range(0, len(folders), batch_size):
            batch = [
                stream_input(stream, load_clip(stream, folder), *size)
                for folder in folders[first : first + batch_size]
            ]
            scores.append(recognizer.probabilities(stream, np.stack(batch)))
        streams[stream] = np.concatenate(scores)
    return streams, np.array([run.labels.index(clip.label) for clip in clips])


def metrics(scores, classes):
    """Top-1 and top-5 accuracy, and the mean over signs of each sign's top-1 accuracy.

    Args:
        scores: float `(num_clips, num_classes)`.
        classes: int `(num_clips,)`.

    Returns:
        {"top1", "top5", "macro_recall"}, each 0 to 1.
    """
    best = np.argsort(-scores, axis=1, kind="stable")
    hits = best == classes[:, None]
    recalls = [np.mean(hits[classes == index, 0]) for index in np.unique(classes)]
    return {
        "top1": float(np.mean(hits[:, 0])),
        "top5": float(np.mean(hits[:, :5].any(axis=1))),
        "macro_recall": float(np.mean(recalls)),
    }
