"""How well a network's features name clips of signs of which it knows one clip each."""

import numpy as np

WAYS, TRIALS = 20, 50
BATCH = 16
SOFT = 1e-3  # added to a feature's deviation, so that a constant one counts for nothing


def accuracy(network, inputs):
    """The mean share of right answers among `WAYS` signs, over `TRIALS` choices of them.

    Args:
        network: `keras.Model` of `fitting.build`, without a top.
        inputs: float32 `(2, signs, num_frames, height, width, channels)`: two clips of each sign,
            the first ones to know, the second ones to name.
    """
    known, asked = (_directions(_features(network, clips)) for clips in inputs)
    cosines = asked @ known.T
    random = np.random.default_rng(0)
    right = []
    for _ in range(TRIALS):
        some = random.choice(len(known), min(WAYS, len(known)), replace=False)
        right.append(cosines[np.ix_(some, some)].argmax(axis=1) == np.arange(len(some)))
    return float(np.mean(right))


def _features(network, clips):
    starts = range(0, len(clips), BATCH)
    batches = [network.predict_on_batch(clips[start : start + BATCH]) for start in starts]
    return np.concatenate(batches).reshape(len(clips), -1)


def _directions(features):
    features = (features - features.mean(axis=0)) / (features.std(axis=0) + SOFT)
    return features / np.linalg.norm(features, axis=1, keepdims=True)
