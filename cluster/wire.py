"""The one function that travels to workers by itself; what it calls they must have.

So a scheduler needs no code of this project, and a worker that lacks it can say so.
"""

import pickle


def call(content):
    """Calls what `pickled` gave."""
    function, arguments = pickle.loads(content)
    return function(*arguments)


def pickled(function, *arguments):
    """A call as bytes. Functions of the script that was started travel by value, others by name."""
    import cloudpickle  # here, for it comes with Dask

    return cloudpickle.dumps((function, arguments))
