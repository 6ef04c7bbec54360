"""Stage 4 of 5, the other architecture: an LSTM over what a MobileNet sees in every frame.

    python train_mobile_lstm.py --dataset toysigns
    python train_mobile_lstm.py --dataset my_signs --extractor mobilenet_v3_small
    python train_mobile_lstm.py --dataset toysigns --resume

reads   data_temp/<dataset>/<preset>/{frame,oflow}/<split>/<class>/<video>/*.jpg
        data_temp/<dataset>/<preset>/{frame,oflow}-<extractor>/ (feature.py), for the first phase
writes  model/<run>/  rgb.keras flow.keras run.json history.csv curves.png checkpoint/

With published weights of the extractor, the first phase trains the LSTM on stored features, in
minutes; the second (`--epochs-all`) trains everything on frames. From random weights there is only
the second. Numbers come from `MOBILE_LSTM_PRESETS` (common/presets.py).
"""

from common import command_line  # isort: split

import dataclasses

import feature
from common import network_input
from common.command_line import COUNT, documented, option
from common.presets import MOBILE_LSTM_PRESETS
from training.options import TrainingOptions, run_command
from training.run import Architecture, train_run
from weights.files import fingerprint
from weights.mobile import EXTRACTORS, find_weights


@documented
@dataclasses.dataclass(frozen=True)
class MobileLSTMOptions(TrainingOptions):
    """What a training of MobileNet and LSTM can be told. The schedule is the preset's."""

    weights: str | None = option(
        None,
        "of the extractor: imagenet (downloaded once), none, or a Keras weight file without top",
        is_recorded=True,
        of_default="imagenet; laptop: none",
    )
    extractor: str = option(
        "mobilenet", "what sees the frames", choices=EXTRACTORS, is_recorded=True
    )
    units: tuple = option(
        (64, 64),
        "sizes of the two LSTM layers",
        COUNT,
        metavar=("FIRST", "SECOND"),
        nargs=2,
        is_recorded=True,
    )


def train(dataset, options=None):
    """Trains the streams that are not trained yet.

    Args:
        dataset: `Dataset` with one of `MOBILE_LSTM_PRESETS`, whose frames and flow are stored, and
            features, too, unless the weights are "none".
        options: `MobileLSTMOptions`.

    Returns:
        `stage.Report`; its output is the run's folder.

    Raises:
        FileNotFoundError: frames, flow, features or weights are not there.
        ValueError: the features were made with other weights, or the run is unfinished, busy, or
            was made with other data or settings.
    """
    dataset.refuse_if_unknown()  # a wrong name comes before missing weights
    options = options or MobileLSTMOptions()
    extractor = options.extractor
    weights = set_weights(dataset, options.weights, extractor)
    if weights == "none":
        print(f"{extractor} starts from random weights: everything is trained.")
    if dataset.preset.epochs_top:
        feature.check(dataset, extractor, weights, options.streams, options.seed)
    path = find_weights(weights, extractor, dataset.preset.width_multiplier)
    options = dataclasses.replace(options, weights=weights)
    return train_run(dataset, ARCHITECTURE, options, {"weights_sha256": fingerprint(path)})


def check_weights(dataset, options):
    """Checks that the weights are there, before a pipeline begins.

    Args:
        dataset: `Dataset`, whose preset gets the schedule that goes with the weights.
        options: `MobileLSTMOptions`.

    Returns:
        `training.run.Architecture` that will be trained.
    """
    set_weights(dataset, options.weights, options.extractor)
    return ARCHITECTURE


def set_weights(dataset, weights, extractor):
    """The weights to begin with, which are there; from random ones there is only the second phase.

    Raises:
        FileNotFoundError, ValueError: as `find_weights`.
    """
    weights = weights or dataset.preset.weights
    width = dataset.preset.width_multiplier
    if find_weights(weights, extractor, width) is None:
        preset = dataset.preset
        usual = MOBILE_LSTM_PRESETS[preset.name].epochs_all
        epochs = preset.epochs_all or (0 if usual else preset.epochs_top)  # 0 if that is asked for
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
        find_weights(options["weights"], options["extractor"], preset.width_multiplier),
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


ARCHITECTURE = Architecture("mobile_lstm", build, set_trainable, top=top, features=features)


def main(argv=None):
    run_command(argv, __doc__, MobileLSTMOptions, train, MOBILE_LSTM_PRESETS)


if __name__ == "__main__":
    command_line.run(main, goes_on="The same command with --resume goes on from here.")
