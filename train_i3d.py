"""Stage 4 of 5: train the two streams of I3D, each first the new top, then everything.

    python train_i3d.py --dataset toysigns
    python train_i3d.py --dataset chalearn --weights kinetics
    python train_i3d.py --dataset toysigns --resume
    python train_i3d.py --dataset my_signs --top-only      # after feature.py --extractor i3d

reads   data_temp/<dataset>/<preset>/{frame,oflow}/<split>/<class>/<video>/*.jpg
writes  model/<run>/  rgb.keras flow.keras run.json history.csv curves.png checkpoint/

Numbers come from the preset (dataset.py); the schedule's are flags too. Ctrl-C leaves a usable
model. From random weights the first phase has no epochs.
"""

import argparse
import dataclasses
import functools

import dataset as data
import feature
import i3d_weights
import mobile_weights
import network_input
import run_folder
import stage
import training

EPOCHS_TOP_ONLY = 20  # where the preset has none


def train(
    dataset,
    weights=None,
    streams=run_folder.STREAMS,
    weights_from_other_stream=False,
    top_only=False,
    **settings,
):
    """Trains the streams that are not trained yet.

    Args:
        dataset: `Dataset` whose frames and flow are stored; its preset holds the schedule.
        weights: "kinetics", "none", or a file or folder (see `i3d_weights.find_weights`); by
            default the preset's.
        streams: "rgb" and "flow", or one of them.
        weights_from_other_stream: a stream that `weights` has none for begins with the other's.
        top_only: train nothing but the new top, on features that feature.py has stored.
        settings: further arguments of `training.train_run`.

    Returns:
        `stage.Report`; its output is the run's folder.

    Raises:
        FileNotFoundError: frames, flow, features or weights are not there.
        ValueError: the features were made with other weights, or the run is unfinished, busy, or
            was made with other data or settings.
    """
    if not dataset.temp_dir.is_dir() and not dataset.video_dir.is_dir():
        dataset.stored_clips("rgb")  # raises: a wrong name comes before missing weights
    epochs_top = dataset.preset.epochs_top or EPOCHS_TOP_ONLY
    weights = _set_weights(dataset, weights, streams, weights_from_other_stream, top_only)
    if not top_only:
        return training.train_run(
            dataset, ARCHITECTURE, streams=streams, weights=weights, **settings
        )
    dataset.preset = dataclasses.replace(
        dataset.preset, epochs_top=epochs_top, epochs_all=0, epochs_for_clips=0
    )
    feature.check(dataset, "i3d", weights, streams, settings.get("seed", 0))
    paths = [feature.find_weights(dataset.preset, stream, "i3d", weights) for stream in streams]
    options = {"top_only": True, "weights_sha256": [mobile_weights.fingerprint(p) for p in paths]}
    return training.train_run(
        dataset,
        TOP_ONLY,
        streams=streams,
        weights=weights,
        further_options=options,
        **settings,
    )


def announce_duration(
    dataset,
    num_clips,
    weights=None,
    run_name=None,
    seed=0,
    weights_from_other_stream=False,
    top_only=False,
    restart=False,
    **settings,
):
    """Checks that the weights are there, and says how long training will take without a GPU.

    Args:
        dataset, weights, weights_from_other_stream, top_only, settings: as in `train`.
        num_clips: expected number of training clips.
        run_name, seed, restart: as in `training.train_run`.
    """
    streams = settings["streams"]
    _set_weights(dataset, weights, streams, weights_from_other_stream, top_only)
    if top_only:
        return
    options = {"seed": seed, "weights": "none"}
    training.announce_duration(
        dataset, ARCHITECTURE, num_clips, options, run_name, streams, restart
    )


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


ARCHITECTURE = training.Architecture("i3d", build, set_trainable)
TOP_ONLY = training.Architecture(
    "i3d", build, set_trainable, top, functools.partial(feature.files, extractor="i3d")
)


def _set_weights(dataset, weights, streams, from_other_stream, top_only):
    """What run.json says of the weights to begin with, which are there and fit.

    From random ones the first phase has no epochs.
    """
    if top_only and from_other_stream:
        raise ValueError("--top-only and --weights-from-other-stream do not go together.")
    weights = weights or dataset.preset.weights
    if weights == "none":
        dataset.preset = dataclasses.replace(dataset.preset, epochs_top=0)
        return weights
    width = dataset.preset.width_multiplier
    if weights == "kinetics" and width != 1:
        raise ValueError(
            f"The Kinetics weights are those of a network of width 1, that of --preset "
            f"{dataset.preset.name} is {width:g}. Use `--preset full`, or `--weights none`."
        )
    for stream in streams:
        path = i3d_weights.find_weights(weights, stream, from_other_stream)
        i3d_weights.check_weights(path, stream, width, from_other_stream)
    return {"of_either_stream": str(weights)} if from_other_stream else str(weights)


def add_arguments(parser):
    """Adds the flags of training to an `argparse` parser."""
    training.add_arguments(parser)
    parser.add_argument(
        "--weights",
        help="kinetics (downloaded once), none, or a file or folder: Keras HDF5, TensorFlow "
        "checkpoint, PyTorch state dict, a run of this project (default: the preset's)",
    )
    parser.add_argument(
        "--weights-from-other-stream",
        action="store_true",
        help="where --weights PATH has weights of one stream only, begin the other with them, too",
    )
    parser.add_argument(
        "--top-only",
        action="store_true",
        help="train only a new top, in seconds, on features of `feature.py --extractor i3d`",
    )


def from_arguments(args):
    """(Dataset, keyword arguments of `train`) from parsed flags."""
    dataset, settings = training.from_arguments(args)
    return dataset, {
        **settings,
        "weights": args.weights,
        "weights_from_other_stream": args.weights_from_other_stream,
        "top_only": args.top_only,
    }


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    data.add_arguments(parser)
    add_arguments(parser)
    dataset, settings = from_arguments(parser.parse_args(argv))
    run = train(dataset, **settings).output
    print(f"Next: python evaluate.py --model {run.as_posix()}")


if __name__ == "__main__":
    stage.command_line(main)
