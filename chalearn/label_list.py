"""ChaLearn's label lists: one video a row, with its colour file, its depth file and its label.

    train/001/M_00001.avi train/001/K_00001.avi 26

A list says what is true, so a single wrong row stops everything: `read_lists` names them all.
"""

import dataclasses
import gzip
import os
import re
from pathlib import Path

from common.class_list import Sign, read_class_file
from common.dataset import VIDEO_SUFFIXES

LIST_NAMES = {
    "train": ("train.txt", "train_list.txt"),
    "val": ("val.txt", "valid.txt", "valid_list.txt"),
    "test": ("test.txt", "test_list.txt"),
}
MAX_SHOWN_PROBLEMS = 10
CLASS_LABEL = re.compile(r"c\d{3,}")
PROJECT_DATA_SET = Path(__file__).parent.parent / "data_set"
CHALEARN_CLASS_FILE = PROJECT_DATA_SET / "chalearn" / "class.csv"
# ChaLearn's own lists, which come with the project.
CHALEARN_LISTS = {split: PROJECT_DATA_SET / "chalearn" / f"{split}.txt.gz" for split in LIST_NAMES}


@dataclasses.dataclass(frozen=True)
class Row:
    """One video: `colour` and `depth` are paths as listed, `label` is the class folder's name."""

    split: str
    colour: str
    depth: str
    label: str
    where: str

    @property
    def name(self):
        return stem_of(self.colour)


def find_lists(folder):
    """The label lists in `folder`, plain or as .gz, without `CHALEARN_LISTS`: {split: path}.

    Raises:
        ValueError: two lists for one split.
    """
    lists = {}
    for split, names in LIST_NAMES.items():
        names = [name + suffix for name in names for suffix in ("", ".gz")]
        found = [folder / name for name in names if (folder / name).is_file()]
        found = [path for path in found if path.absolute() != CHALEARN_LISTS[split]]
        if len(found) > 1:
            raise ValueError(
                f"{folder} has more than one list for {split}: "
                f"{', '.join(path.name for path in found)}. Keep one."
            )
        if found:
            lists[split] = found[0]
    return lists


def read_lists(lists, labels=None):
    """Reads label lists.

    Args:
        lists: {split: path}, see `find_lists`.
        labels: class folder names (`c026`) that a row may have; by default any.

    Returns:
        (rows, notes): list of `Row` in file order, and what else is worth saying.

    Raises:
        ValueError: rows are wrong; the message names file and line of the first ten, or of one
            where all are.
    """
    rows, notes, problems = {}, [], []
    clips = {}
    for split, path in lists.items():
        for line, text in enumerate(_text_of(path).splitlines(), start=1):
            columns, where = text.split(), f"{path}, line {line}"
            problem = _problem_of_row(columns, labels) if columns else None
            if problem:
                problems.append(f"{where}: {problem}")
            if problem or not columns:
                continue
            colour, depth = map(with_slashes, columns[:2])
            row = Row(split, colour, depth, class_label(columns[2]), where)
            if row.colour in rows:
                repeated, problem = _repeated(row, rows[row.colour])
                notes += [repeated] if repeated else []
            else:
                problem = _taken_name(row, clips)
                rows[row.colour] = row
            problems += [problem] if problem else []
    if problems and not rows:
        names = ", ".join(path.name for path in lists.values())
        raise ValueError(
            f"Not a single row is like those of ChaLearn's lists in {names}. {problems[0]} Lists "
            "of other data sets: see prepare_table.py."
        )
    if problems:
        more = len(problems) - MAX_SHOWN_PROBLEMS
        raise ValueError(
            "the label lists are wrong, nothing was done:\n  "
            + "\n  ".join(problems[:MAX_SHOWN_PROBLEMS])
            + (f"\n  ... and {more:,} more" if more > 0 else "")
        )
    return list(rows.values()), notes


