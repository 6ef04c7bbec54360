"""Stage 5 of 5, from a shell: name the sign in recorded videos.

    python predict.py hello.mp4
    python predict.py --model model/<run> --json clips/*.mp4 folder_of_images

reads   model/<run>/ (the newest one by default), video files, folders of images or of videos
prints  the most probable signs, fused and per stream
"""

from common import command_line  # isort: split

import collections
import copy
import dataclasses
import json
import os
import sys
import warnings

import numpy as np

import opticalflow
from common import dataset as data
from common import network_input
from common.command_line import COUNT, Option, expanded, number_of, telling
from common.video import IMAGE_SUFFIXES, fit_frame, read_clip, sample_indices
from inference import run_folder
from inference.engine import ENGINES, open_networks

FUSION_WEIGHTS = np.linspace(0.025, 0.975, 39)
UNKNOWN = 0.5  # probability from which on a clip shows none of the known signs
OPTIONS = {
    "model": run_folder.MODEL_OPTION,
    "engine": Option("auto", "what computes the networks", choices=ENGINES),
}


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a clip shows.

    `ranking` is [(class, name, probability)], best first, of the fused streams; `streams` has each
    stream's probabilities in class order. `unknown` is the probability of none of these signs;
    only runs of train_nearest.py know it, networks always name a sign.
    """

    ranking: list
    streams: dict
    unknown: float = 0.0

    def is_sure(self, threshold):
        """Whether one sign is named: its probability is not below `threshold`."""
        is_named = bool(self.ranking) and self.ranking[0][2] >= threshold
        return is_named and not self.is_unknown

    @property
    def is_unknown(self):
        """Whether it is more probable that this is no known sign than that it is one of them."""
        return self.unknown > UNKNOWN

    def to_dict(self):
        """Plain lists and dicts, for JSON."""
        return {
            "ranking": [
                {"class": label, "name": name, "probability": probability}
                for label, name, probability in self.ranking
            ],
            "streams": self.streams,
            "unknown": self.unknown,
        }


class Recognizer:
    """Frames in, ranked signs out.

    Args:
        run_dir: folder of a trained run, or its name below `model/`; by default the newest one.
        engine: what computes the networks, one of `ENGINES`: "auto" is "openvino" where it can be
            used, else "keras"; "int8" are the 8-bit networks that export.py makes.
        stepwise: for clips that come from a camera: of a large I3D, OpenVINO computes what it can
            while the frames arrive.

    Attributes:
        run: `run_folder.Run`.
        streams: list of "rgb", "flow", or one of them.
        engine: what is used: "openvino", "keras" or "int8".
        engine_note: why "auto" did not choose OpenVINO, else "".

    Raises:
        FileNotFoundError: no run there, none of its networks, or "int8" and no 8-bit ones.
        ValueError: unknown engine; a network that is unsafe, damaged or does not fit run.json; or
            "openvino" or "int8", and OpenVINO is missing or cannot take a network.
    """

    def __init__(self, run_dir=None, engine="auto", stepwise=False):
        if engine not in ENGINES:
            raise ValueError(f"engine is one of {', '.join(ENGINES)}. Received: {engine}")
        self.run = run_folder.Run.read(run_folder.find(run_dir))
        self.streams = self.run.streams
        if not self.streams:
            raise FileNotFoundError(
                f"{self.run.folder} has no network yet. Its training is unfinished."
            )
        self.engine, self.engine_note, self.networks = open_networks(self.run, engine, stepwise)

    @classmethod
    def of(cls, run, networks):
        """A recognizer of a run that need not lie on disk, and of its networks by stream."""
        recognizer = cls.__new__(cls)
        recognizer.run, recognizer.networks = run, networks
        recognizer.streams = list(networks)
        recognizer.engine, recognizer.engine_note = run.architecture, ""
        return recognizer

    def predict(self, frames):
        """Recognises one clip.

        Args:
            frames: uint8 BGR, `(any number, any height, any width, 3)`, evenly spaced in time.

        Returns:
            `Answer`.

        Raises:
            ValueError: `frames` has another dtype or shape, or is empty.
        """
        frames = np.asarray(frames)
        if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8 or not len(frames):
            raise ValueError(
                "Expected uint8 BGR frames of shape (number, height, width, 3). "
                f"Received: {frames.dtype} of shape {frames.shape}"
            )
        clip = self.stream(len(frames))
        for image in frames:
            clip.add(image)
        return clip.answer()

    def stream(self, num_frames):
        """A clip whose frames arrive one by one; what can be done before the last one is done.

        Args:
            num_frames: number of frames that will arrive.

        Returns:
            `ClipStream`.
        """
        return ClipStream(self, num_frames)

    def probabilities(self, stream, inputs):
        """One network's answer.

        Args:
            stream: one of `self.streams`.
            inputs: float32 `(batch, num_frames, height, width, channels)` of `network_input`.

        Returns:
            float32 `(batch, num_classes)`.
        """
        return self.networks[stream](inputs)

    def fuse(self, streams):
        """The fused probabilities of one or more clips.

        Args:
            streams: {stream: float `(..., num_classes)`}, one or both streams.

        Returns:
            float `(..., num_classes)`.
        """
        return fuse(streams, self.run.fusion_weight)


class ClipStream:
    """Made by `Recognizer.stream`."""

    def __init__(self, recognizer, num_frames):
        preset = recognizer.run.preset
        picked = sample_indices(num_frames, preset.num_frames)
        self.newest_flow = None  # of the newest frame, as `FlowStream.next` gives it
        self._recognizer = recognizer
        self._frame_size = preset.frame_size
        self._times_used = collections.Counter(picked)
        self._num_frames = num_frames
        self._num_added = 0
        self._clips = {stream: network.clip() for stream, network in recognizer.networks.items()}
        self._flow_stream = None
        if "flow" in recognizer.streams:
            self._flow_stream = opticalflow.FlowStream(recognizer.run.flow["algorithm"])

    def add(self, image):
        """Takes the next frame, uint8 BGR `(any height, any width, 3)`."""
        times_used = self._times_used[self._num_added]
        self._num_added += 1
        if not times_used:
            return
        image = fit_frame(image, *self._frame_size)
        for _ in range(times_used):
            if self._flow_stream:
                self.newest_flow = self._flow_stream.next(image)
            for stream, clip in self._clips.items():
                clip.add(self._input(stream, {"rgb": image, "flow": self.newest_flow}[stream]))

    def slide(self):
        """Forgets the oldest frame, for a window that moves on; one more can be added then.

        Only where the network takes as many frames as the clip has. The flow of the frame that is
        now the first is zero, as in every clip.
        """
        self._num_added -= 1
        for stream, clip in self._clips.items():
            is_flow = stream == "flow"
            clip.slide(self._input(stream, np.zeros_like(self.newest_flow)) if is_flow else None)

    def copy(self):
        """A clip with the same frames that `answer` can be asked of while this one goes on."""
        other = copy.copy(self)
        other._clips = {stream: clip.copy() for stream, clip in self._clips.items()}
        return other

    def features(self):
        """{stream: what is kept of its frames}, of networks that look at every frame by itself."""
        return {stream: clip.features() for stream, clip in self._clips.items()}

    def answer(self):
        """The `Answer` to all frames.

        Raises:
            ValueError: not all of them have arrived.
        """
        if self._num_added != self._num_frames:
            raise ValueError(f"{self._num_added} of {self._num_frames} frames have arrived.")
        recognizer = self._recognizer
        streams = {stream: self._clips[stream].probabilities() for stream in recognizer.streams}
        fused = recognizer.fuse(streams)
        signs = recognizer.run.signs
        ranking = [
            (signs[i].label, signs[i].name, float(fused[i]))
            for i in np.argsort(-fused, kind="stable")
        ]
        unknown = round(max(0.0, 1.0 - float(fused.sum())), 4)  # of networks, 0
        per_stream = {stream: scores.tolist() for stream, scores in streams.items()}
        return Answer(ranking, per_stream, unknown)

    def _input(self, stream, content):
        """What the network sees of one frame or its flow."""
        size = self._recognizer.run.preset.input_size
        return network_input.stream_input(stream, content[None], *size)[0]


def fuse(streams, weight):
    """The weighted mean of both streams' probabilities; a single stream stays as it is.

    Args:
        streams: {"rgb" | "flow": float `(..., num_classes)`}.
        weight: share of the RGB stream, 0 to 1.
    """
    if len(streams) == 1:
        return next(iter(streams.values()))
    return weight * streams["rgb"] + (1 - weight) * streams["flow"]


def choose_fusion_weight(streams, classes):
    """The share of the RGB stream, by how many clips each share gets right.

    A mean of `FUSION_WEIGHTS`, in which a weight w counts as w (1 - w) exp(clips right). So a few
    clips that cannot tell leave both streams in, a stream that is right less often gets less, and
    many clips decide.

    Args:
        streams: {"rgb", "flow": float `(num_clips, num_classes)`}.
        classes: int `(num_clips,)`.

    Returns:
        float in (0, 1).
    """
    hits = np.array(
        [np.sum(fuse(streams, weight).argmax(axis=1) == classes) for weight in FUSION_WEIGHTS]
    )
    counts = FUSION_WEIGHTS * (1 - FUSION_WEIGHTS) * np.exp(hits - hits.max())
    return float(round(np.average(FUSION_WEIGHTS, weights=counts), 2))


def find_clips(paths):
    """Video files and image folders among `paths`; of folders with videos, the videos below them.

    `~` and patterns such as `*.mp4` are expanded where the shell did not. Names that begin with a
    dot are skipped. Other files in a folder, such as pictures beside videos, are told and not used.

    Raises:
        FileNotFoundError: a path does not exist, or holds neither images nor videos.
    """
    clips = []
    for path in [found for wanted in paths for found in _expand(wanted)]:
        clips += _clips_of_folder(path) if path.is_dir() else [path]
    return clips


def _clips_of_folder(folder):
    if not os.access(folder, os.R_OK | os.X_OK):
        raise PermissionError(f"The folder {folder} may not be read.")
    below = sorted(folder.rglob("*"))
    files = [item for item in below if item.is_file() and not _is_hidden(item, folder)]
    videos = [item for item in files if item.suffix.lower() in data.VIDEO_SUFFIXES]
    images = [item for item in files if item.parent == folder and _is_image(item)]
    used, kind = (videos, "videos") if videos else (images, "pictures")
    if not used:
        seen = number_of(len(files), "file") + (f", such as {files[0]}" if files else "")
        raise FileNotFoundError(
            f"Neither images nor videos in the folder {folder}. Seen: {seen}. "
            f"Accepted: videos ({_listed(data.VIDEO_SUFFIXES)}), at any depth, or images "
            f"({_listed(IMAGE_SUFFIXES)}) that lie in the folder itself."
        )
    unused = sorted(set(files) - set(used))
    if unused:
        number, verb = number_of(len(unused), "file"), "is" if len(unused) == 1 else "are"
        words = f"{number} beside the {kind} {verb} not used, such as {unused[0]}"
        print(f"warning: {words}", file=sys.stderr)
    return videos or [folder]


def _listed(suffixes):
    return " ".join(sorted(suffixes))


def _expand(path):
    found = expanded(path)
    if not found:
        raise FileNotFoundError(f"No file or folder {path}.")
    return found


def _is_hidden(item, folder):
    return any(part.startswith(".") for part in item.relative_to(folder).parts)


def _is_image(item):
    return item.suffix.lower() in IMAGE_SUFFIXES


def engine_text(recognizer):
    """The engine that a recognizer uses and, in brackets, why it is not the fastest."""
    note = f" ({recognizer.engine_note})" if recognizer.engine_note else ""
    return f"{recognizer.engine}{note}"


def print_answer(path, answer, labels, num_shown):
    """A line per sign: fused probability, then each stream's."""
    print(path)
    for label, name, probability in answer.ranking[:num_shown]:
        per_stream = "  ".join(
            f"{stream} {100 * scores[labels.index(label)]:5.1f} %"
            for stream, scores in answer.streams.items()
        )
        print(f"  {100 * probability:5.1f} %  {name:24} {per_stream}")
    if answer.unknown:
        print(f"  {100 * answer.unknown:5.1f} %  (none of these)")


