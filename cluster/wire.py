"""How a call travels to a worker: as bytes that make the call when they are unpickled.

    client.submit(pickle.loads, pickled(function, *arguments))

So a scheduler, which looks at what it passes on, needs no code of this project, and a worker that
lacks it says so.
"""

import importlib
import io
import pickle
import sys
from pathlib import Path


class _Call:
    """Stands for what a function returns; pickling it is pickling the call."""

    def __init__(self, function, arguments):
        self._call = function, arguments

    def __reduce__(self):
        return self._call


class _Pickler(pickle.Pickler):
    """Names what is defined in the script that was started by the script's own name."""

    def reducer_override(self, item):
        if getattr(item, "__module__", None) == "__main__" and hasattr(item, "__qualname__"):
            return of_script, (Path(sys.modules["__main__"].__file__).stem, item.__qualname__)
        return NotImplemented


def pickled(function, *arguments):
    """A call as bytes."""
    file = io.BytesIO()
    _Pickler(file, pickle.HIGHEST_PROTOCOL).dump(_Call(function, arguments))
    return file.getvalue()


def of_script(name, item):
    """A function of a script, which a worker imports."""
    return getattr(importlib.import_module(name), item)
