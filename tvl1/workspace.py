"""What the compiled solver is given: its settings and work arrays, and how they lie in memory.

The ten numbers of a pixel are ten planes, interleaved row by row: `state[row, plane, column]`, so
that all a sweep needs of a row stays in the cache. Rows are padded to whole vectors.
"""

import math
from typing import NamedTuple

import numpy as np

NUM_PLANES = 10
U1, U2, IX, IY, INVERSE_NORM, RESIDUAL, P11, P12, P21, P22 = range(NUM_PLANES)
LANES = 32  # row lengths are multiples of this: two vectors of AVX-512, four of AVX2, eight of NEON
MARGIN = 16  # columns left and right of a row in `state`, one cache line
IMAGE_MARGIN = 4  # zero pixels around the warped image, wide enough for the cubic kernel
MIN_PIXELS_PER_THREAD = 2_000  # fewer are sooner computed than shared out


class Settings(NamedTuple):
    """The parameters of `tvl1.TVL1` as the iterations use them."""

    threshold: np.float32  # mean squared change (px²) of an iteration that ends a warp
    lambda_theta: np.float32
    theta: np.float32
    tau_over_theta: np.float32
    num_warps: int
    inner_iterations: int
    outer_iterations: int
    median_filter: int


class Workspace(NamedTuple):
    """Work arrays of one scale; `h`, `w` its size, `s` the padded length of a row."""

    state: np.ndarray  # float32 (h + 2 per thread, NUM_PLANES, s)
    image: np.ndarray  # float32 (h + 8, w + 8, 4): next frame, its x and y gradient, nothing
    published: np.ndarray  # float32 (2, h, s): the flow as the median filter reads it
    scratch: np.ndarray  # float32 (num_threads, 8, s)
    offsets: np.ndarray  # int32 (num_threads, s)
    edges: np.ndarray  # float32 (2, num_threads, 2, NUM_PLANES, s): outer rows of each band
    row_errors: np.ndarray  # float32 (2, h): squared change of each row in an iteration
    arrivals: np.ndarray  # int64 (1,): how often threads have come to the barrier


def make_settings(parameters):
    """Settings from the dict of parameters in force."""
    lambda_, theta = parameters["lambda_"], parameters["theta"]
    return Settings(
        threshold=np.float32(parameters["epsilon"] ** 2),
        lambda_theta=np.float32(lambda_ * theta),
        theta=np.float32(theta),
        tau_over_theta=np.float32(parameters["tau"] / theta),
        num_warps=int(parameters["num_warps"]),
        inner_iterations=int(parameters["inner_iterations"]),
        outer_iterations=int(parameters["outer_iterations"]),
        median_filter=int(parameters["median_filter"]),
    )


def padded_width(width):
    """Columns of a row of `width` pixels, filled up to whole vectors."""
    return -(-width // LANES) * LANES


def make_workspace(height, width, num_threads):
    """Work arrays of one scale; small scales are left to fewer threads."""
    num_threads = max(1, min(num_threads, height * width // MIN_PIXELS_PER_THREAD))
    row_length = padded_width(width) + 3 * MARGIN
    margins = 2 * IMAGE_MARGIN
    return Workspace(
        state=_aligned_zeros(height + 2 * num_threads, NUM_PLANES, row_length),
        image=_aligned_zeros(height + margins, width + margins, 4),
        published=_aligned_zeros(2, height, row_length),
        scratch=_aligned_zeros(num_threads, 8, row_length),
        offsets=np.zeros((num_threads, row_length), np.int32),
        edges=_aligned_zeros(2, num_threads, 2, NUM_PLANES, row_length),
        row_errors=np.zeros((2, height), np.float32),
        arrivals=np.zeros(1, np.int64),
    )


def _aligned_zeros(*shape):
    """float32 zeros that begin at a cache line, so that no vector lies across two of them."""
    buffer = np.zeros(math.prod(shape) + MARGIN, np.float32)
    first = -buffer.ctypes.data // buffer.itemsize % MARGIN
    return buffer[first : first + math.prod(shape)].reshape(shape)
