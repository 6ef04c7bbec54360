"""How a call travels to a worker: as bytes that make the call when they are unpickled.

    client.submit(pickle.loads, pickled(function, *arguments))

So a scheduler, which looks at what it passes on, needs no code of this project, and a worker that
lacks it says so.
"""


class _Call:
    """Stands for what a function returns; pickling it is pickling the call."""

    def __init__(self, function, arguments):
        self._call = function, arguments

    def __reduce__(self):
        return self._call


def pickled(function, *arguments):
    """A call as bytes. Functions of the script that was started travel by value, others by name."""
    import cloudpickle  # here, for it comes with Dask

    return cloudpickle.dumps(_Call(function, arguments))
