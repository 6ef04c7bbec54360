"""What the columns of a table mean, by their names and their content."""

import dataclasses

SPLIT_WORDS = {
    "train": ("train", "training", "tr"),
    "val": ("val", "valid", "validation", "dev", "eval"),
    "test": ("test", "testing", "te"),
}
SPLITS = {word: split for split, words in SPLIT_WORDS.items() for word in words}
NAMES = {
    "label": ("label", "gloss", "sign", "class", "word", "labels", "class_name", "sign_name",
              "class_id", "sign_id", "category", "text", "name"),
    "split": ("split", "set", "subset", "partition", "fold"),
    "signer": ("signer", "signer_id", "person", "person_id", "subject", "subject_id", "user",
               "participant", "participant_id"),
    "start": ("start", "frame_start", "start_frame", "start_time", "begin", "start_sec"),
    "end": ("end", "frame_end", "end_frame", "end_time", "stop", "end_sec"),
}  # fmt: skip
ROLES = ("video", *NAMES)


@dataclasses.dataclass(frozen=True)
class Columns:
    """The name of each column, or None where there is none."""

    video: str
    label: str
    split: str | None = None
    signer: str | None = None
    start: str | None = None
    end: str | None = None

    def told(self):
        """In words: "path: video, gloss: label"."""
        given = [(getattr(self, role), role) for role in ROLES]
        return ", ".join(f"{name}: {role}" for name, role in given if name)


def guess(table, find, named):
    """The columns of a table.

    Args:
        table: `reading.Table`.
        find: function of a text: whether it names a video.
        named: {role: name of its column} of what is known.

    Returns:
        `Columns`.

    Raises:
        ValueError: a column is not there, or none can be taken for video or label.
    """
    for role, name in named.items():
        if name not in table.names:
            raise ValueError(
                f"There is no column {name} for --{role}-column. There are: "
                f"{', '.join(table.names)}."
            )
    chosen = dict(named)
    for role in ("split", "signer", "start", "end"):
        if role not in chosen and (name := _by_name(table, role, chosen)):
            chosen[role] = name
    if "split" not in chosen and (name := _by_words(table, chosen)):
        chosen["split"] = name
    if "video" not in chosen:
        chosen["video"] = of_videos(table, find, chosen)
    if "label" not in chosen:
        chosen["label"] = _by_name(table, "label", chosen) or _of_labels(table, chosen)
    return Columns(**chosen)


def _free(table, chosen):
    return [name for name in table.names if name not in dict(chosen).values()]


def _by_name(table, role, chosen):
    free = {name.lower(): name for name in _free(table, chosen)}
    return next((free[name] for name in NAMES[role] if name in free), None)


def _by_words(table, chosen):
    """A column of which every cell is the name of a split."""
    for name in _free(table, chosen):
        if all(row.cells[name].lower() in SPLITS for row in table.rows):
            return name
    return None


def of_videos(table, find, chosen=()):
    """The column of which most cells name a video that is there.

    Args:
        table, find: as in `guess`.
        chosen: {role: column} of those that are something else.

    Raises:
        ValueError: there is none.
    """
    found = {
        name: sum(bool(find(row.cells[name])) for row in table.rows)
        for name in _free(table, chosen)
    }
    best = max(found, key=found.get, default=None)
    if best is None or not found[best]:
        raise ValueError(
            f"No column names videos that are there. Columns: {', '.join(table.names)}; the first "
            f"row: {table.rows[0].cells}. Name their folder with --videos, and the column with "
            "--video-column."
        )
    return best


def _of_labels(table, chosen):
    """The column with the fewest different cells, of those that repeat."""
    kinds = {
        name: len({row.cells[name] for row in table.rows})
        for name in _free(table, chosen)
        if any(row.cells[name] for row in table.rows)
    }
    several = {name: number for name, number in kinds.items() if number > 1} or kinds
    if not several:
        raise ValueError(
            f"No column can be the label. Columns: {', '.join(table.names)}. Name it: "
            "--label-column."
        )
    return min(several, key=several.get)
