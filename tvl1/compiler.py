"""Turns the TV-L1 solver, or another function, into machine code, once per process and machine.

Numba keeps the code in `__pycache__`, or in the user's cache folder where that cannot be written.
"""

import functools
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
_compiled = {}  # by name of the file on disk


def compiled_solver():
    """`band.solve_band` as machine code; the first call says so if it has to compile."""
    return machine_code(
        band.solve_band, llvm.COMPILE_OPTIONS, _call_solver_once, COMPILED_MODULES, "tvl1"
    )


def machine_code(function, options, call_once, modules, name):
    """A function as machine code, compiled or found on disk; says so if it has to compile.

    Args:
        function: of a module, in the part of Python that Numba compiles.
        options: of `numba.njit`.
        call_once: calls what it is given with arguments of the types that are wanted.
        modules: whose sources the code is made of: a change in one of them is compiled anew.
        name: begins what is said.

    Returns:
        what `numba.njit` returns.

    Raises:
        ValueError: Numba is told not to compile.
    """
    if numba.config.DISABLE_JIT:
        raise ValueError(
            "NUMBA_DISABLE_JIT is set, and as plain Python it would take days: unset it."
        )
    with _lock:
        place = f"{function.__name__}_{_source_digest(modules)}"
        if place not in _compiled:
            function.__qualname__ = place
            announcement = _Announcement(name)
            try:
                with event.install_listener("numba:compile", announcement):
                    _compiled[place] = _load_or_compile(function, options, call_once, name)
            finally:
                announcement.end()
        return _compiled[place]


@functools.cache  # the nearest clip asks for its code fifteen times an answer
def _source_digest(modules):
    """Stands in the name of the file on disk, because Numba itself notices only a changed
    file of the function itself, not a change in the modules whose functions become part of it."""
    sources = [Path(module.__file__).read_bytes() for module in modules]
    return hashlib.sha256(b"".join(sources)).hexdigest()[:12]


class _Announcement(event.Listener):
    """Says that something is compiled, and again while it takes; loading from disk is no such
    event."""

    def __init__(self, name):
        self._name = name
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
        text = f"{self._name}: compiling, once per machine, about {COMPILE_SECONDS} s ..."
        while not self._has_ended.is_set():
            print(text, file=sys.stderr, flush=True)
            text = f"{self._name}: still compiling ..."
            self._has_ended.wait(ALIVE_SECONDS)


def _load_or_compile(function, options, call_once, name):
    try:
        code = numba.njit(**options, cache=True)(function)
        try:
            call_once(code)
        except Exception:  # whatever unpickling half a file raises
            if code.signatures:  # compiled already, so it was saving that failed
                raise
            _forget(code)
            code = numba.njit(**options, cache=True)(function)
            call_once(code)
    except Exception as error:  # whatever a read-only or full disk raises
        reason = str(error).partition("\n")[0]
        print(f"{name}: compiled code cannot be kept on disk: {reason}", file=sys.stderr)
        code = numba.njit(**options)(function)
        call_once(code)
    return code


def _call_solver_once(solver):
    """Makes Numba load or compile the code for the types that `tvl1.TVL1` gives."""
    any_values = (kind(1) for kind in workspace.Settings.__annotations__.values())
    settings = workspace.Settings(*any_values)
    side_px = workspace.LANES
    blank = np.zeros((side_px, side_px), np.float32)
    flow = np.zeros((side_px, side_px, 2), np.float32)
    work = workspace.make_workspace(side_px, side_px, 1)
    solver(blank, blank, flow, work, settings, 0)


def _forget(code):
    """Deletes the index of the code on disk, so that both are written anew."""
    name = f"*.{code.__qualname__}-*.nbi"
    for index in Path(code.stats.cache_path).glob(name):
        index.unlink(missing_ok=True)
