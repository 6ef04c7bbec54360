"""Directions of a network's features in which signs differ, and clips of one sign do not.

    layer = discriminant.fit(features, signs)
    rows = discriminant.apply(layer, features)

Linear discriminant analysis (Fisher 1936; of many classes, Rao 1948) of features that are averaged
over the steps of a clip. What clips of one sign differ by is found out here once, from hundreds of
signs that many people perform; whoever compares a few clips later could not tell it from chance.
"""

import numpy as np

DIRECTIONS = 64
TOWARDS_ROUND = 0.1  # share by which what differs within signs is drawn to the same everywhere


def fit(features, signs):
    """The layer that makes features comparable.

    Args:
        features: float `(num_clips, num_steps, size)`.
        signs: int `(num_clips,)`, several clips of each.

    Returns:
        {"kernel": float16 `(size, DIRECTIONS)`, "bias": float16 `(DIRECTIONS,)`} of a linear layer,
        whose answers are 0 on average, and deviate by 1 within signs; None of signs that are too
        few to tell that many directions.
    """
    rows = features.mean(axis=1, dtype=np.float64)
    numbers, places, counts = np.unique(signs, return_inverse=True, return_counts=True)
    if len(numbers) <= DIRECTIONS or len(rows) < 2 * len(numbers):
        return None
    mean = rows.mean(axis=0)
    of_signs = np.zeros((len(numbers), rows.shape[1]))
    np.add.at(of_signs, places, rows - mean)
    of_signs /= counts[:, None]
    apart = rows - mean - of_signs[places]
    within = apart.T @ apart / (len(rows) - len(numbers))
    between = of_signs.T @ of_signs / (len(numbers) - 1) - within / counts.mean()
    variances, axes = np.linalg.eigh(_rounder(within))
    whitening = axes / np.sqrt(variances)
    _, directions = np.linalg.eigh(whitening.T @ between @ whitening)
    kernel = whitening @ directions[:, ::-1][:, :DIRECTIONS]
    return {"kernel": kernel.astype(np.float16), "bias": -(mean @ kernel).astype(np.float16)}


def apply(layer, features):
    """Float32 `(num_clips, 1, DIRECTIONS)` of float `(num_clips, num_steps, size)`."""
    rows = features.mean(axis=1, keepdims=True, dtype=np.float32)
    return rows @ np.float32(layer["kernel"]) + np.float32(layer["bias"])


def _rounder(covariance):
    size = len(covariance)
    same = np.trace(covariance) / size * np.eye(size)
    return (1 - TOWARDS_ROUND) * covariance + TOWARDS_ROUND * same
