"""Teaches a small I3D what signing looks like: from drawn people who perform invented signs.

    python pretrain.py                          # draws them and trains both streams
    python pretrain.py --dataset chalearn       # the same recipe on the clips of a data set

reads   nothing; or data_temp/<dataset>/<preset>/{frame,oflow}/train/<class>/<video>/*.jpg
writes  data_temp/drawn-seed<N>/<preset>/<split>/<sign>/<clip>.npz
        model/<run>/  rgb.h5 flow.h5 recipe.json

What comes out is used with `--weights model/<run>`. After Ctrl-C the same command goes on.
"""

from common import command_line  # isort: split

import dataclasses
import json
from pathlib import Path

import numpy as np

from common import dataset as data
from common import disk, stage
from common.command_line import (
    COUNT,
    LEARNING_RATE,
    SEED,
    add_flags,
    documented,
    from_flags,
    option,
    options_of,
    quote,
)
from common.network_input import stream_input
from common.presets import PRESETS
from common.slow_imports import import_keras
from i3d.shapes import DISCRIMINANT, EVEN_OUT
from i3d_weights import check_weights, find_weights
from opticalflow import load_clip
from pretraining import drawn, traits
from toy import performance
from toy.film import NUM_TARGETS
from training.options import RunOptions
from weights import files

RECIPE = "recipe.json"
SIGNS_COMPARED = 500  # whose clips tell in what signs differ; more of them tell hardly more


@documented
@dataclasses.dataclass(frozen=True)
class PretrainingOptions(RunOptions):
    """What a pre-training can be told."""

    dataset: str | None = option(
        None, "folder below data_set/ with clips to use", of_default="clips are drawn"
    )
    preset: str = option("laptop", "frames and sizes", choices=sorted(PRESETS))
    signs: int = option(2400, "invented signs", COUNT)
    clips: int = option(6, "clips of each of them", COUNT)
    people: int = option(400, "drawn people who perform them", COUNT)
    epochs: int = option(9, "how often each clip is seen", COUNT)
    batch_size: int = option(8, "clips per step", COUNT)
    learning_rate: float = option(1e-3, "of Adam, at its highest", LEARNING_RATE)
    weights: str | None = option(
        None, "weights to begin with, such as of another seed", of_default="random ones"
    )
    seed: int = option(0, "same seed, same clips", SEED)
    workers: int | None = stage.OPTIONS["workers"].field()
    rebuild: bool = stage.OPTIONS["rebuild"].field()

    @property
    def folder(self):
        """Where the weights are written."""
        return Path("model", self.run or f"{self.dataset or 'drawn'}-pretrained-seed{self.seed}")

    def recorded(self):
        """{name: value} of what the weights depend on."""
        names = ["preset", "epochs", "batch_size", "learning_rate", "seed"]
        names += ["dataset"] if self.dataset else ["signs", "clips", "people"]
        names += ["weights"] if self.weights else []
        recorded = {name: getattr(self, name) for name in names} | {EVEN_OUT: True}
        return recorded if self.dataset else {**recorded, "version": drawn.VERSION}


class DrawnClips:
    """Clips of invented signs, drawn as far as they are not there yet.

    Args:
        options: `PretrainingOptions`.

    Raises:
        OSError: some clips could not be drawn.
    """

    num_hands = NUM_TARGETS

    def __init__(self, options):
        self.preset = PRESETS[options.preset]
        self.folder = drawn.folder_of(options.seed, self.preset)
        amounts = drawn.Amounts(options.signs, options.clips, options.people)
        self.clips = drawn.clips_of("train", amounts, options.seed)
        self.unseen = drawn.clips_of("val", drawn.VALIDATION, options.seed)
        how = self.preset, options.workers, options.rebuild
        report = drawn.draw(self.folder, self.unseen + self.clips, *how)
        if report.failed:
            raise OSError(f"{len(report.failed)} clips could not be drawn, see above.")

    def numbered(self, stream):
        """List of (clip, number of its sign)."""
        return [(clip, clip.sign) for clip in self.clips]

    def read(self, stream, clip):
        """Stored frames or flow codes of a clip, and what is known of it."""
        stored, hands = drawn.read_clip(self.folder / clip.place(), stream)
        return stored, {"hands": hands, "traits": traits.encode(performance.invent(clip.seeds[0]))}

    def validation(self, stream):
        """Inputs of `pretraining.few_shot.accuracy`: unseen signs by unseen people."""
        pairs = [[clip for clip in self.unseen if clip.number == number] for number in (0, 1)]
        size = self.preset.input_size
        inputs = [[stream_input(stream, self.read(stream, c)[0], *size) for c in p] for p in pairs]
        return np.array(inputs)


