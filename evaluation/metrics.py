"""How often a run is right: its probabilities for stored clips, and accuracy."""

import numpy as np

from common import stage
from common.network_input import stream_input
from opticalflow import load_clip
from predict import UNKNOWN


def score(recognizer, clips):
    """Every stream's probabilities for stored clips.

    Returns:
        ({stream: float32 `(num_clips, num_classes)`}, int array `(num_clips,)` of true classes).
    """
    run = recognizer.run
    batch_size = run.preset.batch_size
    streams = {}
    with _progress(recognizer, clips) as bar:
        for stream in recognizer.streams:
            scores = []
            for first in range(0, len(clips), batch_size):
                some = clips[first : first + batch_size]
                batch = [inputs_of(run, stream, clip) for clip in some]
                scores.append(recognizer.probabilities(stream, np.stack(batch)))
                bar.update(len(some))
            streams[stream] = np.concatenate(scores)
    return streams, np.array([run.labels.index(clip.label) for clip in clips])


def _progress(recognizer, clips):
    return stage.progress(len(clips) * len(recognizer.streams), "evaluate", "clip")


def metrics(scores, classes):
    """Top-1 and top-5 accuracy, and the mean over signs of each sign's top-1 accuracy.

    Args:
        scores: float `(num_clips, num_classes)`.
        classes: int `(num_clips,)`.

    Returns:
        {"top1", "top5", "macro_recall"}, each 0 to 1; "top5" only of more than five classes.
    """
    best = np.argsort(-scores, axis=1, kind="stable")
    hits = best == classes[:, None]
    recalls = [np.mean(hits[classes == index, 0]) for index in np.unique(classes)]
    top5 = {"top5": float(np.mean(hits[:, :5].any(axis=1)))} if scores.shape[1] > 5 else {}
    return {
        "top1": float(np.mean(hits[:, 0])),
        **top5,
        "macro_recall": float(np.mean(recalls)),
    }


def of_new_people(signers, train, judged, scores, classes):
    """How often clips of people are named right of whom there is no training clip.

    Args:
        signers: {(split, class, video): who signs}, see `class_list.read_signers`.
        train, judged: lists of `dataset.Clip`.
        scores: float `(num_judged, num_classes)`.
        classes: int `(num_judged,)`.

    Returns:
        {"num_people", "num_videos", "top1"}; None where nobody is known to be new.
    """
    known = {signers.get(clip.key) for clip in train}
    people = [signers.get(clip.key) for clip in judged]
    is_new = np.array([person is not None and person not in known for person in people])
    if None in known or not is_new.any():
        return None
    right = scores.argmax(axis=1) == classes
    return {
        "num_people": len({person for person, new in zip(people, is_new, strict=True) if new}),
        "num_videos": int(is_new.sum()),
        "top1": float(right[is_new].mean()),
    }


def score_nearest(recognizer, clips):
    """`score` of a run of the nearest clip, and how many clips it takes for none of its signs.

    Args:
        recognizer: `predict.Recognizer` of such a run.
        clips: list of stored `dataset.Clip`.

    Returns:
        (streams and classes as of `score`, {"lost": clips that are refused although their sign is
        known, "refused": clips that are refused when all examples of their own sign are taken away,
        "area": below the ROC curve of telling the one from the other by this probability}).
    """
    classes = np.array([recognizer.run.labels.index(clip.label) for clip in clips])
    with_own, without_own = {}, {}
    with _progress(recognizer, clips) as bar:
        for stream in recognizer.streams:
            comparison = recognizer.networks[stream].comparison
            nearest = []
            for clip in clips:
                features = comparison.describe(inputs_of(recognizer.run, stream, clip))
                nearest.append(comparison.class_distances(features))
                bar.update()
            nearest = np.stack(nearest)
            with_own[stream] = comparison.probabilities_at(nearest)
            nearest[np.arange(len(classes)), :, classes] = np.inf
            without_own[stream] = comparison.probabilities_at(nearest)
    known, unknown = (1 - recognizer.fuse(each).sum(axis=1) for each in (with_own, without_own))
    is_less = (known[:, None] < unknown) + 0.5 * (known[:, None] == unknown)
    counts = {
        "lost": int(np.sum(known > UNKNOWN)),
        "refused": int(np.sum(unknown > UNKNOWN)),
        "area": float(is_less.mean()),
    }
    return with_own, classes, counts


def inputs_of(run, stream, clip, size=None):
    """What the network of a stream sees of a stored clip, or as much as `size` (height, width)."""
    folder = run.clips_of().stored_dir(stream) / clip.place()
    return stream_input(stream, load_clip(stream, folder), *(size or run.preset.input_size))
