"""Imports Keras quietly, and only where it is needed: it takes seconds and 600 MB."""

import importlib
import os
import sys


def import_keras():
    """Imports Keras without the notes that TensorFlow writes to the terminal when it starts.

    Returns:
        The module `keras`.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # On by default only on processors with AVX-512; without it AVX2 trains at half the speed.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    sys.stderr.flush()
    terminal, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        return importlib.import_module("keras")
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
        os.close(nowhere)
