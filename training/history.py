"""Loss and accuracy after every epoch: history.csv, curves.png, and which epoch is the best."""

import math

from common import disk
from common.slow_imports import make_figure, writable

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
        table = read(folder)
        self._others = table[table["stream"] != stream]
        self.table = table[(table["stream"] == stream) & (table["epoch"] <= epoch)]

    def append(self, row):
        """Adds an epoch, a dict of `COLUMNS`, to the file; True if it is the best so far."""
        import pandas

        row = pandas.DataFrame([row], columns=COLUMNS)
        self.table = pandas.concat([self.table, row]) if len(self.table) else row
        everything = [table for table in (self._others, self.table) if len(table)]
        text = pandas.concat(everything).to_csv(index=False, lineterminator="\n")
        disk.write_atomically(self._path, text)
        return self._best() == len(self.table) - 1

    def words(self, run):
        """The best epoch of a run's stream, in words."""
        best = self.table.iloc[self._best()]
        split, accuracy = "val", best["val_accuracy"]
        if math.isnan(accuracy):
            split, accuracy = "train", best["accuracy"]
        return (
            f"epoch {best['epoch']:.0f} of {len(self.table)} was the best, accuracy {accuracy:.3f} "
            f"on {run.data[split]} clips of {split} (chance {1 / len(run.signs):.3f})"
        )

    def has_stalled(self, patience):
        """Whether the last `patience` epochs brought nothing better."""
        if patience is None or not len(self.table):
            return False
        return len(self.table) - 1 - self._best() >= patience

    def _best(self):
        """The place of the best epoch: by validation accuracy, then loss; else by the loss."""
        rows = self.table.to_dict("records")
        if math.isnan(rows[0]["val_loss"]):
            scores = [-row["loss"] for row in rows]
        else:
            scores = [(row["val_accuracy"], -row["val_loss"]) for row in rows]
        return scores.index(max(scores))


def read(folder):
    """history.csv as a table, empty where there is none."""
    import pandas  # takes half a second, which scripts that train nothing need not wait for

    path = folder / "history.csv"
    return pandas.read_csv(path) if path.is_file() else pandas.DataFrame(columns=COLUMNS)


def plot(run):
    """Writes curves.png: loss and accuracy over the epochs of a run, every stream a colour."""
    table = read(run.folder)
    figure = make_figure(10, 4)
    axes = figure.subplots(1, 2)
    for axis, quantity in zip(axes, ("loss", "accuracy"), strict=True):
        for stream, color in STREAM_COLORS.items():
            rows = table[table["stream"] == stream]
            for key, style, split in (
                (quantity, "--x", "training"),
                (f"val_{quantity}", "-o", "validation"),
            ):
                if rows[key].notna().any():
                    label = f"{stream}, {split}"
                    axis.plot(rows["epoch"], rows[key], style, ms=4, color=color, label=label)
        axis.set(xlabel="epoch", title=quantity)
        axis.set_xlim(table["epoch"].min() - 0.5, table["epoch"].max() + 0.5)
        axis.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axis.grid(alpha=0.3)
    axes[1].axhline(1 / len(run.signs), color="gray", linestyle=":", label="chance")
    axes[1].set_ylim(-0.02, 1.02)
    figure.legend(*axes[1].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    figure.suptitle(writable(run.folder.name))
    figure.savefig(run.folder / "curves.png", dpi=100)
