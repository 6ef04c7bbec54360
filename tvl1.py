"""TV-L1 optical flow on the CPU: the solver alone, no files, no command line.

    solver = tvl1.TVL1()                          # or TVL1("quality"), TVL1(num_warps=5)
    flow = solver.calc(previous_gray, next_gray)  # float32 (height, width, 2), pixels

The method is the duality-based one of Zach, Pock and Bischof (2007) with what OpenCV's
`DualTVL1OpticalFlow` documents on top: a coarse-to-fine pyramid, several warps a scale, a median
filter on the flow and a stopping rule on how much an iteration still changes. It is compiled by
Numba when the first solver of a machine is made (about 10 s, kept on disk) and runs without the
interpreter lock.

How it is laid out, because that is where the speed comes from:

* One iteration is one sweep over the rows: the flow of a row, then at once the dual variables of
  the row above, so that what was just written is still in a register or in the first cache.
* The ten numbers of a pixel are ten planes, interleaved row by row: `state[row, plane, column]`.
* Each row of each plane is its own argument of a small function whose arguments are declared not
  to overlap; only then does LLVM turn its loop into vector instructions without run-time checks.
* Rows are padded to whole vectors, so that no loop has a slow remainder.

Threads each own a band of rows plus a copy of the two neighbouring rows, and meet at a barrier
twice per iteration. Every row is computed by the same machine code from the same numbers in
whichever band it lies, hence the result does not depend on the number of threads.

Source: Zach, Pock and Bischof, "A Duality Based Approach for Realtime TV-L1 Optical Flow" (2007);
the parameters and the stopping rule are those of the documentation of OpenCV's
`DualTVL1OpticalFlow`.
"""

import math
import numbers
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import cv2
import numpy as np

QUALITY = {
    "tau": 0.25,
    "lambda_": 0.15,
    "theta": 0.3,
    "num_scales": 5,
    "scale_step": 0.8,
    "num_warps": 5,
    "epsilon": 0.01,
    "inner_iterations": 30,
    "outer_iterations": 10,
    "median_filter": 5,
}
PRESETS = {
    "fast": {**QUALITY, "scale_step": 0.5, "num_warps": 3, "epsilon": 0.02},
    "quality": QUALITY,
}
MIN_SIDE_PX = 16
SMALLEST_NORM = 1.1920929e-07  # below this squared gradient a pixel says nothing about its motion
COMPILE_SECONDS = 10
COMPILE_OPTIONS = {"fastmath": True, "error_model": "numpy", "nogil": True}
MIN_PIXELS_PER_THREAD = 2_000  # fewer are sooner computed than shared out

NUM_PLANES = 10
U1, U2, IX, IY, INVERSE_NORM, RESIDUAL, P11, P12, P21, P22 = range(NUM_PLANES)
LANES = 32  # row lengths are multiples of this: two vectors of AVX-512, four of AVX2, eight of NEON
MARGIN = 16  # columns left and right of a row in `state`, one cache line
IMAGE_MARGIN = 4  # zero pixels around the warped image, wide enough for the cubic kernel
CUBIC = -0.75  # the cubic kernel's free parameter, as in OpenCV's INTER_CUBIC
SPINS_BEFORE_YIELD = 2_000


class _Settings(NamedTuple):
    threshold: np.float32  # mean squared change (px²) of an iteration that ends a warp
    lambda_theta: np.float32
    theta: np.float32
    tau_over_theta: np.float32
    num_warps: int
    inner_iterations: int
    outer_iterations: int
    median_filter: int


class _Workspace(NamedTuple):
    """Work arrays of one scale; `h`, `w` its size, `s` the padded length of a row."""

    state: np.ndarray  # float32 (h + 2 per thread, NUM_PLANES, s)
    image: np.ndarray  # float32 (h + 8, w + 8, 4): next frame, its x and y gradient, nothing
    published: np.ndarray  # float32 (2, h, s): the flow as the median filter reads it
    scratch: np.ndarray  # float32 (num_threads, 8, s)
    offsets: np.ndarray  # int32 (num_threads, s)
    row_errors: np.ndarray  # float32 (h,): squared change of each row in the last iteration
    arrivals: np.ndarray  # int64 (1,): how often threads have come to the barrier


