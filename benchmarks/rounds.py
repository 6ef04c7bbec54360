"""Figures taken in turns, so that other load on the machine meets all that is compared."""

import statistics
import time


def seconds_of(call, *arguments, clock=time.perf_counter):
    """Seconds that a call takes."""
    started = clock()
    call(*arguments)
    return clock() - started


def in_turns(measures, num_rounds):
    """Takes every figure once in each round.

    Args:
        measures: {name: function without arguments that returns a figure}.
        num_rounds: of all of them.

    Returns:
        {name: list with the figure of each round}.
    """
    figures = {name: [] for name in measures}
    for _ in range(num_rounds):
        for name, measure in measures.items():
            figures[name].append(measure())
    return figures


def medians(figures):
    """{name: median} of what `in_turns` returns."""
    return {name: float(statistics.median(values)) for name, values in figures.items()}
