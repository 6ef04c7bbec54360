"""How well a network's features name clips of signs of which it knows one clip each."""

import itertools

import numpy as np

WAYS, TRIALS = 20, 50
BATCH = 16
SOFT = 1e-3  # added to a feature's deviation, so that a constant one counts for nothing


def features(network, clips):
    """Float32 `(num_clips, num_steps, features)` of a network without a top.

    Args:
        network: `keras.Model` of `fitting.build`.
        clips: float32 `(num_clips, num_frames, height, width, channels)`, or an iterable of clips.
    """
    batches, clips = [], iter(clips)
    while batch := list(itertools.islice(clips, BATCH)):
        batches.append(network.predict_on_batch(np.stack(batch)))
    found = np.concatenate(batches)
    return found.reshape(len(found), -1, found.shape[-1])


def standardised(features):
    """Rows in which every number counts alike: float32 `(num_clips, num_steps * features)`."""
    rows = features.reshape(len(features), -1)
    return (rows - rows.mean(axis=0)) / (rows.std(axis=0) + SOFT)


def accuracy(known, asked):
    """The mean share of right answers among `WAYS` signs, over `TRIALS` choices of them.

    Args:
        known, asked: float `(signs, size)`: a clip of each sign to know, and one to name.
    """
    known, asked = (_directions(rows) for rows in (known, asked))
    cosines = asked @ known.T
    random = np.random.default_rng(0)
    right = []
    for _ in range(TRIALS):
        some = random.choice(len(known), min(WAYS, len(known)), replace=False)
        right.append(cosines[np.ix_(some, some)].argmax(axis=1) == np.arange(len(some)))
    return float(np.mean(right))


def _directions(rows):
    rows = rows - rows.mean(axis=0)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
