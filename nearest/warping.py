"""How unlike clips of different speed are: dynamic time warping (Sakoe and Chiba, 1978).

    distances = warped_distances(rows, examples)

Frames are paired so that time never runs backwards and the sum of their distances is least; a
diagonal step counts twice, so that neither way of stretching pays by itself.
"""

import numpy as np

from tvl1.solver import import_compiler

BAND = 0.32  # of a clip: how far the pairing may leave the diagonal
COMPILE_OPTIONS = {"fastmath": True, "error_model": "numpy", "nogil": True}
NONE = np.float32(1e30)


def warped_distances(rows, examples):
    """The mean distance of paired frames, of a clip from each of several.

    Args:
        rows: float32 `(num_frames, size)` of the clip.
        examples: float32 `(other_num_frames, num_examples, size)`.

    Returns:
        float32 `(num_examples,)`.
    """
    num_frames, num_examples, size = examples.shape
    others = examples.reshape(-1, size)
    lengths = [np.einsum("ij,ij->i", each, each) for each in (rows, others)]
    costs = lengths[0][:, None] + lengths[1] - 2 * (rows @ others.T)
    np.sqrt(np.maximum(costs, 0, out=costs), out=costs)
    return _compiled()(costs.reshape(len(rows), num_frames, num_examples), BAND)


def warp(costs, band):
    """The least mean cost of pairing the frames of a clip with those of each of several.

    Args:
        costs: float32 `(frames, frames of the others, others)`.
        band: see `BAND`.

    Returns:
        float32 `(others,)`.
    """
    num_rows, num_columns, num_others = costs.shape
    best = np.full((num_columns, num_others), NONE, np.float32)  # of the row above, then of this
    corner = np.empty(num_others, np.float32)  # of the row above, one column to the left
    kept = np.empty(num_others, np.float32)
    for row in range(num_rows):
        corner[:] = NONE
        for column in range(num_columns):
            is_far = abs(row * num_columns - column * num_rows) > band * num_rows * num_columns
            for other in range(num_others):
                cost, above = costs[row, column, other], best[column, other]
                kept[other] = above
                left = best[column - 1, other] if column > 0 else NONE
                value = min(corner[other] + 2 * cost, min(above, left) + cost)
                value = 2 * cost if row == 0 and column == 0 else value
                best[column, other] = NONE if is_far else value
            corner, kept = kept, corner
    return best[num_columns - 1] / np.float32(num_rows + num_columns)


def _compiled():
    from nearest import warping

    compiler = import_compiler()

    return compiler.machine_code(warp, COMPILE_OPTIONS, _call_once, (warping,), "nearest")


def _call_once(function):
    function(np.zeros((1, 1, 1), np.float32), BAND)
