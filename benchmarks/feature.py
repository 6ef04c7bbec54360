"""MobileNet features of stored clips: feature.py's way against one `predict` per frame.

    python -m benchmarks.feature

Both ways read the same drawn clips from their JPEGs and run in turn in one process on one core (on
Linux; elsewhere on one thread of the network), with the same network of random weights. Before
anything is timed, both must give the same features.
"""

import functools
import os
import tempfile
from pathlib import Path

from common import command_line
from common.presets import PRESETS

if hasattr(os, "sched_setaffinity"):  # before TensorFlow counts the cores
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

import numpy as np

from benchmarks.rounds import in_turns, medians, seconds_of
from benchmarks.training import store_clips
from common import network_input
from inference import extractor
from opticalflow import load_clip

STREAM = "rgb"
NUM_CLIPS = {"laptop": 8, "full": 4}  # in one measurement; a multiple of CLIPS_PER_BATCH
WANTED = 3.0
AGREEMENT = 1e-3  # largest difference, in shares of the largest feature


def read(clip, preset):
    """What the network sees of one stored clip."""
    stored = load_clip(STREAM, clip.path)
    return network_input.stream_input(STREAM, stored, *preset.input_size)


def frame_by_frame(network, clips, preset):
    """Features `(clips, frames, features)`, with one `predict` per frame."""
    return np.stack(
        [
            np.concatenate(
                [network.predict(image[None], verbose=0) for image in read(clip, preset)]
            )
            for clip in clips
        ]
    )


def in_batches(network, clips, preset):
    """The same as feature.py computes it."""
    step = extractor.CLIPS_PER_BATCH
    batches = [
        np.stack([read(clip, preset) for clip in clips[first : first + step]])
        for first in range(0, len(clips), step)
    ]
    return np.concatenate([extractor.clip_features(network, batch) for batch in batches])


def compare(preset, rounds):
    """Frames per second of both ways: (one `predict` per frame, batches), medians in turns.

    Raises:
        RuntimeError: they do not give the same features.
    """
    network = extractor.build_network(preset, STREAM, "mobilenet", "none")
    with tempfile.TemporaryDirectory() as folder:
        clips = store_clips(Path(folder), preset, STREAM)[: NUM_CLIPS[preset.name]]
        one, other = (way(network, clips, preset) for way in (frame_by_frame, in_batches))
        difference = np.abs(one - other).max() / np.abs(one).max()
        if not difference <= AGREEMENT:
            raise RuntimeError(f"The two ways differ by {difference:.1e} of the largest feature.")
        measures = {
            way: functools.partial(seconds_of, way, network, clips, preset)
            for way in (frame_by_frame, in_batches)
        }
        seconds = medians(in_turns(measures, rounds))
    num_frames = len(clips) * preset.num_frames
    return num_frames / seconds[frame_by_frame], num_frames / seconds[in_batches]


def main(argv=None):
    parser = command_line.make_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each way")
    rounds = parser.parse_args(argv).rounds
    rows = {name: compare(preset, rounds) for name, preset in PRESETS.items()}
    print(f"\n{'frames per second':20}{'a predict each':>16}{'ours':>8}{'ratio':>8}{'wanted':>8}")
    for name, (slow, quick) in rows.items():
        print(f"{name:20}{slow:16.1f}{quick:8.1f}{quick / slow:8.2f}{WANTED:8.1f}")


if __name__ == "__main__":
    command_line.run(main)
