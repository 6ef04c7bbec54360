"""Loss and accuracy after every epoch: history.csv, curves.png, and which epoch is the best."""

import csv
import io
import math

import disk

COLUMNS = "stream phase epoch loss accuracy val_loss val_accuracy learning_rate seconds".split()
STREAM_COLORS = {"rgb": "tab:blue", "flow": "tab:orange"}


class History:
    """One stream's rows of history.csv.

    Args:
        folder: of the run.
        stream: "rgb" or "flow".
        epoch: rows of this stream behind it are forgotten.
    """

    def __init__(self, folder, stream, epoch=math.inf):
        self._path = folder / "history.csv"
        self._stream = stream
        self.rows = [row for row in read(self._path, stream) if row["epoch"] <= epoch]

    def append(self, row):
        """Adds an epoch to the file; True if it is the best so far."""
        is_best = not self.rows or _score(row) > max(map(_score, self.rows))
        self.rows.append(row)
        others = [other for other in read(self._path) if other["stream"] != self._stream]
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(others + self.rows)
        disk.write_atomically(self._path, text.getvalue())
        return is_best

    def has_stalled(self, patience):
        """Whether the last `patience` epochs brought nothing better."""
        if patience is None or not self.rows:
            return False
        scores = [_score(row) for row in self.rows]
        return len(scores) - 1 - scores.index(max(scores)) >= patience

    @property
    def best(self):
        """The row of the best epoch."""
        return max(self.rows, key=_score)


def read(path, stream=None):
    """history.csv as a list of dicts, with numbers where there are numbers."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        rows = [
            {key: value if key in ("stream", "phase") else _number(value) for key, value in row}
            for row in map(dict.items, csv.DictReader(file))
        ]
    return [row for row in rows if stream in (None, row["stream"])]


def plot(folder):
    """Writes curves.png: loss and accuracy over the epochs, every stream a colour."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for axis, quantity in zip(axes, ("loss", "accuracy"), strict=True):
        for stream, color in STREAM_COLORS.items():
            rows = read(folder / "history.csv", stream)
            epochs = [row["epoch"] for row in rows]
            for key, style, split in (
                (quantity, "--", "training"),
                (f"val_{quantity}", "-", "validation"),
            ):
                values = [row[key] for row in rows]
                if not all(map(math.isnan, values)):
                    axis.plot(epochs, values, style, color=color, label=f"{stream}, {split}")
        axis.set(xlabel="epoch", title=quantity)
        axis.grid(alpha=0.3)
        axis.legend()
    figure.suptitle(folder.name)
    figure.savefig(folder / "curves.png", dpi=100)
    pyplot.close(figure)


def _number(text):
    return float(text) if text else math.nan


def _score(row):
    """The greater the better: validation accuracy, then loss; without validation the loss."""
    if math.isnan(row.get("val_loss", math.nan)):
        return (-row["loss"],)
    return (row["val_accuracy"], -row["val_loss"])