_intrinsics = []
_kernels = []


def _intrinsic(function):
    """Marks a function as a generator of LLVM instructions (see `_compile`)."""
    _intrinsics.append(function)
    return function


def _kernel(function):
    """Marks a function that Numba compiles when the first solver is made (see `_compile`)."""
    _kernels.append((function, {}))
    return function


def _inline_kernel(function):
    """The same for one that becomes part of its caller."""
    _kernels.append((function, {"forceinline": True}))
    return function


@_intrinsic
def _arguments_do_not_overlap(typing_context):
    """Declares the arrays given to the calling function disjoint, as C's `restrict` does."""
    from llvmlite import ir
    from numba.core import types

    def generate(context, builder, signature, arguments):
        float_pointer = ir.FloatType().as_pointer()
        for argument in builder.function.args:
            if argument.type == float_pointer:
                argument.add_attribute("noalias")
        return context.get_dummy_value()

    return types.none(), generate


@_intrinsic
def _pointer(typing_context, array, indices):
    """Address of `array[indices]`, an element of a contiguous array.

    Unlike a slice it costs no reference count, and an index below zero means what comes before.
    """
    from llvmlite import ir
    from numba.core import cgutils, types

    def generate(context, builder, signature, arguments):
        struct = context.make_array(signature.args[0])(context, builder, arguments[0])
        lengths = cgutils.unpack_tuple(builder, struct.shape)
        position = ir.IntType(64)(0)
        for axis, length in enumerate(lengths):
            index = builder.extract_value(arguments[1], axis)
            position = builder.add(builder.mul(position, length), index)
        return builder.gep(struct.data, [position])

    indices_type = types.UniTuple(types.int64, array.ndim)
    return types.CPointer(array.dtype)(array, indices_type), generate


@_intrinsic
def _add_one(typing_context, counter):
    """Adds 1 to `counter[0]` in one step that no other thread can interrupt."""
    from llvmlite import ir
    from numba.core import types

    def generate(context, builder, signature, arguments):
        pointer = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        builder.atomic_rmw("add", pointer, ir.Constant(ir.IntType(64), 1), "seq_cst")
        return context.get_dummy_value()

    return types.none(counter), generate


@_intrinsic
def _read(typing_context, counter):
    """`counter[0]` as other threads last wrote it, and everything they wrote before that."""
    from numba.core import types

    def generate(context, builder, signature, arguments):
        pointer = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        return builder.load_atomic(pointer, "acquire", 8)

    return types.int64(counter), generate


@_intrinsic
def _yield_core(typing_context):
    """Lets another thread have the core (there may be more threads than cores)."""
    from llvmlite import binding, ir
    from numba.core import cgutils, types

    name = "SwitchToThread" if sys.platform == "win32" else "sched_yield"

    def generate(context, builder, signature, arguments):
        if binding.address_of_symbol(name):  # else the thread goes on asking
            function_type = ir.FunctionType(ir.IntType(32), [])
            builder.call(cgutils.get_or_insert_function(builder.module, function_type, name), [])
        return context.get_dummy_value()

    return types.none(), generate


