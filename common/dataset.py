"""Data sets: the folder layout, class lists and splits. The only place that knows a path.

    data_set/<dataset>/class.csv                                  class,name,category
    data_set/<dataset>/<split>/<class>/<video>.avi|mp4|...        split = train | val | test
    data_temp/<dataset>/<preset>/frame/<split>/<class>/<video>/frame0000.jpg
    data_temp/<dataset>/<preset>/oflow/<split>/<class>/<video>/flow0000.jpg
    data_temp/<dataset>/<preset>/{frame,oflow}-<extractor>/<split>/<class>/<video>.npy
    model/<run>/                                                  see run_folder.py

All paths are relative to the folder that the command is started in. Any folder
`data_set/<name>/train/<class>/` with videos in it is a data set; `class.csv` is optional.
"""

import csv
import dataclasses
import difflib
import hashlib
import io
from pathlib import Path

from common import disk
from common.command_line import REQUIRED, Option, quote
from common.presets import PRESET, PRESETS

SPLITS = ("train", "val", "test")
VIDEO_SUFFIXES = frozenset(
    ".3gp .avi .flv .m4v .mkv .mov .mp4 .mpeg .mpg .mts .ogv .ts .webm .wmv".split()
)
VAL_FRACTION = 0.2
OPTIONS = {
    "dataset": Option(REQUIRED, "folder below data_set/, or toysigns", metavar="NAME"),
    "preset": PRESET,
}


@dataclasses.dataclass(frozen=True)
class Sign:
    """One class: `label` is its folder name and class id, `name` what a person reads."""

    label: str
    name: str
    category: str = ""


@dataclasses.dataclass(frozen=True, order=True)
class Clip:
    """One video of a data set, or its stored frames or flow, which share its place.

    `path` is the video file, or the folder of JPEGs.
    """

    split: str
    label: str
    name: str
    path: Path

    def place(self):
        """`<split>/<class>/<video>`, below `frame_dir`, `flow_dir` or any feature folder."""
        return Path(self.split, self.label, self.name)


class Dataset:
    """One data set at one preset.

    Args:
        name: folder below `data_set/`.
        preset: a key of `PRESETS`; by default `laptop` for toysigns and `full` for all others.
        root: the folder that holds `data_set/` and `data_temp/`.
        presets: what `preset` is looked up in: `PRESETS` or `MOBILE_LSTM_PRESETS`.

    Raises:
        ValueError: unknown preset, or a name that is no plain folder name.
    """

    def __init__(self, name, preset=None, root=None, presets=PRESETS):
        if not name or Path(name).name != name or name.startswith("."):
            raise ValueError(f"--dataset is the name of a folder below data_set/. Received: {name}")
        preset = preset or ("laptop" if name.startswith("toysigns") else "full")
        if preset not in presets:
            raise ValueError(f"--preset is one of {', '.join(presets)}. Received: {preset}")
        self.name = name
        self.preset = presets[preset]
        self.root = Path(root) if root else Path()

    @property
    def video_dir(self):
        return self.root / "data_set" / self.name

    @property
    def class_file(self):
        return self.video_dir / "class.csv"

    @property
    def temp_dir(self):
        return self.root / "data_temp" / self.name / self.preset.name

    @property
    def frame_dir(self):
        return self.temp_dir / "frame"

    @property
    def flow_dir(self):
        return self.temp_dir / "oflow"

    def stored_dir(self, stream):
        """The folder that the network of `stream` ("rgb" or "flow") is trained on."""
        return {"rgb": self.frame_dir, "flow": self.flow_dir}[stream]

    def feature_dir(self, stream, extractor):
        """The folder with what an extractor sees in the clips of `stream`."""
        stored = self.stored_dir(stream)
        return stored.with_name(f"{stored.name}-{extractor}")

    def frame_parameters(self):
        """What the content of `frame_dir` depends on."""
        height, width = self.preset.frame_size
        return {"num_frames": self.preset.num_frames, "height": height, "width": width}

    def flags(self):
        """The flags that name this data set in a command to type."""
        is_default = Dataset(self.name).preset.name == self.preset.name
        preset = "" if is_default else f" --preset {self.preset.name}"
        return f"--dataset {quote(self.name)}{preset}"

    def videos(self):
        """All videos, sorted.

        Raises:
            FileNotFoundError: the data set has no video; the message names what is there.
            ValueError: two videos of one sign differ in their extension only.
        """
        videos = _clips_below(self.video_dir, _is_video)
        if not videos:
            raise FileNotFoundError(self._why_no_videos())
        _refuse_same_names(videos)
        return videos

    def stored_clips(self, stream):
        """The clips whose frames ("rgb") or flow ("flow") are stored, sorted.

        Raises:
            FileNotFoundError: there are none.
        """
        folder = self.stored_dir(stream)
        clips = _clips_below(folder, Path.is_dir)
        if not clips:
            script = {"rgb": "frame.py", "flow": "opticalflow.py"}[stream]
            if not self.video_dir.is_dir():
                raise FileNotFoundError(self._why_no_videos())
            raise FileNotFoundError(
                f"Nothing in {folder} (expected <split>/<class>/<video>/*.jpg). "
                f"Run `python {script} {self.flags()}` first."
            )
        return clips

    def refuse_if_unknown(self):
        """Raises FileNotFoundError where there are neither videos of this name nor stored clips."""
        if not self.temp_dir.is_dir() and not self.video_dir.is_dir():
            raise FileNotFoundError(self._why_no_videos())

    def signs(self, labels):
        """The signs with these labels, in the order of class.csv, else of their names.

        Args:
            labels: iterable of class folder names.

        Returns:
            list of `Sign`.

        Raises:
            ValueError: class.csv exists and lacks one of the labels, or is malformed.
        """
        labels = sorted(set(labels))
        if not self.class_file.is_file():
            return [Sign(label, label) for label in labels]
        listed = read_class_file(self.class_file)
        unknown = sorted(set(labels) - {sign.label for sign in listed})
        if unknown:
            raise ValueError(
                f"{self.class_file} lists no {', '.join(unknown[:5])}, but there are folders of "
                f"that name. Add a line `{unknown[0]},<name>,` to it, or delete the folder."
            )
        return [sign for sign in listed if sign.label in labels]

    def _why_no_videos(self):
        prepare = f"python prepare_chalearn.py --dataset {quote(self.name)}"
        if self.name == "toysigns":
            hint = "Run `python toysigns.py`, then `python prepare_chalearn.py --dataset toysigns`."
        elif self.name.startswith("chalearn"):
            hint = f"Run `{prepare}` first."
        else:
            hint = "Put your videos there, or, if it is ChaLearn, run "
            hint += f"`{prepare}`."
        if self.video_dir.is_dir() or self.name == "toysigns":
            return (
                f"No video in {self.video_dir} (expected <split>/<class>/<video>.mp4, "
                f"split = train, val or test). {hint}"
            )
        known = dataset_names(self.root)
        near = difflib.get_close_matches(self.name, known, cutoff=0.5)
        suggestion = f"Did you mean {' or '.join(near)}? " if near else ""
        return (
            f"No data set `{self.name}` (no folder {self.video_dir}). {suggestion}"
            f"There are: {', '.join(known)}."
        )


