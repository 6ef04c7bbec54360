"""The inner loops of the TV-L1 solver: what is done to one row of pixels, as vector instructions.

LLVM finds those by itself if each row of each plane is an argument of its own and the arguments are
declared not to overlap, if no index can wrap around, and if no row has a slow remainder; hence
pointers in place of slices, and rows padded to whole vectors.
"""

import numpy as np

from tvl1 import workspace
from tvl1.llvm import arguments_do_not_overlap, inline_kernel, pointer
from tvl1.workspace import (
    IMAGE_MARGIN,
    INVERSE_NORM,
    IX,
    IY,
    MARGIN,
    P11,
    P12,
    P21,
    P22,
    RESIDUAL,
    U1,
    U2,
)

SMALLEST_NORM = 1.1920929e-07  # below this squared gradient a pixel says nothing about its motion
CUBIC = -0.75  # the cubic kernel's free parameter, as in OpenCV's INTER_CUBIC

padded_width = inline_kernel(workspace.padded_width)


@inline_kernel
def pixels(array, first, second):
    """Points to the first pixel of a row of one of the three-dimensional work arrays."""
    return pointer(array, (first, second, MARGIN))


@inline_kernel
def planes(state, row):
    """Points to the ten numbers of the first pixel of a row, in the order of the planes."""
    return (
        pixels(state, row, U1), pixels(state, row, U2),
        pixels(state, row, IX), pixels(state, row, IY),
        pixels(state, row, INVERSE_NORM), pixels(state, row, RESIDUAL),
        pixels(state, row, P11), pixels(state, row, P12),
        pixels(state, row, P21), pixels(state, row, P22),
    )  # fmt: skip


@inline_kernel
def iterate_row(here, above, width, num_columns, lambda_theta, theta, tau_over_theta):
    """One iteration for a row: its flow `u`, then the dual variables `p` of the row above.

    `here` and `above` are the `planes` of the two rows. Columns from `width` to `num_columns` are
    padding. Returns the squared change of the row's flow.
    """
    arguments_do_not_overlap()
    u1, u2, gradient_x, gradient_y, inverse_norm, residual, p11, p12, p21, p22 = here
    u1_above, u2_above, _, _, _, _, p11_above, p12_above, p21_above, p22_above = above
    one = np.float32(1)
    change = np.float32(0)
    for x in range(num_columns):
        old_u1, old_u2 = u1[x], u2[x]
        old_p12_above, old_p22_above = p12_above[x], p22_above[x]
        step = residual[x] + gradient_x[x] * old_u1 + gradient_y[x] * old_u2
        step = min(max(-step * inverse_norm[x], -lambda_theta), lambda_theta)
        divergence1 = p11[x] - p11[x - 1] + p12[x] - old_p12_above
        divergence2 = p21[x] - p21[x - 1] + p22[x] - old_p22_above
        new_u1 = old_u1 + step * gradient_x[x] + theta * divergence1
        new_u2 = old_u2 + step * gradient_y[x] + theta * divergence2
        u1[x], u2[x] = new_u1, new_u2
        if x < width:
            change += (new_u1 - old_u1) * (new_u1 - old_u1) + (new_u2 - old_u2) * (new_u2 - old_u2)
        u1_x, u1_y = u1_above[x + 1] - u1_above[x], new_u1 - u1_above[x]
        u2_x, u2_y = u2_above[x + 1] - u2_above[x], new_u2 - u2_above[x]
        scale1 = one / (one + tau_over_theta * np.sqrt(u1_x * u1_x + u1_y * u1_y))
        scale2 = one / (one + tau_over_theta * np.sqrt(u2_x * u2_x + u2_y * u2_y))
        p11_above[x] = (p11_above[x] + tau_over_theta * u1_x) * scale1
        p12_above[x] = (old_p12_above + tau_over_theta * u1_y) * scale1
        p21_above[x] = (p21_above[x] + tau_over_theta * u2_x) * scale2
        p22_above[x] = (old_p22_above + tau_over_theta * u2_y) * scale2
    u1[width], u2[width] = u1[width - 1], u2[width - 1]  # no gradient across the right border
    return change


@inline_kernel
def cubic_row(u1, u2, offsets, along_x, along_y, row, height, width, num_columns):
    """Where a row of the flow points to in `image`, and the weights of the 4x4 pixels there."""
    arguments_do_not_overlap()
    x0, x1, x2, x3 = along_x
    y0, y1, y2, y3 = along_y
    one, cubic = np.float32(1), np.float32(CUBIC)
    outer, inner = cubic + np.float32(2), cubic + np.float32(3)
    lowest = np.float32(1 - IMAGE_MARGIN)
    rightmost, bottom = np.float32(width + 1), np.float32(height + 1)
    line_length = np.int32(width + 2 * IMAGE_MARGIN)
    for x in range(num_columns):
        place_x = min(max(np.float32(x) + u1[x], lowest), rightmost)
        place_y = min(max(np.float32(row) + u2[x], lowest), bottom)
        column, line = np.floor(place_x), np.floor(place_y)
        right, below = place_x - column, place_y - line
        left, above = one - right, one - below
        x0[x], x3[x] = cubic * right * left * left, cubic * left * right * right
        x1[x] = (outer * right - inner) * right * right + one
        x2[x] = (outer * left - inner) * left * left + one
        y0[x], y3[x] = cubic * below * above * above, cubic * above * below * below
        y1[x] = (outer * below - inner) * below * below + one
        y2[x] = (outer * above - inner) * above * above + one
        offsets[x] = np.int32(4) * (np.int32(line) * line_length + np.int32(column))


