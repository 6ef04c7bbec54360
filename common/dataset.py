"""Data sets: the folder layout, class lists and splits. The only place that knows a path.

    data_set/<dataset>/class.csv                                  class,name,category
    data_set/<dataset>/clip.csv                                   split,class,video,signer
    data_set/<dataset>/<split>/<class>/<video>.avi|mp4|...        split = train | val | test
    data_temp/<dataset>/<preset>/frame/<split>/<class>/<video>/frame0000.jpg
    data_temp/<dataset>/<preset>/oflow/<split>/<class>/<video>/flow0000.jpg
    data_temp/<dataset>/<preset>/{frame,oflow}-<extractor>/<split>/<class>/<video>.npy
    model/<run>/                                                  see inference/run_folder.py

All paths are relative to the folder that the command is started in. Any folder
`data_set/<name>/train/<class>/` with videos in it is a data set; both `.csv` are optional.
"""

import dataclasses
import difflib
import hashlib
import os
from pathlib import Path

from common.class_list import Sign, read_class_file, same_form
from common.command_line import REQUIRED, Option, number_of, quote, some_of
from common.presets import PRESET, PRESETS

SPLITS = ("train", "val", "test")
OTHER_SPLIT_NAMES = frozenset("dev eval testing training valid validation".split())
BESIDE_SPLITS = frozenset(".csv .gz .json .md .txt".split())  # lists and the like
CHALEARN_ZIPS = ("train", "val", "test", "IsoGD")  # how their names begin; taken from as they are
VIDEO_SUFFIXES = frozenset(
    ".3gp .avi .flv .gif .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .ogv .ts .webm .wmv".split()
)
VAL_FRACTION = 0.2
MIN_CLIPS_TO_SPLIT = 3  # of a sign; with fewer, all are trained on
OPTIONS = {
    "dataset": Option(REQUIRED, "folder below data_set/, or toysigns", metavar="NAME"),
    "preset": PRESET,
    "stored": Option(False, "work with all stored clips, also those whose videos are gone"),
}
_TOLD = set()  # (folder, words) that a person has been told of already


