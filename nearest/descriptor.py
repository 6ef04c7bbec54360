"""What a single frame looks like, and how it moves, in a row of numbers: HOG and HOF.

Histograms of oriented gradients (Dalal and Triggs, 2005) of the gray picture say how hands and arms
look, histograms of oriented flow (Laptev et al., 2008) how they move. Both count, in every cell of
a grid over the whole picture, how much of it points in which direction. Cells overlap softly, so
that a small shift changes little. That these two, compared after warping time, know a gesture from
one clip was shown by Konečný and Hagara, "One-Shot-Learning Gesture Recognition using HOG-HOF
Features", JMLR 15, 2014; grid, softness and scaling here are chosen by our own measurements.
"""

import functools

import cv2
import numpy as np

from common.network_input import FLOW_BOUND_PX, HALF_RANGE

GRID = {"rgb": 10, "flow": 7}  # cells along the shorter side
BINS = {"rgb": 9, "flow": 8}  # directions; a gradient has no sign, a motion has one
BLUR = {"rgb": 0.3, "flow": 1.0}  # standard deviation of a cell's soft edge, in cells
FADED = 0.12  # of the picture: so far beyond its edge nothing is supposed to go on
FINE = 8  # places in a cell that stand for all of it
STILL = 0.007  # of the picture's shorter side: flow below this is no motion
MOVED = 0.08  # of the picture: a grid that is moved by less sees nearly the same
# (zoom, down, right) of the grid, in shares of the picture; the first one is the picture as it is.
AS_IT_IS = (1.0, 0.0, 0.0)
VIEWS = (
    AS_IT_IS,
    *((zoom, 0.0, 0.0) for zoom in (0.8, 0.9, 1.12, 1.25)),
    *((1.0, d, r) for d in (-MOVED, 0.0, MOVED) for r in (-MOVED, 0.0, MOVED) if d or r),
)


def describe(stream, frames, views=(AS_IT_IS,)):
    """The rows of the frames of a clip, or of some of them.

    Args:
        stream: "rgb" or "flow".
        frames: float32 of `network_input`, `(num_frames, height, width, channels)`.
        views: which parts of the picture the grid lies over: (zoom, down, right) of `VIEWS`.

    Returns:
        float32 `(num_frames, views, row_size)`, 0 or more; a row is a grid of `grid_shape` for each
        direction.
    """
    planes = {"rgb": _gradient_planes, "flow": _motion_planes}[stream]
    pooled = []
    for frame in frames:
        content = planes(frame)
        for view in views:
            down, right = _pooling(stream, *frames.shape[1:3], view)
            pooled.append(down @ content @ right)
    rows = np.stack(pooled).reshape(len(frames), len(views), -1)
    return np.sqrt(rows, out=rows) if stream == "flow" else rows  # a fast hand is no better seen


def parameters(stream):
    """What the rows of a stream depend on, for parameters.json."""
    return {"grid": GRID[stream], "bins": BINS[stream], "blur": BLUR[stream], "still": STILL}


def mirrored(stream, rows, height, width):
    """What `describe` says of the mirrored picture, from what it says of the picture.

    Args:
        stream: "rgb" or "flow".
        rows: `(..., row_size)`.
        height, width: of the picture, in pixels.
    """
    bins = BINS[stream]
    shape = (*rows.shape[:-1], bins, *grid_shape(stream, height, width))
    half_turn = bins if stream == "rgb" else bins // 2
    order = (half_turn - np.arange(bins)) % bins
    return rows.reshape(shape)[..., order, :, ::-1].reshape(rows.shape)


def grid_shape(stream, height, width):
    """(rows, columns) of a stream's grid: its cells are about square."""
    side = min(height, width) / GRID[stream]
    return round(height / side), round(width / side)


def _gradient_planes(frame):
    """Strength of the gradient by direction, float32 `(bins, height, width)`."""
    gray = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) * np.float32(HALF_RANGE)
    across, down = (cv2.Sobel(gray, cv2.CV_32F, x, 1 - x, ksize=3) for x in (1, 0))
    strength, angle = cv2.cartToPolar(across, down)
    return _by_direction(strength, angle % np.float32(np.pi), np.pi, BINS["rgb"])


def _motion_planes(flow):
    """Root of the length of the flow by direction, float32 `(bins, height, width)`."""
    across, down = (np.ascontiguousarray(flow[..., axis]) for axis in (0, 1))
    length, angle = cv2.cartToPolar(across, down)
    length *= np.float32(FLOW_BOUND_PX / min(length.shape))  # in heights of the picture
    strength = np.sqrt(np.maximum(length - np.float32(STILL), 0))
    return _by_direction(strength, angle, 2 * np.pi, BINS["flow"])


def _by_direction(strength, angle, turn, num_bins):
    """Each pixel's strength, shared by the two directions that it lies between."""
    position = angle * np.float32(num_bins / turn)
    planes = np.empty((num_bins, *strength.shape), np.float32)
    for number, plane in enumerate(planes):
        np.subtract(position, number, out=plane)
        np.abs(plane, out=plane)
        np.minimum(plane, num_bins - plane, out=plane)  # the last is beside the first
        np.subtract(1, plane, out=plane)
        np.maximum(plane, 0, out=plane)
        plane *= strength
    return planes


@functools.cache
def _pooling(stream, height, width, view):
    """What sums pixels into cells: `(rows, height)`, left of a plane, and `(width, columns)`."""
    zoom, down, right = view
    rows, columns = grid_shape(stream, height, width)
    blur = BLUR[stream] * min(height, width) / GRID[stream]
    across = _cells(width, columns, blur, zoom, right)
    return _cells(height, rows, blur, zoom, down), np.ascontiguousarray(across.T)


def _cells(size, number, blur, zoom, moved):
    """Shares of the pixels of a line in its cells, `(number, size)`: boxes with Gaussian edges.

    Args:
        size: pixels of the line.
        number: of cells, which together are as long as the line divided by `zoom`.
        blur: of the edges, in pixels.
        zoom, moved: a view of `VIEWS`.
    """
    fine = (np.arange(number * FINE) + 0.5) / (number * FINE)  # places in the cells, 0..1
    places = ((fine - 0.5) / zoom + 0.5 + moved) * size - 0.5
    beyond = np.maximum(-places, places - (size - 1)) / size
    places = np.clip(places, 0, size - 1)  # beyond the edge it goes on as at the edge, and fades
    softness = np.exp(-0.5 * ((np.arange(size) - places[:, None]) / (blur / zoom)) ** 2)
    fading = np.clip(1 - beyond / FADED, 0, 1)
    softness *= (fading / softness.sum(axis=1))[:, None]
    return softness.reshape(number, FINE, size).mean(axis=1).astype(np.float32)
