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
from common.presets import FROM_RANDOM
from i3d import top
from inference import extractor
from training.options import TrainingOptions, run_command
from training.run import Architecture, train_run
from weights import files

FEW_CLIPS = 5  # of a sign: so many tell by themselves in what signs differ


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
        dataset, TOP_ONLY, options, {"weights_sha256": [files.fingerprint(path) for path in paths]}
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

    preset, weights = run.preset, run.options["weights"]
    path, is_borrowed = None, isinstance(weights, dict)
    if weights != "none":
        weights = weights["of_either_stream"] if is_borrowed else weights
        path = i3d_weights.find_weights(weights, stream, is_borrowed)
    model = build_i3d(
        preset.num_frames,
        *preset.input_size,
        network_input.CHANNELS[stream],
        len(run.signs),
        width_multiplier=preset.width_multiplier,
        dropout=preset.dropout,
        batch_norm_momentum=preset.batch_norm_momentum,
        subtract_mean=preset.subtract_mean and stream == "rgb",
        even_out=bool(path) and files.read(path).even_out,
    )
    if path:
        i3d_weights.load_weights(model, path, with_top=False, from_other_stream=is_borrowed)
    return model


def set_trainable(model, part):
    """Chooses "top" or "all" of a network of `build` for training."""
    import model_i3d

    model_i3d.set_trainable(model, part)


def trunk(model):
    """What comes before the top of a network of `build`, see `model_i3d.trunk`."""
    import model_i3d

    return model_i3d.trunk(model)


def solve_top(run, stream, model, features, classes, class_weight):
    """Sets the top of a network of `build` to what names features of its trunk best.

    Of few clips, only those directions of features count in which its first weights tell signs
    apart, where these know that.

    Args:
        run: `run_folder.Run`.
        stream: "rgb" or "flow".
        model: `keras.Model`.
        features: float32 `(clips, features)`.
        classes: int `(clips,)`.
        class_weight: dict of class to the weight of its clips, or None.

    Returns:
        Function of features and classes that gives mean cross entropy and accuracy.
    """
    import model_i3d

    directions = _directions(run, stream)
    solution = top.solve(features, classes, len(run.signs), class_weight, directions)
    model_i3d.set_top(model, *solution)
    return functools.partial(top.judge, *solution)


def _directions(run, stream):
    """Those that alone count for a top, None where all do."""
    weights = run.options["weights"]
    is_few = run.data["train"] < FEW_CLIPS * len(run.signs)
    if not is_few or weights == "none" or isinstance(weights, dict):  # of either stream
        return None
    return i3d_weights.directions(weights, stream)


ARCHITECTURE = Architecture("i3d", build, set_trainable, trunk=trunk, solve_top=solve_top)
TOP_ONLY = dataclasses.replace(
    ARCHITECTURE, features=functools.partial(feature.files, extractor="i3d")
)


def _set_weights(dataset, options):
    """What run.json says of the weights to begin with, which are there and fit.

    Also sets which phases have epochs: from random weights there is no first one, and more of the
    second; a top alone has nothing else.
    """
    from_other_stream = options.weights_from_other_stream
    if options.top_only and from_other_stream:
        raise ValueError("--top-only and --weights-from-other-stream do not go together.")
    weights = options.weights or dataset.preset.weights
    if options.top_only:
        dataset.preset = dataclasses.replace(dataset.preset, epochs_top=1, epochs_all=0)
    elif weights == "none":
        longer = FROM_RANDOM if dataset.preset.min_clips_all else {}
        dataset.preset = dataclasses.replace(dataset.preset, epochs_top=0, **longer)
    if weights == "none":
        return weights
    width = dataset.preset.width_multiplier
    i3d_weights.refuse_other_width(weights, dataset.preset)
    for stream in options.streams:
        path = i3d_weights.find_weights(weights, stream, from_other_stream)
        i3d_weights.check_weights(path, stream, width, from_other_stream)
    return {"of_either_stream": str(weights)} if from_other_stream else str(weights)


def main(argv=None):
    run_command(argv, __doc__, I3DOptions, train)


if __name__ == "__main__":
    command_line.run(main, goes_on="The same command with --resume goes on from here.")
