"""What every other room stands on: presets, folders, videos, jobs, what a network sees.

Uses only itself. Scripts import it before all else: from here on, Ctrl-C is a word and no
traceback, also while they import what they need.
"""

import os
import sys

PROJECT_DIR = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))


def _hook(kind, error, trace):
    """`sys.excepthook` of scripts: Ctrl-C before `command_line.run` has begun."""
    if not issubclass(kind, KeyboardInterrupt) or sys.flags.dev_mode:
        sys.__excepthook__(kind, error, trace)
        return
    import multiprocessing  # here, for it takes longer than all else

    if multiprocessing.parent_process() is None:
        print("\nStopped.", file=sys.stderr, flush=True)


if os.path.dirname(os.path.realpath(sys.argv[0])) == PROJECT_DIR:  # of a script, or its worker
    sys.excepthook = _hook
