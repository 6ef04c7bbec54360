"""Stage 4 of 5: train the two streams of I3D, each first the new top, then everything.

    python train_i3d.py --dataset toysigns
    python train_i3d.py --dataset chalearn --weights kinetics
    python train_i3d.py --dataset toysigns --resume

reads   data_temp/<dataset>/<preset>/{frame,oflow}/<split>/<class>/<video>/*.jpg
writes  model/<run>/  rgb.keras flow.keras run.json history.csv curves.png checkpoint/

Numbers come from the preset (dataset.py); the schedule's are flags too. Ctrl-C leaves a usable
model. From random weights the first phase has no epochs.
"""

import argparse
import dataclasses

import dataset as data
import i3d_weights
import network_input
import run_folder
import stage
import training


def train(dataset, weights=None, streams=run_folder.STREAMS, **settings):
    """Trains the streams that are not trained yet.

    Args:
        dataset: `Dataset` whose frames and flow are stored; its preset holds the schedule.
        weights: "kinetics", "none", or a file or folder (see `i3d_weights.find_weights`); by
            default the preset's.
        streams: "rgb" and "flow", or one of them.
        settings: further arguments of `training.train_run`.

    Returns:
        `stage.Report`; its output is the run's folder.

    Raises:
        FileNotFoundError: frames, flow or weights are not there.
        ValueError: the run is unfinished, busy, or was made with other data or settings.
    """
    if not dataset.temp_dir.is_dir() and not dataset.video_dir.is_dir():
        dataset.stored_clips("rgb")  # raises: a wrong name comes before missing weights
    weights = _set_weights(dataset, weights, streams)
    return training.train_run(dataset, ARCHITECTURE, streams=streams, weights=weights, **settings)


def announce_duration(dataset, num_clips, weights=None, run_name=None, seed=0, **settings):
    """Checks that the weights are there, and says how long training will take without a GPU.

    Args:
        dataset, weights, settings: as in `train`.
        num_clips: expected number of training clips.
        run_name, seed: as in `training.train_run`.
    """
    _set_weights(dataset, weights, settings["streams"])
    options = {"seed": seed, "weights": "none"}
    training.announce_duration(dataset, ARCHITECTURE, num_clips, options, run_name)


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
        i3d_weights.load_weights(model, i3d_weights.find_weights(weights, stream))
    return model


def set_trainable(model, part):
    """Chooses "top" or "all" of a network of `build` for training."""
    import model_i3d

    model_i3d.set_trainable(model, part)


ARCHITECTURE = training.Architecture("i3d", build, set_trainable)


def _set_weights(dataset, weights, streams):
    """The weights to begin with; from random ones the first phase has no epochs."""
    weights = weights or dataset.preset.weights
    if weights == "none":
        dataset.preset = dataclasses.replace(dataset.preset, epochs_top=0)
    else:
        for stream in streams:
            i3d_weights.find_weights(weights, stream)
    return weights


def add_arguments(parser):
    """Adds the flags of training to an `argparse` parser."""
    training.add_arguments(parser)
    parser.add_argument(
        "--weights",
        help="kinetics, none, or a file or folder of published weights (default: the preset's)",
    )


def from_arguments(args):
    """(Dataset, keyword arguments of `train`) from parsed flags."""
    dataset, settings = training.from_arguments(args)
    return dataset, {**settings, "weights": args.weights}


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