@inline_kernel
def residual_row(previous, u1, u2, gradient_x, gradient_y, inverse_norm, residual, width):
    """From warped grey values in `residual` to what `iterate_row` needs."""
    arguments_do_not_overlap()
    zero, one = np.float32(0), np.float32(1)
    for x in range(width):
        norm = gradient_x[x] * gradient_x[x] + gradient_y[x] * gradient_y[x]
        inverse_norm[x] = one / norm if norm > np.float32(SMALLEST_NORM) else zero
        explained = gradient_x[x] * u1[x] + gradient_y[x] * u2[x]
        residual[x] = residual[x] - explained - previous[x]


@inline_kernel
def copy_row(source, target, width):
    arguments_do_not_overlap()
    for x in range(width):
        target[x] = source[x]


@inline_kernel
def _ordered(first, second):
    return min(first, second), max(first, second)


@inline_kernel
def _sorted3(a, b, c):
    a, b = _ordered(a, b)
    b, c = _ordered(b, c)
    a, b = _ordered(a, b)
    return a, b, c


@inline_kernel
def _sorted5(a, b, c, d, e):
    a, b = _ordered(a, b)
    d, e = _ordered(d, e)
    c, e = _ordered(c, e)
    c, d = _ordered(c, d)
    b, e = _ordered(b, e)
    a, d = _ordered(a, d)
    a, c = _ordered(a, c)
    b, d = _ordered(b, d)
    b, c = _ordered(b, c)
    return a, b, c, d, e


@inline_kernel
def sort_columns(lines, low, num_columns):
    """Sorts the five numbers of every column: smallest to `low[0]`, largest to `low[4]`."""
    arguments_do_not_overlap()
    line0, line1, line2, line3, line4 = lines
    low0, low1, low2, low3, low4 = low
    for x in range(-MARGIN, num_columns + MARGIN):
        low0[x], low1[x], low2[x], low3[x], low4[x] = _sorted5(
            line0[x], line1[x], line2[x], line3[x], line4[x]
        )


@inline_kernel
def _around(row, x):
    """Five numbers of a row around column `x`, sorted."""
    return _sorted5(row[x - 2], row[x - 1], row[x], row[x + 1], row[x + 2])


@inline_kernel
def median25_row(low, median, num_columns):
    """Median of the 5x5 numbers around each column, whose columns are sorted already.

    Sorting the rows of sorted columns too leaves 13 numbers that can be the median; the 22
    comparisons that find it among them come from a random search over such sequences.
    """
    arguments_do_not_overlap()
    low0, low1, low2, low3, low4 = low
    for x in range(num_columns):
        _, _, _, a3, a4 = _around(low0, x)
        _, _, b2, b3, b4 = _around(low1, x)
        _, c1, c2, c3, _ = _around(low2, x)
        d0, d1, d2, _, _ = _around(low3, x)
        e0, e1, _, _, _ = _around(low4, x)
        d0 = max(c1, d0)
        e0 = max(b2, e0)
        b4 = min(b4, c3)
        e0, e1 = _ordered(e0, e1)
        b3, d0 = _ordered(b3, d0)
        d0 = min(d0, d2)
        b4, e0 = _ordered(b4, e0)
        a3, c2 = _ordered(a3, c2)
        e0 = min(e0, e1)
        c2, d0 = _ordered(c2, d0)
        b4, c2 = _ordered(b4, c2)
        a3, d1 = _ordered(a3, d1)
        c2, d1 = _ordered(c2, d1)
        c2 = max(b4, c2)
        d0, e0 = _ordered(d0, e0)
        c2 = max(b3, c2)
        d0 = max(a3, d0)
        c2, d0 = _ordered(c2, d0)
        d0 = min(d0, e0)
        d0 = min(d0, d1)
        c2 = max(a4, c2)
        c2 = min(c2, d0)
        median[x] = c2


@inline_kernel
def median9_row(lines, median, num_columns):
    """Median of the 3x3 numbers around each column."""
    arguments_do_not_overlap()
    _, above, here, below, _ = lines
    for x in range(num_columns):
        low0, middle0, high0 = _sorted3(above[x - 1], here[x - 1], below[x - 1])
        low1, middle1, high1 = _sorted3(above[x], here[x], below[x])
        low2, middle2, high2 = _sorted3(above[x + 1], here[x + 1], below[x + 1])
        low = max(max(low0, low1), low2)
        high = min(min(high0, high1), high2)
        _, middle, _ = _sorted3(middle0, middle1, middle2)
        _, median[x], _ = _sorted3(low, middle, high)