def choose_signs(dataset, source, class_file=None):
    """The signs to take, and the labels that a list may have.

    Args:
        dataset: `dataset.Dataset`; its class.csv is the default, else the project's own.
        source: folder of the lists; a class.csv in it tells their labels. ChaLearn's are known.
        class_file: class.csv with a selection.

    Returns:
        (signs, labels): list of `Sign`, or None for all that are listed; set, or None for any.

    Raises:
        ValueError: a class is not `c` and three digits, or is none of the labels.
    """
    own = [dataset.class_file, PROJECT_DATA_SET / dataset.name / "class.csv"]
    chosen = Path(class_file) if class_file else next(filter(Path.is_file, own), None)
    signs = read_class_file(chosen) if chosen else None
    if class_file and dataset.class_file.is_file() and signs != read_class_file(dataset.class_file):
        raise ValueError(
            f"{dataset.class_file} has other signs than {class_file}. Give the selection a name "
            f"of its own: `--dataset {dataset.name}-some --source {source}`."
        )
    whole = CHALEARN_CLASS_FILE if is_chalearn(dataset) else source / "class.csv"
    labels = {sign.label for sign in read_class_file(whole)} if whole.is_file() else None
    for sign in signs or []:
        if not CLASS_LABEL.fullmatch(sign.label) or (labels and sign.label not in labels):
            raise ValueError(
                f"{chosen}: expected classes such as c026"
                + (f" that {whole} has too" if labels else "")
                + f". Received: {sign.label}"
            )
    return signs, labels


def signs_of(dataset, rows):
    """The signs that the rows have, by label; ChaLearn's with their names."""
    named = read_class_file(CHALEARN_CLASS_FILE) if is_chalearn(dataset) else []
    named = {sign.label: sign for sign in named}
    labels = sorted({row.label for row in rows}, key=lambda label: int(label[1:]))
    return [named.get(label, Sign(label, label)) for label in labels]


def is_chalearn(dataset):
    """Whether it is ChaLearn or, by its name, a part of it."""
    return dataset.name.split("-")[0] == "chalearn"


def class_label(number):
    """Class folder of a label: 26 -> `c026`."""
    return f"c{int(number):03d}"


def name_of(path):
    """`train/001/M_00001.avi` -> `M_00001.avi`; `pathlib` takes seconds for 100,000 of them."""
    return path.rpartition("/")[2]


def stem_of(path):
    return os.path.splitext(name_of(path))[0]


def with_slashes(path):
    """A path of a list or zip that was made on Windows, as everywhere else."""
    return path.replace("\\", "/")


def is_plain(path):
    """Whether a path of a list or zip stays below its folder on every system."""
    path = with_slashes(path)
    return not (path.startswith("/") or ".." in path.split("/") or re.search(r"[:\0]", path))


def _problem_of_row(columns, labels):
    if len(columns) != 3:
        hint = " Lists from before the labels were published have no label." * (len(columns) == 2)
        return (
            "expected three columns: colour file, depth file, label. "
            f"Received {len(columns)}: {' '.join(columns)[:80]}.{hint}"
        )
    colour, depth, label = columns
    for path in (colour, depth):
        name = name_of(path)
        if not is_plain(path):
            return f"the path leads out of the data set: {path}"
        if os.path.splitext(name)[1].lower() not in VIDEO_SUFFIXES:
            return f"expected a video file. Received: {path}"
    if not (label.isascii() and label.isdigit()) or int(label) < 1:
        return f"the label must be a whole number from 1. Received: {label}"
    if labels is not None and class_label(label) not in labels:
        return (
            f"the label must be one of the {len(labels)} in the class list "
            f"({min(labels)} to {max(labels)}). Received: {label}"
        )
    return None


def _repeated(row, first):
    """(note, problem) about a video that is listed before."""
    if (first.split, first.label) == (row.split, row.label):
        return f"{row.where}: {row.colour} is listed before, {first.where}: ignored", None
    return None, (
        f"{row.where}: {row.colour} is {row.label} of {row.split} here, but {first.label} of "
        f"{first.split} in {first.where}."
    )


def _taken_name(row, clips):
    """The problem of two videos of one sign that have one file name."""
    for path in (row.colour, row.depth):
        clip = (row.split, row.label, stem_of(path))
        first_path, first_where = clips.setdefault(clip, (path, row.where))
        if first_where != row.where:
            return (
                f"{row.where}: {path} would become the same clip as {first_path} "
                f"({first_where}): sign and file name are equal."
            )
    return None


def _text_of(path):
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        text = content.decode("utf-8-sig")
    except (gzip.BadGzipFile, EOFError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a readable text list: {error}") from error
    if "\0" in text:
        raise ValueError(f"{path} is not a text file (zero bytes in it).")
    return text
