"""What one thread does with its band of rows, compiled as a whole by `tvl1/compiler.py`.

Threads each own a band plus a copy of the two neighbouring rows. What the others need of a band
(its outer rows, how much it changed) is published in one of two places in turn, so that one meeting
at a barrier per iteration is enough: nobody can be two iterations behind. Every row is computed by
the same machine code from the same numbers in whichever band it lies, hence the result does not
depend on the number of threads.

One iteration is one sweep over the rows: the flow of a row, then at once the dual variables of the
row above, so that what was just written is still in a register or in the first cache.
"""

import numpy as np

from tvl1.llvm import add_one, kernel, pause, pointer, read, sample, yield_core
from tvl1.row import (
    copy_row,
    cubic_row,
    iterate_row,
    median9_row,
    median25_row,
    padded_width,
    pixels,
    planes,
    residual_row,
    sort_columns,
)
from tvl1.workspace import IMAGE_MARGIN, MARGIN, P11, U1, U2

SPINS_BEFORE_YIELD = 500


@kernel
def _wait_for_all(arrivals, wanted):
    """Barrier: returns `wanted` when all threads together have counted `arrivals` up to it."""
    add_one(arrivals)
    spins = 0
    while read(arrivals) < wanted:
        spins += 1
        pause()
        if spins > SPINS_BEFORE_YIELD:
            yield_core()
    return wanted


@kernel
def _iterate_band(band, row_errors, first, is_bottom, width, settings):
    """One iteration for a band; `band[0]` and `band[-1]` are copies of the rows next to it."""
    num_columns = padded_width(width)
    num_rows = band.shape[0] - 2
    for row in range(1, num_rows + 2):
        if row > num_rows and is_bottom:
            for x in range(num_columns):  # no gradient across the lower border
                band[row, U1, MARGIN + x] = band[row - 1, U1, MARGIN + x]
                band[row, U2, MARGIN + x] = band[row - 1, U2, MARGIN + x]
        change = iterate_row(
            planes(band, row), planes(band, row - 1), width, num_columns,
            settings.lambda_theta, settings.theta, settings.tau_over_theta,
        )  # fmt: skip
        if row <= num_rows:
            row_errors[first + row - 1] = change


@kernel
def _publish_edges(band, edges, turn, thread, first_plane):
    """Shows planes of the first and last row of a band to the threads next to it."""
    edges[turn, thread, 0, first_plane:] = band[1, first_plane:]
    edges[turn, thread, 1, first_plane:] = band[-2, first_plane:]


@kernel
def _copy_neighbours(band, edges, turn, thread, first_plane):
    """Fills `band[0]` and `band[-1]` from what the bands next to it published."""
    if thread == 0:
        band[0, P11:] = np.float32(0)  # no flow of dual variables across the upper border
    else:
        band[0, P11:] = edges[turn, thread - 1, 1, P11:]
    if thread < edges.shape[1] - 1:
        band[-1, first_plane:] = edges[turn, thread + 1, 0, first_plane:]


@kernel
def _linearise_band(band, first, previous, image, scratch, offsets, thread):
    """Warps the next frame and its gradients by the flow of a band whose first row is `first`."""
    height, width = previous.shape
    num_columns = padded_width(width)
    place = pointer(offsets, (thread, 0))
    x0, x1 = pixels(scratch, thread, 0), pixels(scratch, thread, 1)
    x2, x3 = pixels(scratch, thread, 2), pixels(scratch, thread, 3)
    y0, y1 = pixels(scratch, thread, 4), pixels(scratch, thread, 5)
    y2, y3 = pixels(scratch, thread, 6), pixels(scratch, thread, 7)
    for row in range(band.shape[0] - 2):
        u1, u2, gradient_x, gradient_y, inverse_norm, residual, _, _, _, _ = planes(band, row + 1)
        cubic_row(
            u1, u2, place, (x0, x1, x2, x3), (y0, y1, y2, y3),
            first + row, height, width, num_columns,
        )  # fmt: skip
        for x in range(width):
            residual[x], gradient_x[x], gradient_y[x] = sample(
                pointer(image, (IMAGE_MARGIN - 1, IMAGE_MARGIN - 1, np.int64(place[x]))),
                4 * image.shape[1],
                (x0[x], x1[x], x2[x], x3[x]),
                (y0[x], y1[x], y2[x], y3[x]),
            )
        residual_row(
            pointer(previous, (first + row, 0)),
            u1, u2, gradient_x, gradient_y, inverse_norm, residual, width,
        )  # fmt: skip