@_intrinsic
def _sample(typing_context, pixel, row_stride, along_x, along_y):
    """Weighted sum of 4x4 neighbouring pixels of an image with four channels, all four at once.

    `pixel` points to the first one, rows are `row_stride` numbers apart, `along_x` and `along_y`
    are four weights each. Returns the first three channels. It is written in vector instructions
    because LLVM finds none by itself: four pixels of a row are one vector.
    """
    from llvmlite import ir
    from numba.core import types

    index = ir.IntType(64)
    order_type = ir.IntType(32)

    def shuffled(builder, vector, order):
        return builder.shuffle_vector(vector, vector, ir.VectorType(order_type, len(order))(order))

    def spread(builder, weights, order):
        vector = ir.VectorType(ir.FloatType(), 4)(ir.Undefined)
        for place in range(4):
            vector = builder.insert_element(
                vector, builder.extract_value(weights, place), index(place)
            )
        return shuffled(builder, vector, order)

    def generate(context, builder, signature, arguments):
        line_pointer = ir.VectorType(ir.FloatType(), 16).as_pointer()
        total = None
        for row in range(4):
            line_start = builder.gep(arguments[0], [builder.mul(arguments[1], index(row))])
            pointer = builder.bitcast(line_start, line_pointer)
            weight = spread(builder, arguments[3], [row] * 16)
            line = builder.fmul(builder.load(pointer, align=4), weight, flags=("fast",))
            total = line if total is None else builder.fadd(total, line, flags=("fast",))
        weight = spread(builder, arguments[2], [place // 4 for place in range(16)])
        total = builder.fmul(total, weight, flags=("fast",))
        for half in (8, 4):
            low, high = (
                shuffled(builder, total, list(range(start, start + half))) for start in (0, half)
            )
            total = builder.fadd(low, high, flags=("fast",))
        channels = [builder.extract_element(total, index(channel)) for channel in range(3)]
        return context.make_tuple(builder, signature.return_type, channels)

    result = types.UniTuple(types.float32, 3)
    return result(pixel, types.int64, along_x, along_y), generate


@_kernel
def _wait_for_all(arrivals, wanted):
    """Barrier: returns when `arrivals` has been counted up to `wanted` by all threads together."""
    _add_one(arrivals)
    spins = 0
    while _read(arrivals) < wanted:
        spins += 1
        if spins > SPINS_BEFORE_YIELD:
            _yield_core()


@_inline_kernel
def _row(array, first, second):
    """Points to the first pixel of a row of one of the three-dimensional work arrays."""
    return _pointer(array, (first, second, MARGIN))


@_inline_kernel
def _planes(state, row):
    return (
        _row(state, row, U1), _row(state, row, U2), _row(state, row, IX), _row(state, row, IY),
        _row(state, row, INVERSE_NORM), _row(state, row, RESIDUAL),
        _row(state, row, P11), _row(state, row, P12), _row(state, row, P21), _row(state, row, P22),
    )  # fmt: skip


@_inline_kernel
def _iterate_row(here, above, width, num_columns, lambda_theta, theta, tau_over_theta):
    """One iteration for a row: its flow `u`, then the dual variables `p` of the row above.

    `here` and `above` are the `_planes` of the two rows. Columns from `width` to `num_columns` are
    padding. Returns the squared change of the row's flow.
    """
    _arguments_do_not_overlap()
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


@_kernel
def _iterate_band(band, row_errors, first, is_bottom, width, settings):
    """One iteration for a band; `band[0]` and `band[-1]` are copies of the rows next to it."""
    num_columns = -(-width // LANES) * LANES
    num_rows = band.shape[0] - 2
    for row in range(1, num_rows + 2):
        if row > num_rows and is_bottom:
            for x in range(num_columns):  # no gradient across the lower border
                band[row, U1, MARGIN + x] = band[row - 1, U1, MARGIN + x]
                band[row, U2, MARGIN + x] = band[row - 1, U2, MARGIN + x]
        change = _iterate_row(
            _planes(band, row), _planes(band, row - 1), width, num_columns,
            settings.lambda_theta, settings.theta, settings.tau_over_theta,
        )  # fmt: skip
        if row <= num_rows:
            row_errors[first + row - 1] = change


@_kernel
def _copy_neighbours(state, start, stop, is_top, is_bottom):
    """Fills the first and last row of the band `state[start:stop]` from the bands next to it."""
    if is_top:
        state[start, P11:] = np.float32(0)
    else:
        state[start, P11:] = state[start - 2, P11:]
    if not is_bottom:
        state[stop - 1] = state[stop + 1]


@_inline_kernel
def _cubic_row(u1, u2, offsets, along_x, along_y, row, height, width, num_columns):
    """Where a row of the flow points to in `image`, and the weights of the 4x4 pixels there."""
    _arguments_do_not_overlap()
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


@_inline_kernel
def _residual_row(previous, u1, u2, gradient_x, gradient_y, inverse_norm, residual, width):
    """From warped grey values in `residual` to what `_iterate_row` needs."""
    _arguments_do_not_overlap()
    zero, one = np.float32(0), np.float32(1)
    for x in range(width):
        norm = gradient_x[x] * gradient_x[x] + gradient_y[x] * gradient_y[x]
        inverse_norm[x] = one / norm if norm > np.float32(SMALLEST_NORM) else zero
        explained = gradient_x[x] * u1[x] + gradient_y[x] * u2[x]
        residual[x] = residual[x] - explained - previous[x]


@_kernel
def _linearise(band, first, previous, image, scratch, offsets, thread):
    """Warps the next frame and its gradients by the flow of a band whose first row is `first`."""
    height, width = previous.shape
    num_columns = -(-width // LANES) * LANES
    place = _pointer(offsets, (thread, 0))
    x0, x1 = _row(scratch, thread, 0), _row(scratch, thread, 1)
    x2, x3 = _row(scratch, thread, 2), _row(scratch, thread, 3)
    y0, y1 = _row(scratch, thread, 4), _row(scratch, thread, 5)
    y2, y3 = _row(scratch, thread, 6), _row(scratch, thread, 7)
    for row in range(band.shape[0] - 2):
        u1, u2, gradient_x, gradient_y, inverse_norm, residual, _, _, _, _ = _planes(band, row + 1)
        _cubic_row(
            u1, u2, place, (x0, x1, x2, x3), (y0, y1, y2, y3),
            first + row, height, width, num_columns,
        )  # fmt: skip
        for x in range(width):
            residual[x], gradient_x[x], gradient_y[x] = _sample(
                _pointer(image, (IMAGE_MARGIN - 1, IMAGE_MARGIN - 1, np.int64(place[x]))),
                4 * image.shape[1],
                (x0[x], x1[x], x2[x], x3[x]),
                (y0[x], y1[x], y2[x], y3[x]),
            )
        _residual_row(
            _pointer(previous, (first + row, 0)),
            u1, u2, gradient_x, gradient_y, inverse_norm, residual, width,
        )  # fmt: skip


@_kernel
def _fill_image(following, image, first, last):
    """Writes the next frame and its central differences into `image`, rows `first` to `last`."""
    height, width = following.shape
    half = np.float32(0.5)
    for row in range(first, last):
        here = _pointer(following, (row, 0))
        target = _pointer(image, (row + IMAGE_MARGIN, IMAGE_MARGIN, 0))
        above = _pointer(following, (max(row - 1, 0), 0))
        below = _pointer(following, (min(row + 1, height - 1), 0))
        for x in range(width):
            target[4 * x] = here[x]
            target[4 * x + 1] = half * (here[min(x + 1, width - 1)] - here[max(x - 1, 0)])
            target[4 * x + 2] = half * (below[x] - above[x])


@_kernel
def _publish(band, published, first, width):
    """Copies the flow of a band to where the median filter of all threads reads it."""
    for component in range(2):
        for row in range(band.shape[0] - 2):
            target = _row(published, component, first + row)
            _copy_row(_row(band, row + 1, U1 + component), target, width)
            target[-2], target[-1] = target[0], target[0]
            target[width], target[width + 1] = target[width - 1], target[width - 1]


@_inline_kernel
def _copy_row(source, target, width):
    _arguments_do_not_overlap()
    for x in range(width):
        target[x] = source[x]


@_kernel
def _filter(band, published, scratch, first, width, thread, median_filter):
    """Median of the published flow, written to the flow of a band; borders are repeated."""
    height = published.shape[1]
    num_columns = -(-width // LANES) * LANES
    low = (
        _row(scratch, thread, 0), _row(scratch, thread, 1), _row(scratch, thread, 2),
        _row(scratch, thread, 3), _row(scratch, thread, 4),
    )  # fmt: skip
    for component in range(2):
        for row in range(first, first + band.shape[0] - 2):
            lines = (
                _row(published, component, max(row - 2, 0)),
                _row(published, component, max(row - 1, 0)),
                _row(published, component, row),
                _row(published, component, min(row + 1, height - 1)),
                _row(published, component, min(row + 2, height - 1)),
            )
            target = _row(band, row - first + 1, U1 + component)
            if median_filter == 3:
                _median9_row(lines, target, num_columns)
            else:
                _sort_columns(lines, low, num_columns)
                _median25_row(low, target, num_columns)
            target[width] = target[width - 1]


@_inline_kernel
def _ordered(first, second):
    return min(first, second), max(first, second)


@_inline_kernel
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


@_inline_kernel
def _sort_columns(lines, low, num_columns):
    """Sorts the five numbers of every column: smallest to `low[0]`, largest to `low[4]`."""
    _arguments_do_not_overlap()
    line0, line1, line2, line3, line4 = lines
    low0, low1, low2, low3, low4 = low
    for x in range(-MARGIN, num_columns + MARGIN):
        low0[x], low1[x], low2[x], low3[x], low4[x] = _sorted5(
            line0[x], line1[x], line2[x], line3[x], line4[x]
        )


@_inline_kernel
def _around(row, x):
    """Five numbers of a row around column `x`, sorted."""
    return _sorted5(row[x - 2], row[x - 1], row[x], row[x + 1], row[x + 2])


@_inline_kernel
def _median25_row(low, median, num_columns):
    """Median of the 5x5 numbers around each column, whose columns are sorted already.

    Sorting the rows of sorted columns too leaves 13 numbers that can be the median; the 22
    comparisons that find it among them come from a random search over such sequences.
    """
    _arguments_do_not_overlap()
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


@_inline_kernel
def _median9_row(lines, median, num_columns):
    """Median of the 3x3 numbers around each column."""
    _arguments_do_not_overlap()
    _, above, here, below, _ = lines
    for x in range(num_columns):
        low0, middle0, high0 = _sorted3(above[x - 1], here[x - 1], below[x - 1])
        low1, middle1, high1 = _sorted3(above[x], here[x], below[x])
        low2, middle2, high2 = _sorted3(above[x + 1], here[x + 1], below[x + 1])
        low = max(max(low0, low1), low2)
        high = min(min(high0, high1), high2)
        _, middle, _ = _sorted3(middle0, middle1, middle2)
        _, median[x], _ = _sorted3(low, middle, high)


@_inline_kernel
def _sorted3(a, b, c):
    a, b = _ordered(a, b)
    b, c = _ordered(b, c)
    a, b = _ordered(a, b)
    return a, b, c


@_kernel
def _solve_warp(band, thread, first, last, arrivals_seen, work, settings):
    """Repeats median filter and iterations until the flow settles; returns barriers passed."""
    height = work.published.shape[1]
    width = work.image.shape[1] - 2 * IMAGE_MARGIN
    num_threads = work.scratch.shape[0]
    start = first + 2 * thread
    stop = last + 2 * thread + 2
    threshold = settings.threshold * np.float32(height * width)
    for _ in range(settings.outer_iterations):
        if settings.median_filter > 1:
            _publish(band, work.published, first, width)
            arrivals_seen += num_threads
            _wait_for_all(work.arrivals, arrivals_seen)
            _filter(
                band, work.published, work.scratch, first, width, thread, settings.median_filter
            )
            arrivals_seen += num_threads
            _wait_for_all(work.arrivals, arrivals_seen)
        for _ in range(settings.inner_iterations):
            _copy_neighbours(work.state, start, stop, first == 0, last == height)
            arrivals_seen += num_threads
            _wait_for_all(work.arrivals, arrivals_seen)
            _iterate_band(band, work.row_errors, first, last == height, width, settings)
            arrivals_seen += num_threads
            _wait_for_all(work.arrivals, arrivals_seen)
            change = np.float32(0)
            for row in range(height):
                change += work.row_errors[row]
            if change <= threshold:
                return arrivals_seen
    return arrivals_seen


@_kernel
def _solve_band(previous, following, flow, work, settings, thread):
    """One thread's share of a scale: improves its band of `flow`, `(height, width, 2)`, in place.

    All threads of a scale must run at the same time: they wait for one another.
    """
    height, width = previous.shape
    num_threads = work.scratch.shape[0]
    first, last = height * thread // num_threads, height * (thread + 1) // num_threads
    band = work.state[first + 2 * thread : last + 2 * thread + 2]
    band[:, P11:] = np.float32(0)
    for row in range(first, last):
        for x in range(width):
            band[row - first + 1, U1, MARGIN + x] = flow[row, x, 0]
            band[row - first + 1, U2, MARGIN + x] = flow[row, x, 1]
    _fill_image(following, work.image, first, last)
    arrivals_seen = num_threads
    _wait_for_all(work.arrivals, arrivals_seen)
    for _ in range(settings.num_warps):
        _linearise(band, first, previous, work.image, work.scratch, work.offsets, thread)
        arrivals_seen += num_threads
        _wait_for_all(work.arrivals, arrivals_seen)
        arrivals_seen = _solve_warp(band, thread, first, last, arrivals_seen, work, settings)
    for row in range(first, last):
        for x in range(width):
            flow[row, x, 0] = band[row - first + 1, U1, MARGIN + x]
            flow[row, x, 1] = band[row - first + 1, U2, MARGIN + x]


_compile_lock = threading.Lock()
_is_compiled = False


def _compile():
    """Turns the functions marked above into machine code, or finds it on disk; once per process.

    Numba is imported only here because that takes half a second, which `--help` need not wait for.
    """
    global _is_compiled
    with _compile_lock:
        if _is_compiled:
            return
        functions = {function.__name__: function for function, _ in _kernels}
        try:
            _build(functions, cache=True)
        except Exception as error:  # whatever a read-only, full or damaged cache raises
            reason = str(error).partition("\n")[0]
            print(f"tvl1: compiled code cannot be kept on disk: {reason}", file=sys.stderr)
            _build(functions, cache=False)
        _is_compiled = True


def _build(functions, cache):
    import numba
    from numba.core import event
    from numba.extending import intrinsic

    class Announcement(event.Listener):
        is_due = True

        def on_start(self, _):
            if self.is_due:
                text = f"tvl1: compiling, once per machine, about {COMPILE_SECONDS} s ..."
                print(text, file=sys.stderr, flush=True)
            self.is_due = False

        def on_end(self, _):
            pass

    inner = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}  # called by each other only
    for function in _intrinsics:
        globals()[function.__name__] = intrinsic(function)
    for function, extra in _kernels:
        globals()[function.__name__] = numba.njit(**COMPILE_OPTIONS, **inner, **extra)(function)
    globals()["_solve_band"] = numba.njit(**COMPILE_OPTIONS, cache=cache)(functions["_solve_band"])
    blank = np.zeros((MIN_SIDE_PX, MIN_SIDE_PX), np.float32)
    flow = np.zeros((*blank.shape, 2), np.float32)
    with event.install_listener("numba:compile", Announcement()):
        _solve_band(blank, blank, flow, _workspace(*blank.shape, 1), _settings(QUALITY), 0)


def _workspace(height, width, num_threads):
    """Work arrays of one scale; small scales are left to fewer threads."""
    num_threads = max(1, min(num_threads, height * width // MIN_PIXELS_PER_THREAD))
    row_length = -(-width // LANES) * LANES + 3 * MARGIN
    margins = 2 * IMAGE_MARGIN
    return _Workspace(
        state=_aligned_zeros(height + 2 * num_threads, NUM_PLANES, row_length),
        image=_aligned_zeros(height + margins, width + margins, 4),
        published=_aligned_zeros(2, height, row_length),
        scratch=_aligned_zeros(num_threads, 8, row_length),
        offsets=np.zeros((num_threads, row_length), np.int32),
        row_errors=np.zeros(height, np.float32),
        arrivals=np.zeros(1, np.int64),
    )


def _aligned_zeros(*shape):
    """float32 zeros that begin at a cache line, so that no vector lies across two of them."""
    buffer = np.zeros(math.prod(shape) + MARGIN, np.float32)
    first = -buffer.ctypes.data // buffer.itemsize % MARGIN
    return buffer[first : first + math.prod(shape)].reshape(shape)


def _settings(parameters):
    lambda_, theta = parameters["lambda_"], parameters["theta"]
    return _Settings(
        threshold=np.float32(parameters["epsilon"] ** 2),
        lambda_theta=np.float32(lambda_ * theta),
        theta=np.float32(theta),
        tau_over_theta=np.float32(parameters["tau"] / theta),
        num_warps=int(parameters["num_warps"]),
        inner_iterations=int(parameters["inner_iterations"]),
        outer_iterations=int(parameters["outer_iterations"]),
        median_filter=int(parameters["median_filter"]),
    )


_POSITIVE = "a number above 0", lambda value: 0 < value < math.inf
_COUNT = "a whole number above 0", lambda value: isinstance(value, numbers.Integral) and value > 0
_RULES = {
    "tau": _POSITIVE,
    "lambda_": _POSITIVE,
    "theta": _POSITIVE,
    "num_scales": _COUNT,
    "scale_step": ("a number between 0 and 1", lambda value: 0 < value < 1),
    "num_warps": _COUNT,
    "epsilon": ("a number, 0 or more", lambda value: 0 <= value < math.inf),
    "inner_iterations": _COUNT,
    "outer_iterations": _COUNT,
    "median_filter": ("1, 3 or 5", lambda value: value in (1, 3, 5)),
    "num_threads": _COUNT,
}


def _checked_parameters(preset, num_threads, changes):
    """The preset with `changes`, or a ValueError that names what is allowed."""
    if preset not in PRESETS:
        raise ValueError(f"preset must be one of {sorted(PRESETS)}. Received: {preset!r}")
    unknown = sorted(set(changes) - set(QUALITY))
    if unknown:
        raise ValueError(f"Parameters are {sorted(QUALITY)}. Received: {unknown}")
    parameters = {**PRESETS[preset], **changes}
    for name, value in {**parameters, "num_threads": num_threads}.items():
        allowed, is_allowed = _RULES[name]
        is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
        if not is_number or not is_allowed(value):
            raise ValueError(f"{name} must be {allowed}. Received: {value!r}")
    return parameters


def _checked_gray(gray, name, shape=None):
    """`gray` itself if it is an image the solver takes (and of `shape`, if given)."""
    if not isinstance(gray, np.ndarray) or gray.dtype not in (np.uint8, np.float32):
        received = getattr(gray, "dtype", type(gray).__name__)
        raise ValueError(f"{name} must be a uint8 or float32 array. Received: {received}")
    if gray.ndim != 2 or min(gray.shape) < MIN_SIDE_PX:
        raise ValueError(
            f"{name} must be a gray image (height, width), each side at least {MIN_SIDE_PX} px. "
            f"Received shape: {gray.shape}"
        )
    if shape is not None and gray.shape != shape:
        raise ValueError(
            f"{name} must have the size of the image before it, {shape}. Received: {gray.shape}"
        )
    if gray.dtype == np.float32 and not np.isfinite(gray).all():
        raise ValueError(f"{name} must hold finite numbers. Received: NaN or infinity")
    return gray


class TVL1:
    """Dense optical flow between two gray images. One object per thread: it owns its work arrays.

    Args:
        preset: a key of `PRESETS`: `"fast"`, or `"quality"` with OpenCV's defaults.
        num_threads: threads that share the rows of one pair; the result does not depend on it.
        **parameters: replace single values of the preset.
            tau: time step of the dual variables; the scheme is stable up to 0.25.
            lambda_: weight of the images against smoothness; smaller is smoother.
            theta: how tightly the smooth flow follows the one that explains the images.
            num_scales: pyramid levels at most; a level with a side under `MIN_SIDE_PX` is left out.
            scale_step: size of a pyramid level in units of the next finer one, below 1.
            num_warps: how often a scale warps the second image anew.
            epsilon: a warp ends once an iteration changes the flow by less than this (px, root of
                the mean square).
            inner_iterations: at most so many iterations between two median filters.
            outer_iterations: at most so many median filters a warp.
            median_filter: side of the median filter in pixels: 5, 3, or 1 for none.

    Raises:
        ValueError: an unknown preset or parameter, or a value outside its range.

    The attribute `parameters` is the dict of all values in force. The first object in a process
    compiles the solver or reads it from disk.
    """

    def __init__(self, preset="fast", num_threads=1, **parameters):
        self.parameters = _checked_parameters(preset, num_threads, parameters)
        _compile()
        self._num_threads = num_threads
        self._helpers = ThreadPoolExecutor(num_threads - 1) if num_threads > 1 else None
        self._workspaces, self._shapes = [], []
        self._previous_pyramid = None

    def calc(self, previous_gray, next_gray):
        """Flow that takes each pixel of `previous_gray` to its place in `next_gray`.

        Args:
            previous_gray: uint8, or float32 on the same scale of 0 to 255, `(height, width)`, each
                side at least `MIN_SIDE_PX`.
            next_gray: the same, of the same size.

        Returns:
            A new float32 array `(height, width, 2)`: (dx, dy) in pixels.

        Raises:
            ValueError: an image is of another kind or holds NaN, or the sizes differ.
        """
        previous_gray = _checked_gray(previous_gray, "previous_gray")
        next_gray = _checked_gray(next_gray, "next_gray", previous_gray.shape)
        return self._solve(self._pyramid(previous_gray), self._pyramid(next_gray))

    def next(self, gray):
        """`calc` from the image given before to this one, without building its pyramid again.

        The first call returns zeros. All images of a stream have one size; use a new object for
        the next stream. Arguments, result and errors are those of `calc`.
        """
        previous = self._previous_pyramid
        gray = _checked_gray(gray, "gray", None if previous is None else previous[0].shape)
        self._previous_pyramid = self._pyramid(gray)
        if previous is None:
            return np.zeros((*gray.shape, 2), np.float32)
        return self._solve(previous, self._previous_pyramid)

    def _pyramid(self, gray):
        """float32 copies of `gray`, finest first, down to the smallest scale that is used."""
        step = self.parameters["scale_step"]
        levels = [np.array(gray, np.float32, order="C")]
        while len(levels) < self.parameters["num_scales"]:
            smaller = cv2.resize(levels[-1], None, fx=step, fy=step, interpolation=cv2.INTER_LINEAR)
            if min(smaller.shape) < MIN_SIDE_PX:
                break
            levels.append(smaller)
        return levels

    def _solve(self, previous_pyramid, next_pyramid):
        shapes = [level.shape for level in previous_pyramid]
        if self._shapes != shapes:
            self._shapes = shapes
            self._workspaces = [_workspace(*shape, self._num_threads) for shape in shapes]
        flow = np.zeros((*shapes[-1], 2), np.float32)
        for scale in reversed(range(len(shapes))):
            if scale < len(shapes) - 1:
                height, width = shapes[scale]
                flow = cv2.resize(flow, (width, height), interpolation=cv2.INTER_LINEAR)
                flow *= np.float32(1 / self.parameters["scale_step"])
            self._solve_scale(previous_pyramid[scale], next_pyramid[scale], flow, scale)
        return flow

    def _solve_scale(self, previous, following, flow, scale):
        arrays = self._workspaces[scale]
        arrays.arrivals[0] = 0
        task = (previous, following, flow, arrays, _settings(self.parameters))
        others = [
            self._helpers.submit(_solve_band, *task, thread)
            for thread in range(1, len(arrays.scratch))
        ]
        _solve_band(*task, 0)
        for other in others:
            other.result()