@dataclasses.dataclass(frozen=True, order=True)
class Clip:
    """One video of a data set, or its stored frames or flow, which share its place.

    `path` is the video file, or the folder of JPEGs.
    """

    split: str
    label: str
    name: str
    path: Path

    @property
    def key(self):
        """What tells it from all others of its data set: (split, class, video)."""
        return self.split, self.label, self.name

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
        stored: work with all clips whose frames are stored, also where their videos are gone.

    Raises:
        ValueError: unknown preset, or a name that is no plain folder name.
    """

    def __init__(self, name, preset=None, root=None, presets=PRESETS, stored=False):
        if not name or Path(name).name != name or name.startswith("."):
            raise ValueError(f"--dataset is the name of a folder below data_set/. Received: {name}")
        preset = preset or ("laptop" if name.startswith("toysigns") else "full")
        if preset not in presets:
            raise ValueError(f"--preset is one of {', '.join(presets)}. Received: {preset}")
        self.name = name
        self.preset = presets[preset]
        self.root = Path(root) if root else Path()
        self.stored = stored

    @property
    def video_dir(self):
        return self.root / "data_set" / self.name

    @property
    def class_file(self):
        return self.video_dir / "class.csv"

    @property
    def clip_file(self):
        return self.video_dir / "clip.csv"

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
        stored = " --stored" if self.stored else ""
        return f"--dataset {quote(self.name)}{preset}{stored}"

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

    def has_videos(self):
        """Whether there is a video in a sign's folder."""
        return bool(_clips_below(self.video_dir, _is_video))

    def videos_to_cut(self):
        """`videos`; none where the data set works with what is `stored` and has no video any more.

        Raises:
            FileNotFoundError, ValueError: as `videos`.
        """
        if self.stored and not self.has_videos():
            print(f"No video in {self.video_dir}: what is stored in {self.temp_dir} is used.")
            return []
        return self.videos()

    def left_out(self, videos=None):
        """What is in the folder of videos and is not used: {kind of one, in words: its paths}.

        Args:
            videos: list of `Clip`, all that are used, where that is known.
        """
        if videos is None:
            videos = _clips_below(self.video_dir, _is_video)
        used = {clip.path for clip in videos}
        kinds = {}
        for path in sorted([self.video_dir, *self.video_dir.rglob("*")]):
            place = path.relative_to(self.video_dir)
            is_hidden = any(part.startswith(".") for part in place.parts[:-1])
            if path not in used and not is_hidden and (kind := _why_left_out(path, place.parts)):
                kinds.setdefault(kind, []).append(path)
        return kinds

    def stored_clips(self, stream):
        """The clips whose frames ("rgb") or flow ("flow") are stored, sorted.

        Those whose video is gone are left out, and told once, unless the data set works with all
        that are `stored`.

        Raises:
            FileNotFoundError: there are none.
        """
        folder = self.stored_dir(stream)
        clips = _clips_below(folder, _is_folder)
        if not clips:
            script = {"rgb": "frame.py", "flow": "opticalflow.py"}[stream]
            if not self.video_dir.is_dir() and not self._has_frames():
                raise FileNotFoundError(self._why_no_videos())
            raise FileNotFoundError(
                f"Nothing in {folder} (expected <split>/<class>/<video>/*.jpg). "
                f"Run `python {script} {self.flags()}` first."
            )
        return clips if self.stored else self._with_video(clips, stream)

    def _with_video(self, clips, stream):
        there = {video.key: video for video in _clips_below(self.video_dir, _is_video)}
        if not there:
            raise FileNotFoundError(
                f"No video in {self.video_dir}, but {len(clips)} clips are stored in "
                f"{self.temp_dir}. To work with them as they are, add --stored."
            )
        current = [clip for clip in clips if clip.key in there]
        gone = [clip for clip in clips if clip.key not in there]
        if gone:
            self.tell_once(
                f"Stored clips that are left out, for their videos are gone: {len(gone)}, such as "
                f"{gone[0].place()} (to use them: --stored)."
            )
        if stream == "rgb":
            self._tell_unused(there, current)
        return current

    def _tell_unused(self, videos, clips):
        """Says how many of {key: video} are not among the stored clips, and of which signs none."""
        used = {clip.key for clip in clips}
        unused = [video for key, video in videos.items() if key not in used]
        if unused:
            labels = sorted({video.label for video in unused} - {clip.label for clip in clips})
            none = f" No clip at all of: {some_of(labels)}." if labels else ""
            self.tell_once(
                f"Videos that are not used: {len(unused)}, such as {unused[0].path}; they could "
                f"not be read, or are not cut yet (`python frame.py {self.flags()}` tells).{none}"
            )

    def tell_once(self, words):
        """Prints words about these clips, unless there are none or they were printed already."""
        told = (self.temp_dir.absolute(), words)
        if words and told not in _TOLD:
            _TOLD.add(told)
            print(words)

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

    def _has_frames(self):
        return bool(_clips_below(self.frame_dir, _is_folder))

    def _what_is_there(self):
        left_out = self.left_out() if self.video_dir.is_dir() else {}
        if not left_out:
            return ""
        seen = "; ".join(
            f"{len(paths)} x {kind}, as {paths[0]}" for kind, paths in left_out.items()
        )
        return f"Seen: {seen}. Accepted: {' '.join(sorted(VIDEO_SUFFIXES))}. "

    def _why_no_videos(self):
        prepare = f"python prepare_chalearn.py --dataset {quote(self.name)}"
        if self.name == "toysigns":
            hint = "Run `python toysigns.py`, then `python prepare_chalearn.py --dataset toysigns`."
        elif self.name.startswith("chalearn"):
            hint = f"Run `{prepare}` first."
        else:
            hint = "Put your videos there, or, if it is ChaLearn, run "
            hint += f"`{prepare}`."
        has_stored = not self.stored and self._has_frames()
        if self.video_dir.is_dir() or self.name == "toysigns" or has_stored:
            if has_stored:
                hint += f" To work with the clips that are stored in {self.temp_dir}: --stored."
            return (
                f"No video in {self.video_dir} (expected <split>/<class>/<video>.mp4, "
                f"split = train, val or test). {self._what_is_there()}{hint}"
            )
        known = dataset_names(self.root)
        near = difflib.get_close_matches(self.name, known, cutoff=0.5)
        suggestion = f"Did you mean {' or '.join(near)}? " if near else ""
        prepared = f"{hint} " if self.name.startswith("chalearn") else ""
        there = f"There are: {', '.join(known)}. " if known != ["toysigns"] else ""
        return (
            f"No data set `{self.name}` (no folder {self.video_dir.absolute()}). {suggestion}"
            f"{there}{prepared}To make it, record signs (python videocapture.py "
            f"--dataset {quote(self.name)} --sign hello thanks) or put videos into "
            f"{self.video_dir.as_posix()}/train/<sign>/."
        )


