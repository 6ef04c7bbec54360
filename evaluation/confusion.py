"""Which signs are taken for which: the matrix, its picture, the most confused pairs."""

import numpy as np

from common.command_line import number_of
from common.slow_imports import make_figure, writable
from evaluation import results

NUM_CONFUSIONS = 10
MAX_NAMED_SIGNS = 60  # more signs than this are numbered in the picture


def confusion_matrix(predicted, classes, num_classes):
    """int `(num_classes, num_classes)`: clips by true class (row) and predicted class (column)."""
    matrix = np.zeros((num_classes, num_classes), int)
    np.add.at(matrix, (classes, predicted), 1)
    return matrix


def most_confused(confusion):
    """Up to `NUM_CONFUSIONS` of (count, true class, predicted class), most frequent first."""
    pairs = [
        (int(confusion[true, predicted]), int(true), int(predicted))
        for true, predicted in np.argwhere(confusion)
        if true != predicted
    ]
    return sorted(pairs, key=lambda pair: (-pair[0], pair[1:]))[:NUM_CONFUSIONS]


def plot_confusion(confusion, run, split, path=None):
    """Writes a picture: the share of each true sign's clips that went to each sign.

    Args:
        confusion: of `confusion_matrix`.
        run: `run_folder.Run`.
        split: whose clips they are.
        path: of the picture, by default confusion.png in the run's folder.
    """
    names = [writable(sign.name, sign.label) for sign in run.signs]
    size = min(3 + 0.35 * len(names), 24)
    figure = make_figure(size + 1, size)
    axis = figure.subplots()
    share = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    image = axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
    if len(names) <= MAX_NAMED_SIGNS:
        axis.set_xticks(range(len(names)), names, rotation=90)
        axis.set_yticks(range(len(names)), names)
        for true, predicted in np.argwhere(confusion):
            color = "white" if share[true, predicted] > 0.5 else "black"
            count = str(confusion[true, predicted])
            axis.text(predicted, true, count, ha="center", va="center", color=color, fontsize=8)
    number, right = confusion.sum(), np.trace(confusion)
    for true in np.flatnonzero(confusion.sum(axis=1) == 0):  # it was never signed
        axis.axhspan(true - 0.5, true + 0.5, facecolor="none", edgecolor="silver", hatch="////")
    axis.set(xlabel="recognised", ylabel="signed (hatched: no clip)")
    words = f"{right} of {number_of(number, 'clip')} of {split} right ({right / number:.3f})"
    words += f"\nstreams fused, chance {results.chance(run):.3f}"
    axis.set_title(f"{writable(run.folder.name)}\n{words}", fontsize=10)
    figure.colorbar(image, label="share of the sign's clips")
    figure.savefig(path or run.folder / "confusion.png", dpi=100)