def main(argv=None):
    parser = command_line.make_parser(__doc__)
    parser.add_argument("clips", nargs="+", metavar="CLIP", help="video file or folder")
    command_line.add_flags(parser, OPTIONS)
    parser.add_argument("--top", type=COUNT, default=5, help="signs shown, default 5")
    parser.add_argument("--json", action="store_true", help="a JSON object per clip and line")
    args = parser.parse_args(argv)
    clips = find_clips(args.clips)
    recognizer = Recognizer(args.model, args.engine)
    preset = recognizer.run.preset
    print(f"model: {recognizer.run.title}", file=sys.stderr)
    print(f"engine: {engine_text(recognizer)}", file=sys.stderr)
    warnings.showwarning = lambda message, *_: print(f"warning: {message}", file=sys.stderr)
    failed = 0
    for path in clips:
        try:
            with telling(f"{path}: being looked at ..."):
                frames = read_clip(path, preset.num_frames, *preset.frame_size)
                answer = recognizer.predict(frames)
        except (OSError, ValueError) as error:
            print(f"failed: {path}: {error}", file=sys.stderr)
            failed += 1
            continue
        if args.json:
            print(json.dumps({"clip": str(path), **answer.to_dict()}), flush=True)
        else:
            print_answer(path, answer, recognizer.run.labels, args.top)
    return 1 if failed else 0


if __name__ == "__main__":
    command_line.run(main, goes_on="")
