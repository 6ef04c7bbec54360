"""Imports Keras and Matplotlib quietly, and only where they are needed: they take seconds."""

import contextlib
import functools
import importlib
import os
import sys
import tempfile
import threading

# Looked into where Matplotlib's own font lacks a letter: of Linux, Windows and macOS.
FONTS = (
    *("Noto Sans CJK JP", "Noto Sans CJK KR", "Noto Sans CJK SC", "Noto Sans Devanagari"),
    *("Noto Sans Bengali", "Noto Sans Tamil", "Noto Sans Thai", "WenQuanYi Micro Hei"),
    *("Microsoft YaHei", "Malgun Gothic", "Yu Gothic", "Nirmala UI", "Leelawadee UI", "Segoe UI"),
    *("Hiragino Sans", "Apple SD Gothic Neo", "PingFang SC", "Arial Unicode MS"),
)
ALIVE_SECONDS = 4  # between two words while it is being imported


def import_keras():
    """Imports Keras without the notes that TensorFlow writes to the terminal when it starts.

    What is in the user's own keras.json does not count: networks are built and trained for float32
    and channels last. The variable KERAS_BACKEND chooses another backend than TensorFlow.

    Returns:
        The module `keras`.

    Raises:
        ValueError: the backend is not installed.
    """
    if "keras" in sys.modules:
        return sys.modules["keras"]
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # On by default only on processors with AVX-512; without it AVX2 trains at half the speed.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    backend = os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    try:
        with _quiet_stderr() as terminal, _alive(terminal), _empty_keras_home():
            return importlib.import_module("keras")
    except (AssertionError, ImportError, ValueError) as error:
        raise ValueError(
            f"Keras cannot be imported with KERAS_BACKEND={backend} ({error}). Install that "
            "backend, or leave the variable away: TensorFlow comes with requirements.txt."
        ) from error


@functools.cache
def import_pyplot():
    """Imports Matplotlib for pictures in files, whatever a notebook has told it, with fonts for the
    names of signs in all scripts that this system has.

    Returns:
        The module `matplotlib.pyplot`.
    """
    os.environ["MPLBACKEND"] = "Agg"
    from matplotlib import font_manager, pyplot

    installed = set(font_manager.get_font_names())
    found = [name for name in FONTS if name in installed]
    pyplot.rcParams["font.family"] = ["DejaVu Sans", *found]
    return pyplot


@contextlib.contextmanager
def _quiet_stderr():
    """Inside, what is written to the terminal is lost; gives the file descriptor to write all the
    same."""
    sys.stderr.flush()
    terminal, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield terminal
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
        os.close(nowhere)


@contextlib.contextmanager
def _alive(terminal):
    """Inside, a word goes to this file descriptor whenever it takes long."""
    has_ended = threading.Event()

    def tell():
        while not has_ended.wait(ALIVE_SECONDS):
            os.write(terminal, b"Keras is being imported ...\n")

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        has_ended.set()
        thread.join()


@contextlib.contextmanager
def _empty_keras_home():
    """Inside, Keras finds no keras.json; it writes one where it is told to."""
    home = os.environ.get("KERAS_HOME")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["KERAS_HOME"] = folder
        try:
            yield
        finally:
            del os.environ["KERAS_HOME"]
            if home is not None:
                os.environ["KERAS_HOME"] = home