@kernel
def _fill_image(following, image, first, last):
    """Writes the next frame and its central differences into `image`, rows `first` to `last`."""
    height, width = following.shape
    half = np.float32(0.5)
    for row in range(first, last):
        here = pointer(following, (row, 0))
        target = pointer(image, (row + IMAGE_MARGIN, IMAGE_MARGIN, 0))
        above = pointer(following, (max(row - 1, 0), 0))
        below = pointer(following, (min(row + 1, height - 1), 0))
        for x in range(width):
            target[4 * x] = here[x]
            target[4 * x + 1] = half * (here[min(x + 1, width - 1)] - here[max(x - 1, 0)])
            target[4 * x + 2] = half * (below[x] - above[x])


@kernel
def _publish_band(band, published, first, width):
    """Copies the flow of a band to where the median filter of all threads reads it."""
    for component in range(2):
        for row in range(band.shape[0] - 2):
            target = pixels(published, component, first + row)
            copy_row(pixels(band, row + 1, U1 + component), target, width)
            target[-2], target[-1] = target[0], target[0]
            target[width], target[width + 1] = target[width - 1], target[width - 1]


@kernel
def _filter_band(band, published, scratch, first, width, thread, median_filter):
    """Median of the published flow, written to the flow of a band; borders are repeated."""
    height = published.shape[1]
    num_columns = padded_width(width)
    low = (
        pixels(scratch, thread, 0), pixels(scratch, thread, 1), pixels(scratch, thread, 2),
        pixels(scratch, thread, 3), pixels(scratch, thread, 4),
    )  # fmt: skip
    for component in range(2):
        for row in range(first, first + band.shape[0] - 2):
            lines = (
                pixels(published, component, max(row - 2, 0)),
                pixels(published, component, max(row - 1, 0)),
                pixels(published, component, row),
                pixels(published, component, min(row + 1, height - 1)),
                pixels(published, component, min(row + 2, height - 1)),
            )
            target = pixels(band, row - first + 1, U1 + component)
            if median_filter == 3:
                median9_row(lines, target, num_columns)
            else:
                sort_columns(lines, low, num_columns)
                median25_row(low, target, num_columns)
            target[width] = target[width - 1]


@kernel
def _solve_warp(band, thread, first, last, arrivals_seen, work, settings):
    """Repeats median filter and iterations until the flow settles; returns `arrivals_seen`."""
    height = work.published.shape[1]
    width = work.image.shape[1] - 2 * IMAGE_MARGIN
    num_threads = work.scratch.shape[0]
    threshold = settings.threshold * np.float32(height * width)
    turn = 0
    for _ in range(settings.outer_iterations):
        if settings.median_filter > 1:
            _publish_band(band, work.published, first, width)
            arrivals_seen = _wait_for_all(work.arrivals, arrivals_seen + num_threads)
            _filter_band(
                band, work.published, work.scratch, first, width, thread, settings.median_filter
            )
        _publish_edges(band, work.edges, turn, thread, 0)
        arrivals_seen = _wait_for_all(work.arrivals, arrivals_seen + num_threads)
        _copy_neighbours(band, work.edges, turn, thread, 0)
        for _ in range(settings.inner_iterations):
            turn = 1 - turn
            _iterate_band(band, work.row_errors[turn], first, last == height, width, settings)
            _publish_edges(band, work.edges, turn, thread, P11)
            arrivals_seen = _wait_for_all(work.arrivals, arrivals_seen + num_threads)
            change = np.float32(0)
            for row in range(height):
                change += work.row_errors[turn, row]
            if change <= threshold:
                return arrivals_seen
            # The flow of the copied row is computed here as it is where it belongs.
            _copy_neighbours(band, work.edges, turn, thread, P11)
    return arrivals_seen


def solve_band(previous, following, flow, work, settings, thread):
    """One thread's share of a scale: improves its band of `flow`, `(height, width, 2)`, in place.

    All threads of a scale must run at the same time: they wait for one another. `flow` may change
    until the first thread begins; it is whole when any of them returns.
    """
    height, width = previous.shape
    num_threads = work.scratch.shape[0]
    first, last = height * thread // num_threads, height * (thread + 1) // num_threads
    band = work.state[first + 2 * thread : last + 2 * thread + 2]
    band[:, P11:] = np.float32(0)
    _fill_image(following, work.image, first, last)
    arrivals_seen = _wait_for_all(work.arrivals, num_threads)
    for row in range(first, last):
        for x in range(width):
            band[row - first + 1, U1, MARGIN + x] = flow[row, x, 0]
            band[row - first + 1, U2, MARGIN + x] = flow[row, x, 1]
    for _ in range(settings.num_warps):
        _linearise_band(band, first, previous, work.image, work.scratch, work.offsets, thread)
        arrivals_seen = _solve_warp(band, thread, first, last, arrivals_seen, work, settings)
    for row in range(first, last):
        for x in range(width):
            flow[row, x, 0] = band[row - first + 1, U1, MARGIN + x]
            flow[row, x, 1] = band[row - first + 1, U2, MARGIN + x]
    _wait_for_all(work.arrivals, arrivals_seen + num_threads)
