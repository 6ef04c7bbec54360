"""TV-L1 optical flow on the CPU: the solver alone, no files, no command line.

    solver = tvl1.TVL1()                          # or TVL1("quality"), TVL1(num_warps=5)
    flow = solver.calc(previous_gray, next_gray)  # float32 (height, width, 2), pixels

The method is the duality-based one of Zach, Pock and Bischof (2007) with what OpenCV's
`DualTVL1OpticalFlow` documents on top: a coarse-to-fine pyramid, several warps a scale, a median
filter on the flow and a stopping rule on how much an iteration still changes. It is compiled by
Numba when the first solver of a machine is made (about 10 s, kept on disk) and runs without the
interpreter lock.

This file checks what it is given and goes from the coarse to the fine scales; `tvl1/band.py` solves
a scale. The speed comes from the layout of the memory (`tvl1/workspace.py`), loops that LLVM
turns into vector instructions (`tvl1/row.py`), and one sweep per iteration (`tvl1/band.py`).

Source: Zach, Pock and Bischof, "A Duality Based Approach for Realtime TV-L1 Optical Flow" (2007);
the parameters and the stopping rule are those of the documentation of OpenCV's
`DualTVL1OpticalFlow`.
"""

import importlib
import math
import numbers
import os
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np

from tvl1.workspace import make_settings, make_workspace

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
ALL_HAVE_ARRIVED = 2**62  # more than any barrier waits for

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


def import_compiler():
    """The module `tvl1.compiler`, when it is needed: Numba takes half a second.

    Raises:
        ValueError: Numba cannot be imported as the environment has it.
    """
    try:
        return importlib.import_module("tvl1.compiler")
    except ValueError as error:
        number = os.environ.get("NUMBA_NUM_THREADS")
        hint = f" NUMBA_NUM_THREADS is {number}: unset it." if number else ""
        raise ValueError(f"Numba cannot be imported: {error}{hint}") from error


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
        self._solve_band = import_compiler().compiled_solver()
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
            self._workspaces = [make_workspace(*shape, self._num_threads) for shape in shapes]
        flows = [np.zeros((*shape, 2), np.float32) for shape in shapes]
        settings = make_settings(self.parameters)
        levels = zip(previous_pyramid, next_pyramid, flows, self._workspaces, strict=True)
        tasks = [(*level, settings) for level in reversed(list(levels))]  # coarse to fine
        for arrays in self._workspaces:
            arrays.arrivals[0] = 0
        try:
            others = [
                self._helpers.submit(self._help, tasks, thread)
                for thread in range(1, self._num_threads)
            ]
            self._lead(tasks)
            for other in others:
                other.result()
        except BaseException:  # Ctrl-C, which comes to this thread alone
            for arrays in self._workspaces:
                arrays.arrivals[0] = ALL_HAVE_ARRIVED  # or the others would wait for ever
            self._shapes = []  # the next pair gets new arrays: the others still write to these
            raise
        return flows[0]

    def _lead(self, tasks):
        """The first thread's share of all scales: each begins with the flow of the one before."""
        coarser = None
        for task in tasks:
            flow = task[2]
            if coarser is not None:
                size = flow.shape[1::-1]
                cv2.resize(coarser, size, dst=flow, interpolation=cv2.INTER_LINEAR)
                flow *= np.float32(1 / self.parameters["scale_step"])
            self._solve_band(*task, 0)
            coarser = flow

    def _help(self, tasks, thread):
        """The share of another thread, which waits at each scale until the first one comes."""
        for task in tasks:
            if thread < len(task[3].scratch):
                self._solve_band(*task, thread)