class DatasetClips:
    """The stored training clips of a data set; of their hands nothing is known.

    Args:
        options: `PretrainingOptions`.
    """

    num_hands = 0

    def __init__(self, options):
        self.dataset = data.Dataset(options.dataset, options.preset)
        self.dataset.refuse_if_unknown()
        self.preset = self.dataset.preset

    def numbered(self, stream):
        """List of (clip, number of its sign)."""
        clips = [clip for clip in self.dataset.stored_clips(stream) if clip.split == "train"]
        labels = sorted({clip.label for clip in clips})
        return [(clip, labels.index(clip.label)) for clip in clips]

    def read(self, stream, clip):
        """Stored frames or flow codes of a clip; nothing else is known of it."""
        return load_clip(stream, clip.path), {}

    def validation(self, stream):
        """None: signs of a real data set are too few to keep some unseen."""
        return None


def pretrain(options=None):
    """Draws clips or takes those of a data set, and trains the streams that are not trained yet.

    Args:
        options: `PretrainingOptions`.

    Returns:
        `Path` of the folder with the weights.

    Raises:
        FileNotFoundError: the data set has no stored clips.
        ValueError: the folder holds weights that were made otherwise.
    """
    options = options or PretrainingOptions()
    folder = options.folder
    recipe = _open(folder, options)
    todo = [stream for stream in options.streams if not (folder / f"{stream}.h5").is_file()]
    if todo:
        if options.weights:
            for stream in todo:  # told before hours of drawing
                width = PRESETS[options.preset].width_multiplier
                check_weights(find_weights(options.weights, stream), stream, width)
        source = (DatasetClips if options.dataset else DrawnClips)(options)
        clips = {stream: source.numbered(stream) for stream in todo}
        with disk.lock(folder / ".lock", f"Another process works in {folder}."):
            for stream in todo:
                scores = _train(folder, source, stream, clips[stream], options)
                recipe[stream] = {**scores, "sha256": files.sha256(folder / f"{stream}.h5")}
                disk.write_atomically(folder / RECIPE, json.dumps(recipe, indent=1) + "\n")
    return folder


def _open(folder, options):
    """The recipe that is in the folder, or a new one."""
    recipe = options.recorded()
    if (folder / RECIPE).is_file():
        there = json.loads((folder / RECIPE).read_text())
        if any(there.get(name) != value for name, value in recipe.items()):
            raise ValueError(
                f"{folder} holds weights of another recipe. Choose another name: --run NAME."
            )
        return there
    folder.mkdir(parents=True, exist_ok=True)
    disk.write_atomically(folder / RECIPE, json.dumps(recipe, indent=1) + "\n")
    return recipe


def _train(folder, source, stream, clips, options):
    """Trains a stream, writes its weights, and returns its scores."""
    keras = import_keras()
    from pretraining import discriminant, few_shot, fitting

    unseen = source.validation(stream)
    weights = options.weights and find_weights(options.weights, stream)

    def judge(network, compare=few_shot.standardised):
        if unseen is None:
            return {}
        known, asked = (compare(few_shot.features(network, part)) for part in unseen)
        return {"few_shot": few_shot.accuracy(known, asked)}

    print(f"{stream}: {len(clips)} clips, {options.epochs} epochs", flush=True)
    network, _ = fitting.fit(
        folder / "checkpoint",
        source.preset,
        stream,
        clips,
        lambda clip: source.read(stream, clip),
        source.num_hands,
        options,
        weights,
        judge,
    )
    layers = {
        layer.name: {
            weight.name: keras.ops.convert_to_numpy(weight).astype(np.float16)
            for weight in layer.weights
        }
        for layer in network.layers
        if layer.weights
    }
    layers[EVEN_OUT] = {}
    scores = judge(network)
    if layer := _discriminant(network, source, stream, clips):
        layers[DISCRIMINANT] = layer
        scores = judge(network, lambda features: discriminant.apply(layer, features)[:, 0])
    files.write_keras2(layers, folder / f"{stream}.h5")
    return {**scores, **({"begun_with": files.sha256(weights)} if weights else {})}


def _discriminant(network, source, stream, clips):
    """What makes features comparable, of the first `SIGNS_COMPARED` signs; None of too few."""
    from pretraining import discriminant, few_shot

    some = [(clip, sign) for clip, sign in clips if sign < SIGNS_COMPARED]
    size = source.preset.input_size
    inputs = (stream_input(stream, source.read(stream, clip)[0], *size) for clip, _ in some)
    signs = np.array([sign for _, sign in some])
    return discriminant.fit(few_shot.features(network, inputs), signs)


def main(argv=None):
    parser = command_line.make_parser(__doc__)
    add_flags(parser, options_of(PretrainingOptions))
    options = from_flags(PretrainingOptions, parser.parse_args(argv))
    weights = quote(pretrain(options))
    print(f"Next: python pipeline_i3d.py --preset {options.preset} --weights {weights}")


if __name__ == "__main__":
    command_line.run(main)
