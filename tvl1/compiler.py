"""Turns the TV-L1 solver into machine code or finds it on disk, once per process.

Numba keeps the code in `__pycache__`, or in the user's cache folder where that cannot be written.
"""

import hashlib
import sys
import threading
from pathlib import Path

import numba
import numpy as np
from numba.core import event

from tvl1 import band, llvm, row, workspace

COMPILE_SECONDS, ALIVE_SECONDS = 10, 4
COMPILED_MODULES = (workspace, llvm, row, band)

_lock = threading.Lock()
_solver = None


def compiled_solver():
    """`band.solve_band` as machine code; the first call says so if it has to compile."""
    global _solver
    if numba.config.DISABLE_JIT:
        raise ValueError(
            "NUMBA_DISABLE_JIT is set, and as plain Python the flow would take days: unset it."
        )
    with _lock:
        if _solver is None:
            band.solve_band.__qualname__ = f"solve_band_{_source_digest()}"
            announcement = _Announcement()
            try:
                with event.install_listener("numba:compile", announcement):
                    _solver = _load_or_compile()
            finally:
                announcement.end()
        return _solver


def _source_digest():
    """Stands in the name of the file on disk, because Numba itself notices only a changed
    `tvl1/band.py`, not a change in the modules whose functions become part of the code."""
    sources = [Path(module.__file__).read_bytes() for module in COMPILED_MODULES]
    return hashlib.sha256(b"".join(sources)).hexdigest()[:12]


class _Announcement(event.Listener):
    """Says that something is compiled, and again while it takes; loading from disk is no such
    event."""

    def __init__(self):
        self._has_begun, self._has_ended = False, threading.Event()

    def on_start(self, _):
        if not self._has_begun:
            self._has_begun = True
            threading.Thread(target=self._tell, daemon=True).start()

    def on_end(self, _):
        pass

    def end(self):
        self._has_ended.set()

    def _tell(self):
        text = f"tvl1: compiling, once per machine, about {COMPILE_SECONDS} s ..."
        while not self._has_ended.is_set():
            print(text, file=sys.stderr, flush=True)
            text = "tvl1: still compiling ..."
            self._has_ended.wait(ALIVE_SECONDS)


def _load_or_compile():
    try:
        solver = _new_solver(cache=True)
        try:
            _call_once(solver)
        except Exception:  # whatever unpickling half a file raises
            if solver.signatures:  # compiled already, so it was saving that failed
                raise
            _forget(solver)
            solver = _new_solver(cache=True)
            _call_once(solver)
    except Exception as error:  # whatever a read-only or full disk raises
        reason = str(error).partition("\n")[0]
        print(f"tvl1: compiled code cannot be kept on disk: {reason}", file=sys.stderr)
        solver = _new_solver(cache=False)
        _call_once(solver)
    return solver


def _new_solver(cache):
    return numba.njit(**llvm.COMPILE_OPTIONS, cache=cache)(band.solve_band)


def _call_once(solver):
    """Makes Numba load or compile the code for the types that `tvl1.TVL1` gives."""
    any_values = (kind(1) for kind in workspace.Settings.__annotations__.values())
    settings = workspace.Settings(*any_values)
    side_px = workspace.LANES
    blank = np.zeros((side_px, side_px), np.float32)
    flow = np.zeros((side_px, side_px, 2), np.float32)
    work = workspace.make_workspace(side_px, side_px, 1)
    solver(blank, blank, flow, work, settings, 0)


def _forget(solver):
    """Deletes the index of the code on disk, so that both are written anew."""
    name = f"*.{solver.__qualname__}-*.nbi"
    for index in Path(solver.stats.cache_path).glob(name):
        index.unlink(missing_ok=True)
