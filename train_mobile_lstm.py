"""Stage 4 of 5, the other architecture: an LSTM over what a MobileNet sees in every frame.

    python train_mobile_lstm.py --dataset toysigns
    python train_mobile_lstm.py --dataset my_signs --extractor mobilenet_v3_small
    python train_mobile_lstm.py --dataset toysigns --resume

reads   data_temp/<dataset>/<preset>/{frame,oflow}/<split>/<class>/<video>/*.jpg
        data_temp/<dataset>/<preset>/{frame,oflow}-<extractor>/ (feature.py), for the first phase
writes  model/<run>/  rgb.keras flow.keras run.json history.csv curves.png checkpoint/

With published weights of the extractor, the first phase trains the LSTM on stored features, in
minutes; the second (`--epochs-all`) trains everything on frames. From random weights there is only
the second. Numbers come from `MOBILE_LSTM_PRESETS` (dataset.py).
"""

import argparse
import dataclasses

import dataset as data
import feature
import mobile_weights
import network_input
import run_folder
import stage
import training

UNITS = (64, 64)


def train(
    dataset,
    weights=None,
    extractor="mobilenet",
    units=UNITS,
    streams=run_folder.STREAMS,
    seed=0,
    **settings,
):
    """Trains the streams that are not trained yet.

    Args:
        dataset: `Dataset` with one of `dataset.MOBILE_LSTM_PRESETS`, whose frames and flow are
            stored, and features, too, unless `weights` is "none".
        weights: "imagenet", "none", or the path of a Keras weight file; by default the preset's.
        extractor: one of `mobile_weights.EXTRACTORS`.
        units: numbers of the two LSTM layers.
        streams: "rgb" and "flow", or one of them.
        seed: as in `training.train_run`.
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
    weights = set_weights(dataset, weights, extractor)
    if weights == "none":
        print(f"{extractor} starts from random weights: everything is trained.")
    if dataset.preset.epochs_top:
        feature.check(dataset, extractor, weights, streams, seed)
    path = mobile_weights.find_weights(weights, extractor, dataset.preset.width_multiplier)
    options = {
        "extractor": extractor,
        "units": list(units),
        "weights_sha256": mobile_weights.fingerprint(path),
    }
    return training.train_run(
        dataset,
        ARCHITECTURE,
        streams=streams,
        seed=seed,
        weights=weights,
        further_options=options,
        **settings,
    )


def announce_duration(
    dataset,
    num_clips,
    weights=None,
    extractor="mobilenet",
    units=UNITS,
    run_name=None,
    seed=0,
    restart=False,
    **_,
):
    """Checks that the weights are there, and says how long training will take without a GPU.

    Args:
        dataset, weights, extractor, units, seed: as in `train`.
        num_clips: expected number of training clips.
        run_name, restart: as in `training.train_run`.
    """
    set_weights(dataset, weights, extractor)
    if dataset.preset.name == "laptop":
        return  # timing a step would take a tenth of the time that is to be told
    options = {"seed": seed, "weights": "none", "extractor": extractor, "units": list(units)}
    training.announce_duration(dataset, ARCHITECTURE, num_clips, options, run_name, restart=restart)


def set_weights(dataset, weights, extractor):
    """The weights to begin with, which are there; from random ones there is only the second phase.

    Raises:
        FileNotFoundError, ValueError: as `mobile_weights.find_weights`.
    """
    weights = weights or dataset.preset.weights
    width = dataset.preset.width_multiplier
    if mobile_weights.find_weights(weights, extractor, width) is None:
        preset = dataset.preset
        epochs = preset.epochs_all or preset.epochs_top
        dataset.preset = dataclasses.replace(preset, epochs_top=0, epochs_all=epochs)
    return str(weights)


def build(run, stream):
    """A network for one stream of a run, with the weights that its training begins with.

    Args:
        run: `run_folder.Run`.
        stream: "rgb" or "flow".

    Returns:
        `keras.Model`, see `model_lstm.build_lstm`.
    """
    import model_lstm
    import model_mobile

    preset, options = run.preset, run.options
    extractor = model_mobile.build_extractor(
        options["extractor"],
        *preset.input_size,
        network_input.CHANNELS[stream],
        preset.width_multiplier,
        mobile_weights.find_weights(
            options["weights"], options["extractor"], preset.width_multiplier
        ),
        preset.batch_norm_momentum,
    )
    from_nothing = options["weights"] == "none"
    return model_lstm.build_lstm(
        extractor,
        preset.num_frames,
        len(run.signs),
        options["units"],
        preset.dropout,
        subtract_mean=preset.subtract_mean and from_nothing and stream == "rgb",
    )


def set_trainable(model, part):
    """Chooses "top" or "all" of a network of `build` for training."""
    import model_lstm

    model_lstm.set_trainable(model, part)


def top(model):
    """The LSTM of a network of `build`, from features to probabilities."""
    import model_lstm

    return model_lstm.lstm_top(model)


def features(run, stream, clips):
    """The files of the clips' features."""
    return feature.files(run, stream, clips, run.options["extractor"])


ARCHITECTURE = training.Architecture(
    "mobile_lstm", build, set_trainable, top=top, features=features
)


def add_arguments(parser):
    """Adds the flags of training to an `argparse` parser."""
    training.add_arguments(parser)
    parser.add_argument(
        "--extractor",
        choices=mobile_weights.EXTRACTORS,
        default="mobilenet",
        help="what sees the frames (default: mobilenet)",
    )
    parser.add_argument(
        "--weights",
        help="of the extractor: imagenet (downloaded once), none, or a Keras weight file without "
        "top (default: imagenet; laptop: none)",
    )
    parser.add_argument(
        "--units",
        type=stage.positive_int,
        nargs=2,
        default=UNITS,
        metavar=("FIRST", "SECOND"),
        help=f"sizes of the LSTM layers (default: {UNITS[0]} {UNITS[1]})",
    )


def from_arguments(args):
    """(Dataset, keyword arguments of `train`) from parsed flags."""
    dataset, settings = training.from_arguments(args, data.MOBILE_LSTM_PRESETS)
    return dataset, {
        **settings,
        "weights": args.weights,
        "extractor": args.extractor,
        "units": tuple(args.units),
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
