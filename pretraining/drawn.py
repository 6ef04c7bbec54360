"""The clips of invented signs: which there are, and how they are stored.

data_temp/<name>/<preset>/<split>/s00012/03.npz     one clip: its frames, its flow, its hands

Each holds the JPEGs "rgb" and "flow" of all frames above each other, and float16 "targets" of
`toy.film`. The same seed makes the same bytes.
"""

import dataclasses
import functools
import io
import random
from pathlib import Path

import cv2
import numpy as np

import opticalflow
from common import disk, stage
from common.network_input import quantise_flow
from common.video import JPEG_QUALITY, encode_image
from toy import film

VERSION = 2  # of what is drawn
BLOCK_PX = 16  # of a JPEG: frames are stored in whole blocks, so that none runs into the next
BYTES_PER_CLIP = 130_000


@dataclasses.dataclass(frozen=True)
class Amounts:
    """How much is drawn: `signs` of `clips` each for training, by `people`."""

    signs: int
    clips: int
    people: int


VALIDATION = Amounts(signs=200, clips=2, people=100)  # other signs, other people


@dataclasses.dataclass(frozen=True)
class DrawnClip:
    """One clip of an invented sign; `number` counts from 0 within its sign."""

    seed: int
    split: str
    sign: int
    number: int
    num_people: int

    @property
    def seeds(self):
        """Of the sign, the person, and the clip."""
        rng = random.Random(f"{self.seed} {self.split} {self.sign} {self.number} who")
        person = rng.randrange(self.num_people)
        return (
            f"{self.seed} {self.split} sign {self.sign}",
            f"{self.seed} {self.split} person {person}",
            f"{self.seed} {self.split} {self.sign} {self.number}",
        )

    def place(self):
        return f"{self.split}/s{self.sign:05d}/{self.number:02d}.npz"


def clips_of(split, amounts, seed):
    """List of `DrawnClip`: every sign's first clip, then every sign's second one, and so on."""
    return [
        DrawnClip(seed, split, sign, number, amounts.people)
        for number in range(amounts.clips)
        for sign in range(amounts.signs)
    ]


def folder_of(seed, preset):
    """Where the clips of a seed are kept."""
    return Path("data_temp", f"drawn-seed{seed}", preset.name)


def draw(folder, clips, preset, workers=None, rebuild=False):
    """Draws the clips that are not there yet.

    Args:
        folder: `Path` to write below.
        clips: list of `DrawnClip`.
        preset: `presets.Preset`.
        workers: number of processes, by default one per core.
        rebuild: delete what is there first.

    Returns:
        `stage.Report`.

    Raises:
        ValueError: the folder holds clips that were drawn otherwise.
    """
    how = {"version": VERSION, "num_frames": preset.num_frames, "size": list(preset.frame_size)}
    disk.claim(folder, how, f"python pretrain.py --seed {clips[0].seed}", rebuild)
    work = functools.partial(write_clip, num_frames=preset.num_frames, frame_size=preset.frame_size)
    jobs = [stage.Job(clip, folder / clip.place(), clip.place()) for clip in clips]
    return stage.run("drawing", work, jobs, folder, workers, bytes_per_job=BYTES_PER_CLIP)


def write_clip(clip, partial, num_frames, frame_size):
    """Draws a `DrawnClip` and writes the new file `partial`: the work of `stage.run`."""
    cv2.setNumThreads(1)
    frames, targets = film.film(*clip.seeds, num_frames, frame_size)
    code = _encode(frames, JPEG_QUALITY)
    stored = _decode(code, cv2.IMREAD_COLOR, *frames.shape[:3])
    flow = quantise_flow(opticalflow.frames_to_flow(np.ascontiguousarray(stored)))
    planes = flow.transpose(0, 3, 1, 2).reshape(-1, *frame_size)
    file = io.BytesIO()
    np.savez(
        file,
        rgb=np.frombuffer(code, np.uint8),
        flow=np.frombuffer(_encode(planes, opticalflow.FLOW_JPEG_QUALITY), np.uint8),
        targets=targets.astype(np.float16),
        size=np.array(frame_size),
    )
    partial.write_bytes(file.getvalue())


def read_clip(path, stream):
    """What is stored of one stream of a clip, and what its hands do.

    Returns:
        uint8 frames (BGR) or flow codes, `(num_frames, height, width, channels)`, and float32
        `(num_frames, film.NUM_TARGETS)`.
    """
    with np.load(path) as file:
        targets, size, code = file["targets"].astype(np.float32), file["size"], file[stream]
    if stream == "rgb":
        return _decode(code, cv2.IMREAD_COLOR, len(targets), *size), targets
    planes = _decode(code, cv2.IMREAD_GRAYSCALE, 2 * len(targets), *size)
    return planes.reshape(len(targets), 2, *size).transpose(0, 2, 3, 1), targets


def _encode(pictures, quality):
    more = [-side % BLOCK_PX for side in pictures.shape[1:3]]
    margins = [(0, 0), (0, more[0]), (0, more[1])] + [(0, 0)] * (pictures.ndim - 3)
    padded = np.pad(pictures, margins, mode="edge")
    return encode_image(".jpg", padded.reshape(-1, *padded.shape[2:]), quality)


def _decode(code, flag, number, height, width):
    strip = cv2.imdecode(np.frombuffer(code, np.uint8), flag)
    return strip.reshape(number, -1, *strip.shape[1:])[:, :height, :width]
