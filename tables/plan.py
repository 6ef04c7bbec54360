"""What becomes of the rows of a table: which video goes where, and which rows are wrong."""

import hashlib
import re

from common import class_list, disk, stage
from common.command_line import FORBIDDEN
from tables import columns, videos

ODD = re.compile(rf"[{re.escape(FORBIDDEN)}\x00-\x1f]")
SHARES = {"train": 0.7, "val": 0.15, "test": 0.15}  # of the people, with --split-by signer
REFUSED_DIR = ".refused"  # where what is refused would be, which is never made


class Plan:
    """What becomes of the rows of a table.

    Args:
        dataset: `dataset.Dataset`.
        table: `reading.Table`.
        found: `videos.Videos`.
        named: {role: column} that is known.
        how: {"unit", "transfer", "fps", "split_by"}, see `prepare_table.prepare`.

    Attributes:
        columns: `columns.Columns`.
        jobs: list of `stage.Job`, of `videos.Piece`s.
        refused: the same of wrong rows, which fail.
        signers: {(split, class, video): signer}.
        names: {class folder: name of the sign}, of the rows that are used.
    """

    def __init__(self, dataset, table, found, named, how):
        self._dataset, self._found, self._how = dataset, found, how
        self.columns = columns.guess(table, found.find, named)
        self.jobs, self.refused, self.signers, self.names = [], [], {}, {}
        if how["split_by"] and not self.columns.signer:
            raise ValueError(
                "--split-by signer needs a column that says who signs: --signer-column. There are: "
                f"{', '.join(table.names)}."
            )
        self._splits = self._splits_of_people(table)
        self._unit = how["unit"] or self._guess_unit()
        self._taken, self._labels = {}, {}
        self._first_frame = self._guess_first_frame(table)
        for where, reason in table.faults:
            self._refuse(where, reason)
        for row in table.rows:
            try:
                self._add(row)
            except ValueError as error:
                self._refuse(row.where, str(error))

    def told(self):
        """In words: "path: video, gloss: label"; what start and end count, where there are any."""
        words = self.columns.told()
        if not (self.columns.start or self.columns.end):
            return words
        first = f", the first one is {self._first_frame}" if self._unit == "frames" else ""
        return f"{words} (in {self._unit}{first})"

    def _refuse(self, where, reason):
        target = self._dataset.video_dir / REFUSED_DIR / str(len(self.refused))
        self.refused.append(stage.Job(videos.Refused(reason), target, where))

    def _cell(self, row, role):
        name = getattr(self.columns, role)
        return row.cells[name] if name else ""

    def _add(self, row):
        path = self._path_of(self._cell(row, "video"))
        label = self._folder_of(self._cell(row, "label"))
        signer = self._cell(row, "signer")
        split = self._split_of(row, signer)
        piece = self._piece(path, row)
        name = path.stem if path.is_file() else path.name
        if piece.is_cut:
            name += f"_{self._cell(row, 'start') or 0}-{self._cell(row, 'end') or 'end'}"
        name = ODD.sub("_", class_list.one_line(name)).strip(" .") or "clip"
        place = self._free_place(split, label, name, path, row.where)
        target = self._dataset.video_dir.joinpath(*place[:2], place[2] + piece.suffix)
        told = {"start": piece.start, "end": piece.end, "unit": piece.unit}
        stamp = {**disk.stamp_of(path), **(told if piece.is_cut else {})}
        self.jobs.append(stage.Job(piece, target, f"{row.where}: {path}", stamp))
        self.names[label] = self._labels[label]
        if signer:
            self.signers[place] = signer

    def _free_place(self, split, label, name, path, where):
        """Where a clip goes; the name of its folder is added where another has its name."""
        for free in (name, ODD.sub("_", f"{path.parent.name}_{name}")):
            other_path, other = self._taken.setdefault((split, label, free), (path, where))
            if other is where:
                return split, label, free
            if other_path == path:
                raise ValueError(f"the same clip as in {other}")
        raise ValueError(f"{path} would have the same name as the clip in {other}")

    def _path_of(self, text):
        found = self._found.find(text)
        if not found:
            raise ValueError(f"there is no video {text}" if text else "no video is named")
        if len(found) > 1:
            shown = ", ".join(self._found.place(path) for path in found[:3])
            raise ValueError(f"{text} may be any of {len(found)} videos: {shown}")
        return found[0]

    def _folder_of(self, label):
        """The folder of a sign, whose name in class.csv stays as it is in the table."""
        folder = ODD.sub("_", class_list.one_line(label)).strip(" .")
        if not folder:
            raise ValueError(f"the label {label!r} cannot name a folder" if label else "no label")
        known = self._labels.setdefault(folder, label)
        if known != label:
            raise ValueError(f"the labels {known} and {label} would have the same folder {folder}")
        return folder

    def _split_of(self, row, signer):
        if self._splits:
            if not signer:
                raise ValueError("nobody is named who signs")
            return self._splits[signer]
        if not self.columns.split:
            return "train"
        word = self._cell(row, "split")
        if word.lower() not in columns.SPLITS:
            named = f"{word!r} is no split" if word else "no split is named"
            raise ValueError(f"{named}: train, val or test")
        return columns.SPLITS[word.lower()]

    def _splits_of_people(self, table):
        """{signer: split}: everybody is in one, by a hash of the names; {} where that is not so."""
        if not self._how["split_by"]:
            return {}
        people = {self._cell(row, "signer") for row in table.rows} - {""}
        people = sorted(people, key=lambda name: hashlib.sha256(name.encode()).digest())
        if len(people) < 2:
            raise ValueError(f"--split-by signer needs several people. There is {people}.")
        number = {split: round(share * len(people)) for split, share in SHARES.items()}
        num_test = max(1, number["test"])
        num_val = min(number["val"], len(people) - num_test - 1)
        splits = ["test"] * num_test + ["val"] * num_val
        splits += ["train"] * (len(people) - len(splits))
        return dict(zip(people, splits, strict=True))

    def _guess_unit(self):
        """Frames where the columns say so, else seconds."""
        named = f"{self.columns.start} {self.columns.end}".lower()
        return "frames" if "frame" in named else "seconds"

    def _guess_first_frame(self, table):
        """0 or 1: what the first frame is called where frames are counted."""
        if self._unit != "frames" or not self.columns.start:
            return 0
        starts = {self._cell(row, "start") for row in table.rows}
        return int("1" in starts and "0" not in starts)

    def _piece(self, path, row):
        start, end = (_number(self._cell(row, role), role) for role in ("start", "end"))
        if start is not None and end is not None and end <= start - self._first_frame:
            raise ValueError(f"the end {end:g} is not after the start {start:g}")
        if start is not None:
            start = start - self._first_frame or None
        how = {name: self._how[name] for name in ("transfer", "fps")}
        return videos.Piece(path, start, end, self._unit, **how)


def _number(text, role):
    """A start or end; None where there is none, which below 0 means, too."""
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"the {role} {text} is no number") from None
    is_whole = value < 0 or (role == "start" and value == 0)
    return None if is_whole or value != value else value
