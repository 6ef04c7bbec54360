"""Stage 4 of 5: train the two streams of I3D, each first the new top, then everything.

    python train_i3d.py --dataset toysigns
    python train_i3d.py --dataset chalearn --weights kinetics
    python train_i3d.py --dataset toysigns --resume
    python train_i3d.py --dataset my_signs --top-only      # after feature.py --extractor i3d

reads   data_temp/<dataset>/<preset>/{frame,oflow}/<split>/<class>/<video>/*.jpg
writes  model/<run>/  rgb.keras flow.keras run.json history.csv curves.png checkpoint/

Numbers come from the preset (common/presets.py); the schedule's are flags too. Ctrl-C leaves a
usable model. From random weights the first phase has no epochs.
"""

from common import command_line  # isort: split

import dataclasses
import functools

import feature
import i3d_weights
from common import network_input
from common.command_line import documented, option
from inference import extractor
from training.options import TrainingOptions, run_command
from training.run import Architecture, train_run
from weights.files import fingerprint

EPOCHS_TOP_ONLY = 20  # where the preset has none


@documented
@dataclasses.dataclass(frozen=True)
class I3DOptions(TrainingOptions):
    """What a training of I3D can be told. The schedule is the preset's."""

    weights: str | dict | None = option(
        None,
        "to begin with: kinetics (downloaded once, from one of two sources), none, or a file or "
        "folder: Keras HDF5, TensorFlow checkpoint, PyTorch state dict or training checkpoint (any "
        "prefix, below any key), safetensors, a run of this project",
        is_recorded=True,
        of_default="the preset's",
    )
    weights_from_other_stream: bool = option(
        False, "where --weights has weights of one stream only, begin the other with them, too"
    )
    top_only: bool = option(
        False,
        "train only a new top, in seconds, on features of `feature.py --extractor i3d`",
        is_recorded=True,
    )


def train(dataset, options=None):
    """Trains the streams that are not trained yet.

    Args:
        dataset: `Dataset` whose frames and flow are stored; its preset holds the schedule.
        options: `I3DOptions`.

    Returns:
        `stage.Report`; its output is the run's folder.

    Raises:
        FileNotFoundError: frames, flow, features or weights are not there.
        ValueError: the features were made with other weights, or the run is unfinished, busy, or
            was made with other data or settings.
    """
    dataset.refuse_if_unknown()  # a wrong name comes before missing weights
    options = options or I3DOptions()
    weights = _set_weights(dataset, options)
    options = dataclasses.replace(options, weights=weights)
    if not options.top_only:
        return train_run(dataset, ARCHITECTURE, options)
    feature.check(dataset, "i3d", weights, options.streams, options.seed)
    paths = [
        extractor.find_weights(dataset.preset, stream, "i3d", weights) for stream in options.streams
    ]
    return train_run(
        dataset, TOP_ONLY, options, {"weights_sha256": [fingerprint(path) for path in paths]}
    )


def check_weights(dataset, options):
    """Checks that the weights are there, before a pipeline begins.

    Args:
        dataset: `Dataset`, whose preset gets the schedule that goes with the weights.
        options: `I3DOptions`.

    Returns:
        `training.run.Architecture` that will be trained.
    """
    _set_weights(dataset, options)
    return TOP_ONLY if options.top_only else ARCHITECTURE


def build(run, stream):
    """A network for one stream of a run, with the weights that its training begins with.

    Args:
        run: `run_folder.Run`.
        stream: "rgb" or "flow".

    Returns:
        `keras.Model`, see `model_i3d.build_i3d`.
    """
    from model_i3d import build_i3d

    preset = run.preset
    model = build_i3d(
        preset.num_frames,
        *preset.input_size,
        network_input.CHANNELS[stream],
        len(run.signs),
        width_multiplier=preset.width_multiplier,
        dropout=preset.dropout,
        batch_norm_momentum=preset.batch_norm_momentum,
        subtract_mean=preset.subtract_mean and stream == "rgb",
    )
    weights = run.options["weights"]
    if weights != "none":
        is_borrowed = isinstance(weights, dict)
        weights = weights["of_either_stream"] if is_borrowed else weights
        path = i3d_weights.find_weights(weights, stream, is_borrowed)
        i3d_weights.load_weights(model, path, with_top=False, from_other_stream=is_borrowed)
    return model


def set_trainable(model, part):
    """Chooses "top" or "all" of a network of `build` for training."""
    import model_i3d

    model_i3d.set_trainable(model, part)


def top(model):
    """What comes after the last pooling of a network of `build`, with the same weights.

    Returns:
        `keras.Model` from features `(batch, T', 1, 1, features)` to probabilities.
    """
    import keras

    return keras.Model(model.get_layer("global_avg_pool").output, model.output, name="i3d_top")


ARCHITECTURE = Architecture("i3d", build, set_trainable)
TOP_ONLY = Architecture(
    "i3d", build, set_trainable, top, functools.partial(feature.files, extractor="i3d")
)


def _set_weights(dataset, options):
    """What run.json says of the weights to begin with, which are there and fit.

    Also sets which phases have epochs: from random weights there is no first one, and a top alone
    has nothing else.
    """
    from_other_stream = options.weights_from_other_stream
    if options.top_only and from_other_stream:
        raise ValueError("--top-only and --weights-from-other-stream do not go together.")
    weights = options.weights or dataset.preset.weights
    if options.top_only:
        extractor.refuse_unasked_random("i3d", options.weights, dataset.preset)
        epochs = dataset.preset.epochs_top or EPOCHS_TOP_ONLY
        alone = {"epochs_top": epochs, "epochs_all": 0, "epochs_for_clips": 0}
        dataset.preset = dataclasses.replace(dataset.preset, **alone)
    elif weights == "none":
        dataset.preset = dataclasses.replace(dataset.preset, epochs_top=0)
    if weights == "none":
        return weights
    width = dataset.preset.width_multiplier
    if weights == "kinetics" and width != 1:
        raise ValueError(
            f"The Kinetics weights are those of a network of width 1, that of --preset "
            f"{dataset.preset.name} is {width:g}. Use `--preset full`, or `--weights none`."
        )
    for stream in options.streams:
        path = i3d_weights.find_weights(weights, stream, from_other_stream)
        i3d_weights.check_weights(path, stream, width, from_other_stream)
    return {"of_either_stream": str(weights)} if from_other_stream else str(weights)


def main(argv=None):
    run_command(argv, __doc__, I3DOptions, train)


if __name__ == "__main__":
    command_line.run(main, goes_on="The same command with --resume goes on from here.")