def dataset_names(root=None):
    """Names of the folders below `data_set/`, and the embedded `toysigns`."""
    folder = (Path(root) if root else Path()) / "data_set"
    found = [path.name for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    return sorted({*found, "toysigns"} - {name for name in found if name.startswith(".")})


def print_splits(clips, word):
    """A line per split: how many clips of how many signs; `word` says what they are."""
    for split in SPLITS:
        if labels := [clip.label for clip in clips if clip.split == split]:
            number = number_of(len(labels), word)
            print(f"{split}: {number} of {number_of(len(set(labels)), 'sign')}")


def split_train_val(clips, val_fraction=VAL_FRACTION):
    """Training and validation clips; where no clip is in `val`, some of `train` become it.

    Of every sign with three clips or more, those with the smallest hashes of class and name: at
    least one, and about `val_fraction` of them. So new clips move few old ones.

    Args:
        clips: list of `Clip`, any splits.
        val_fraction: share of validation clips, 0 to 0.5.

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
    chosen = set()
    for group in by_label.values():
        if len(group) >= MIN_CLIPS_TO_SPLIT:
            number = max(1, round(val_fraction * len(group)))
            chosen.update(sorted(group, key=_hash_of_clip)[:number])
    is_val = [clip in chosen for clip in train]
    pairs = list(zip(train, is_val, strict=True))
    return [clip for clip, left in pairs if not left], [clip for clip, left in pairs if left]


def _hash_of_clip(clip):
    """A number in [0, 1) that depends on nothing but the clip's class and name."""
    digest = hashlib.sha256(f"{clip.label}/{clip.name}".encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _clips_below(folder, accept):
    """The clips in `<split>/<class>/`, sorted; what may not be entered is passed over."""
    clips = []
    for split in SPLITS:
        for sign in _entries(folder / split, _is_folder):
            label = same_form(sign.name)
            parent = Path(sign.path)
            for entry in _entries(sign.path, accept):
                path = parent / entry.name
                name = path.stem if accept is _is_video else entry.name
                clips.append(Clip(split, label, same_form(name), path))
    return clips


def _entries(folder, accept):
    """The `os.DirEntry`s of a folder that are accepted and not hidden, by their names.

    Unlike paths they know what they are, which matters for 50,000 of them.
    """
    try:
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if entry.name[0] != "." and accept(entry)]
    except OSError:
        return []
    return sorted(found, key=lambda entry: entry.name)


def _is_folder(entry):
    return entry.is_dir()


def _is_video(entry):
    return os.path.splitext(entry.name)[1].lower() in VIDEO_SUFFIXES and entry.is_file()


def _why_left_out(path, parts):
    """Why a path below the folder of videos is no clip, in words; None for what needs no word."""
    is_video = path.suffix.lower() in VIDEO_SUFFIXES
    if path.name.startswith(".") and parts:
        return "video whose name begins with a dot" if is_video and path.is_file() else None
    if os.path.isdir(path):
        return _why_folder_left_out(path, parts)
    if os.path.islink(path) and not os.path.exists(path):
        return "dead link"
    if not os.path.exists(path):
        return None  # its folder, which may not be entered, has a word of its own
    if not os.path.isfile(path):
        return "no ordinary file"
    if path.suffix.lower() == ".zip":
        is_known = len(parts) == 1 and path.name.startswith(CHALEARN_ZIPS)
        return None if is_known else "zip, which is not unpacked"
    if len(parts) == 1 and path.suffix.lower() in BESIDE_SPLITS:
        return None
    if parts[0] not in SPLITS and parts[0].lower() in (*OTHER_SPLIT_NAMES, *SPLITS):
        return f"in a folder {parts[0]}, not {', '.join(SPLITS[:-1])} or {SPLITS[-1]}"
    if not is_video:
        return "no video by its ending"
    if parts[0] in SPLITS and len(parts) > 3:
        return "in a folder one level too deep"
    if parts[0] not in SPLITS and len(parts) == 2:
        return "in a sign folder that belongs into train/"
    return "video outside <split>/<sign>/"


def _why_folder_left_out(folder, parts):
    if not os.access(folder, os.R_OK | os.X_OK):
        return "folder that may not be read"
    is_sign = len(parts) == 2 and parts[0] in SPLITS
    if is_sign and not any(_is_visible_file(item) for item in folder.rglob("*")):
        return "sign folder without a file"
    return None


def _is_visible_file(path):
    return os.path.isfile(path) and not path.name.startswith(".")


def _refuse_same_names(videos):
    seen = {}
    for video in videos:
        other = seen.setdefault(video.key, video)
        if other is not video:
            paths = str(other.path), str(video.path)
            look_alike = same_form(paths[0]) == same_form(paths[1])
            shown = map(ascii, paths) if look_alike else paths
            raise ValueError(f"{' and '.join(shown)} would become the same clip. Rename one.")
