"""Imports Keras and Matplotlib quietly, and only where they are needed: they take seconds."""

import contextlib
import functools
import importlib
import importlib.util
import itertools
import logging
import os
import re
import sys
import tempfile

from common.class_list import one_line, spelled_out
from common.command_line import telling

OTHER_BACKEND = (
    "Install that backend, or leave the variable away: TensorFlow comes with requirements.txt."
)
BACKENDS = ("tensorflow", "jax", "torch")  # of Keras, that train
OWN_FONT = "DejaVu Sans"  # which Matplotlib brings along
# Looked into first where that lacks a letter, before all others: of Linux, Windows and macOS.
FONTS = (
    *("Noto Sans CJK JP", "Noto Sans CJK KR", "Noto Sans CJK SC", "Noto Sans Devanagari"),
    *("Noto Sans Bengali", "Noto Sans Tamil", "Noto Sans Thai", "WenQuanYi Micro Hei"),
    *("Microsoft YaHei", "Malgun Gothic", "Yu Gothic", "Nirmala UI", "Leelawadee UI", "Segoe UI"),
    *("Hiragino Sans", "Apple SD Gothic Neo", "PingFang SC", "Arial Unicode MS"),
)
BLANK_FONTS = re.compile("last ?resort|adobe ?blank|tofu|bmp ?fallback", re.I)  # boxes for letters
_used_fonts = [OWN_FONT]  # that letters were found in
_lacking = set()  # letters that no font has


def check_backend():
    """Raises ValueError where the variable KERAS_BACKEND names nothing that trains here."""
    backend = os.environ.get("KERAS_BACKEND", BACKENDS[0])
    if backend not in BACKENDS or importlib.util.find_spec(backend) is None:
        raise ValueError(
            f"KERAS_BACKEND={backend} is not installed, or is none that trains "
            f"({', '.join(BACKENDS)}). {OTHER_BACKEND}"
        )


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
    backend = os.environ.setdefault("KERAS_BACKEND", BACKENDS[0])
    try:
        with (
            _quiet_stderr() as terminal,
            telling("Keras is being imported ...", terminal),
            _empty_keras_home(),
            _no_mplbackend(),
        ):
            return importlib.import_module("keras")
    except (AssertionError, ImportError, ValueError) as error:
        raise ValueError(
            f"Keras cannot be imported with KERAS_BACKEND={backend} ({error}). {OTHER_BACKEND}"
        ) from error


def import_matplotlib(name):
    """Imports a module of Matplotlib, such as "figure", whatever the variable MPLBACKEND says."""
    with _no_mplbackend():
        return importlib.import_module(f"matplotlib.{name}")


def make_figure(width, height):
    """An empty picture for a file; no window, notebook or backend is touched.

    Args:
        width, height: inches.

    Returns:
        `matplotlib.figure.Figure`, whose fonts have all that `writable` gives.
    """
    figure = import_matplotlib("figure")
    sys.modules["matplotlib"].rcParams["font.family"] = list(_used_fonts)
    return figure.Figure(figsize=(width, height), layout="constrained")


def writable(text, *others):
    """A text as a picture can show it: no letter comes out as a box, no dollar begins a formula.

    Args:
        text: such as the name of a sign.
        others: what may stand in its place, such as the sign's label.

    Returns:
        The first of them that fonts have all letters of; else `text`, what they lack spelled out.
    """
    lines = [one_line(each) for each in (text, *others)]
    line = next((each for each in lines if all(map(_can_write, each))), lines[0])
    parts = itertools.groupby(line, _can_write)
    words = ("".join(part) if is_there else spelled_out(part) for is_there, part in parts)
    return "".join(words).replace("$", r"\$")


def _can_write(letter):
    """Whether a font has a letter; pictures use it from then on."""
    if any(ord(letter) in _letters_of(name) for name in _used_fonts):
        return True
    others = () if letter in _lacking else _installed_fonts()
    name = next((name for name in others if ord(letter) in _letters_of(name)), None)
    if name is None:
        _lacking.add(letter)
        return False
    _used_fonts.append(name)
    sys.modules["matplotlib"].rcParams["font.family"] = list(_used_fonts)
    return True


@functools.cache
def _installed_fonts():
    names = set(import_matplotlib("font_manager").get_font_names())
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)  # of fonts not needed
    names = {name for name in names if not BLANK_FONTS.search(name)}
    return [name for name in FONTS if name in names] + sorted(names - {*FONTS})


@functools.cache
def _letters_of(name):
    """The code points that a font has."""
    fonts = import_matplotlib("font_manager")
    try:
        return frozenset(fonts.get_font(fonts.findfont(name)).get_charmap())
    except (OSError, RuntimeError):  # a damaged one
        return frozenset()


@contextlib.contextmanager
def _no_mplbackend():
    """Inside, Matplotlib can be imported whatever MPLBACKEND says.

    Notebooks set it for all that they start, and Matplotlib refuses a backend that is not installed
    here. One that is installed counts afterwards.
    """
    backend = os.environ.get("MPLBACKEND")
    if not backend or "matplotlib" in sys.modules:
        yield
        return
    del os.environ["MPLBACKEND"]
    try:
        yield
    finally:
        os.environ["MPLBACKEND"] = backend
    if "matplotlib" in sys.modules:
        with contextlib.suppress(ValueError):
            sys.modules["matplotlib"].rcParams["backend"] = backend


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
