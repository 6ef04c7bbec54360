"""How fast frames are cut, against reading every frame, resizing it and picking afterwards.

    python -m benchmarks.frames [CLIP ...]

Both ways hand over the picked frames, which the stage then encodes. They run in turn in one process
on one core, by that process's processor time, which other programs disturb less; then the stage
runs with one and with two workers, by the clock, which needs two idle cores. Without arguments the
clips are made: one of toysigns, which is packed as ChaLearn's are (240x320, 10 fps, XVID), 480p and
720p at 30 fps. Before anything is timed, both ways must pick the same frames.
"""

import functools
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

import frame
import toysigns
from benchmarks.flow import machine_gain
from benchmarks.rounds import in_turns, medians, seconds_of
from common import command_line
from common import dataset as data
from common.video import fit_frame, open_video, pick_frames, sample_indices
from toy import scene

NUM_FRAMES, HEIGHT, WIDTH = 40, 240, 320
CLIP_SIZES = {"480p": (480, 640), "720p": (720, 1280)}
CLIP_FRAMES, CLIP_FPS = 150, 30
WANTED_CHALEARN, WANTED = 1.3, 2.0
ROUNDS = 15
STAGE_CLIPS = 120
STAGE_ROUNDS = 3


def read_all_then_pick(path, take):
    """The plain way: decode and resize every frame, keep them all, pick at the end."""
    frames = []
    with open_video(path) as video:
        while True:
            decoded, image = video.read()
            if not decoded:
                break
            frames.append(fit_frame(image, HEIGHT, WIDTH))
    for number, index in enumerate(sample_indices(len(frames), NUM_FRAMES)):
        take([number], frames[index])


def pick_at_once(path, take):
    """The project's way."""
    pick_frames(path, NUM_FRAMES, HEIGHT, WIDTH, take)


def picked(way, path):
    """All that a way hands over, `(NUM_FRAMES, HEIGHT, WIDTH, 3)`."""
    clip = np.zeros((NUM_FRAMES, HEIGHT, WIDTH, 3), np.uint8)
    way(path, clip.__setitem__)
    return clip


def make_clips(folder):
    """{name: (path, wanted ratio)} of the clips that are timed by default."""
    chalearn_like = folder / "toysigns.avi"
    colour, _ = toysigns.render_clip("wave", signer_seed=0, clip_seed=0)
    scene.write_video(chalearn_like, colour)
    clips = {f"ChaLearn-like, {len(colour)} frames": (chalearn_like, WANTED_CHALEARN)}
    for name, size in CLIP_SIZES.items():
        path = folder / f"{name}.mp4"
        make_clip(path, *size)
        clips[f"{name}, {CLIP_FRAMES} frames"] = (path, WANTED)
    return clips


def make_clip(path, height, width):
    """A clip of moving noise over a gradient, which costs a decoder about what a real one does."""
    random = np.random.default_rng(0)
    ground = np.linspace(40, 200, width, dtype=np.uint8)[None, :, None].repeat(height, axis=0)
    ground = cv2.add(ground.repeat(3, axis=2), random.integers(0, 30, (height, width, 3), np.uint8))
    patch = cv2.resize(random.integers(0, 255, (20, 20, 3), np.uint8), (height // 3, height // 3))
    fourcc = cv2.VideoWriter_fourcc(*"mp4v")
    writer = cv2.VideoWriter(str(path), fourcc, CLIP_FPS, (width, height))
    for number in range(CLIP_FRAMES):
        image = np.roll(ground, number, axis=1)
        left = int((width - height // 3) * (0.5 + 0.5 * np.sin(number / 9)))
        image[height // 3 : height // 3 * 2, left : left + height // 3] = patch[: height // 3]
        writer.write(image)
    writer.release()


def compare(path):
    """(processor seconds of the plain way, seconds of ours): medians over interleaved rounds."""
    if not np.array_equal(*(picked(way, path) for way in (read_all_then_pick, pick_at_once))):
        raise ValueError(f"{path}: the two ways do not pick the same frames.")
    measures = {
        way: functools.partial(
            seconds_of, way, path, lambda numbers, image: None, clock=time.process_time
        )
        for way in (read_all_then_pick, pick_at_once)
    }
    seconds = medians(in_turns(measures, ROUNDS))
    return seconds[read_all_then_pick], seconds[pick_at_once]


def time_stage(root, clip):
    """Seconds of the whole stage on copies of a clip: {number of workers: median}."""
    folder = root / "data_set" / "bench" / "train" / "sign"
    folder.mkdir(parents=True)
    for number in range(STAGE_CLIPS):
        (folder / f"{number:03d}{clip.suffix}").write_bytes(clip.read_bytes())
    dataset = data.Dataset("bench", root=root)

    def seconds_with(workers):
        report = frame.extract_frames(dataset, workers=workers, rebuild=True)
        if report.exit_status or report.done != STAGE_CLIPS:
            raise ValueError(f"The stage failed: {report.failed}")
        return report.seconds

    measures = {workers: functools.partial(seconds_with, workers) for workers in (1, 2)}
    return medians(in_turns(measures, STAGE_ROUNDS))


def main(argv=None):
    parser = command_line.make_parser(__doc__)
    parser.add_argument("clips", nargs="*", type=Path, help="videos to time instead of made ones")
    args = parser.parse_args(argv)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        clips = {path.name: (path, WANTED) for path in args.clips}
        clips = clips or make_clips(folder)
        rows = {name: (*compare(path), wanted) for name, (path, wanted) in clips.items()}
        stage_seconds = time_stage(folder, next(reversed(clips.values()))[0])
    print(f"\n{'clip':28}{'all, then pick':>16}{'ours':>10}{'ratio':>8}{'wanted':>8}")
    for name, (plain, ours, wanted) in rows.items():
        print(f"{name:28}{1 / plain:9.1f} clips/s{1 / ours:10.1f}{plain / ours:8.2f}{wanted:8.1f}")
    ratio = stage_seconds[1] / stage_seconds[2]
    print(f"{'stage, 2 workers / 1':54}{ratio:8.2f}{1.8:8.1f}")
    print(f"{'two processes that only count / 1':54}{machine_gain(STAGE_ROUNDS):8.2f}")


if __name__ == "__main__":
    command_line.run(main)
