"""Synthetic clips with known answers, and a small data set of them."""

import dataclasses
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np

import train_i3d
from common import dataset as data
from common.network_input import CHANNELS
from common.presets import PRESETS
from training.options import TrainingOptions
from training.run import Architecture, train_run

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
NUMBER_BITS = 8
# Of Python code that runs by itself and uses the project, wherever it is started.
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def moving_square(num_frames, step_px, size=(64, 64), background=40):
    """A textured square on a dark ground that moves by (dx, dy) a frame: uint8 BGR frames."""
    height, width = size
    texture = np.random.default_rng(0).integers(90, 255, (20, 20, 3), dtype=np.uint8)
    texture = cv2.GaussianBlur(texture, (5, 5), 1)
    frames = np.full((num_frames, height, width, 3), background, np.uint8)
    for number, image in enumerate(frames):
        left = (width - 20) // 2 + round((number - num_frames // 2) * step_px[0])
        top = (height - 20) // 2 + round((number - num_frames // 2) * step_px[1])
        image[max(top, 0) : top + 20, max(left, 0) : left + 20] = texture[
            max(-top, 0) : height - top, max(-left, 0) : width - left
        ]
    return frames


def numbered_frames(count, size=(64, 64)):
    """Frames that show their number in `NUMBER_BITS` black or white stripes."""
    bits = np.arange(count)[:, None] >> np.arange(NUMBER_BITS) & 1
    stripes = np.minimum(np.arange(size[1]) * NUMBER_BITS // size[1], NUMBER_BITS - 1)
    levels = np.where(bits[:, stripes], 220, 30).astype(np.uint8)  # (count, width)
    return np.repeat(np.repeat(levels[:, None, :, None], size[0], axis=1), 3, axis=3)


def numbers_of(frames):
    """The inverse of `numbered_frames`, also after lossy coding."""
    width = frames.shape[2]
    middles = ((np.arange(NUMBER_BITS) + 0.5) * width / NUMBER_BITS).astype(int)
    bits = frames[:, :, middles].mean(axis=(1, 3)) > 125
    return (bits << np.arange(NUMBER_BITS)).sum(axis=1).tolist()


def write_video(path, frames, fps=10, fourcc="MJPG"):
    path.parent.mkdir(parents=True, exist_ok=True)
    size = frames.shape[2], frames.shape[1]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*fourcc), fps, size)
    for image in frames:
        writer.write(image)
    writer.release()
    return path


def run_script(script, *arguments, cwd, check=None, **settings):
    """Runs a script of the project as a user would, from another folder."""
    result = subprocess.run(
        [sys.executable, str(ROOT / script), *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, "MPLBACKEND": "Agg"},
        **settings,
    )
    if check is not None:
        assert result.returncode == check, result.stdout + result.stderr
    return result


def tree_bytes(folder):
    """{relative path: content} of every file below a folder, hidden ones too."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


TINY = dataclasses.replace(
    PRESETS["laptop"],
    num_frames=8,
    frame_size=(40, 48),
    input_size=(32, 32),
    width_multiplier=0.0625,
    batch_size=4,
    epochs_top=0,
    epochs_all=3,
    min_clips_all=0,
    weights="none",
)


def make_dataset(root, clips=None, name="moves"):
    """A data set of two signs, squares that move to the left or to the right, at preset TINY.

    Args:
        clips: {split: number of clips a sign}.
    """
    for split, count in (clips or {"train": 4, "val": 2, "test": 2}).items():
        for label, direction in (("left", -1), ("right", 1)):
            for number in range(count):
                frames = moving_square(12, (direction * 1.5, (number % 4 - 1) * 0.3), (40, 48))
                write_video(root / "data_set" / name / split / label / f"{number}.avi", frames)
    dataset = data.Dataset(name, root=root)
    dataset.preset = TINY
    return dataset


def copy_of(dataset, root):
    """The videos, frames and flow of a data set again below `root`, to be changed."""
    for folder in (dataset.video_dir, dataset.temp_dir):
        shutil.copytree(folder, root / folder.relative_to(dataset.root))
    copy = data.Dataset(dataset.name, root=root)
    copy.preset = dataset.preset
    return copy


def build_shallow(run, stream):
    """A network with every kind of layer of I3D, but few of them: it trains within a second."""
    from keras import Input, Model, layers

    import model_i3d
    from i3d import fast_layers

    preset = run.preset
    clip = Input((preset.num_frames, *preset.input_size, CHANNELS[stream]), name="clip")
    convolution = fast_layers.FastConv3D(8, 3, strides=2, padding="same", use_bias=False)
    x = fast_layers.FastBatchNormalization(momentum=0.9, scale=False)(convolution(clip))
    x = layers.Activation("relu")(x)
    x = fast_layers.FastMaxPooling3D((1, 3, 3), strides=(1, 2, 2), padding="same")(x)
    x = layers.Dropout(preset.dropout)(x)
    x = layers.Conv3D(len(run.signs), 1, name=model_i3d.TOP_CONVOLUTION)(x)
    x = layers.GlobalAveragePooling3D()(x)
    return Model(clip, layers.Activation("softmax", dtype="float32")(x))


SHALLOW = Architecture("i3d", build_shallow, train_i3d.set_trainable)


def train_shallow(dataset, run_name=None, **options):
    """The folder of a run of few layers, trained with these `TrainingOptions`."""
    return train_run(dataset, SHALLOW, TrainingOptions(run=run_name, **options)).output


def wait(condition, seconds=90):
    """What `condition()` returns as soon as that is true; fails after so many seconds."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
    return found


class Background:
    """A script of the project that runs in the background, and what it has said.

    Args:
        folder: where it runs, and where its output is kept.
        script, arguments: of its command line.
        environment: variables besides those of this process.
    """

    def __init__(self, folder, script, *arguments, **environment):
        self._files = [folder / "stdout.txt", folder / "stderr.txt"]
        with self._files[0].open("w") as stdout, self._files[1].open("w") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, ROOT / script, *map(str, arguments)],
                cwd=folder,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
                stdout=stdout,
                stderr=stderr,
            )

    @property
    def output(self):
        return self._files[0].read_text(encoding="utf-8")

    @property
    def errors(self):
        return self._files[1].read_text(encoding="utf-8")