def dataset_names(root=None):
    """Names of the folders below `data_set/`, and the embedded `toysigns`."""
    folder = (Path(root) if root else Path()) / "data_set"
    found = [path.name for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    return sorted({*found, "toysigns"} - {name for name in found if name.startswith(".")})


def read_class_file(path):
    """Reads a class.csv.

    Returns:
        list of `Sign`, in file order.

    Raises:
        ValueError: wrong columns, an empty or repeated class; the message has file and line.
    """
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.reader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is no readable CSV file in UTF-8: {error}") from error
    if not rows or [cell.strip() for cell in rows[0][:2]] != ["class", "name"]:
        raise ValueError(
            f"{path}, line 1: expected the header class,name,category. "
            f"Received: {','.join(rows[0]) if rows else 'an empty file'}"
        )
    signs = {}
    for line, row in enumerate(rows[1:], start=2):
        if not any(cell.strip() for cell in row):
            continue
        cells = [cell.strip() for cell in row] + ["", ""]
        if not cells[0] or len(row) > 3:
            raise ValueError(f"{path}, line {line}: expected class,name,category. Received: {row}")
        if cells[0] in signs:
            raise ValueError(f"{path}, line {line}: class {cells[0]} is listed twice.")
        signs[cells[0]] = Sign(cells[0], cells[1] or cells[0], cells[2])
    return list(signs.values())


def write_class_file(path, signs):
    """Writes `signs` to a class.csv, in their order."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["class", "name", "category"])
    writer.writerows([sign.label, sign.name, sign.category] for sign in signs)
    disk.write_atomically(Path(path), text.getvalue())


def split_train_val(clips, val_fraction=VAL_FRACTION):
    """Training and validation clips; where no clip is in `val`, some of `train` become it.

    A clip goes by the hash of its class and name, so that new clips move no old ones. A sign whose
    clips would all be validation clips keeps the one with the largest hash for training.

    Args:
        clips: list of `Clip`, any splits.
        val_fraction: expected share of validation clips, 0 to 0.5.

    Returns:
        (train, val), two lists of `Clip`.
    """
    train = [clip for clip in clips if clip.split == "train"]
    val = [clip for clip in clips if clip.split == "val"]
    if val or not val_fraction:
        return train, val
    by_label = {}
    for clip in train:
        by_label.setdefault(clip.label, []).append(clip)
    kept = {max(group, key=_hash_of_clip) for group in by_label.values()}
    val = [clip for clip in train if _hash_of_clip(clip) < val_fraction and clip not in kept]
    chosen = set(val)
    return [clip for clip in train if clip not in chosen], val


def _hash_of_clip(clip):
    """A number in [0, 1) that depends on nothing but the clip's class and name."""
    digest = hashlib.sha256(f"{clip.label}/{clip.name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _clips_below(folder, accept):
    clips = []
    for split in SPLITS:
        for path in sorted(folder.glob(f"{split}/*/*")):
            if accept(path) and not path.name.startswith(".") and path.parent.name[0] != ".":
                name = path.name if path.is_dir() else path.stem
                clips.append(Clip(split, path.parent.name, name, path))
    return clips


def _is_video(path):
    return path.suffix.lower() in VIDEO_SUFFIXES and path.is_file()


def _refuse_same_names(videos):
    seen = {}
    for video in videos:
        other = seen.setdefault(video.place(), video)
        if other is not video:
            raise ValueError(
                f"{other.path} and {video.path.name} would become the same clip. Rename one."
            )
