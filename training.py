"""Trains the streams of a run: what all architectures share, up to the first import of Keras.

Checks what is there, makes or reopens the run's folder, and hands each stream to `fitting.py`.
"""

import dataclasses
import math
import time

import dataset as data
import disk
import history
import run_folder
import run_start
import stage

NOMINAL_NUM_SIGNS = 20  # of the network whose training step is timed beforehand
MAX_EPOCHS = 100  # of a phase that has more of them because there are few clips
START_SECONDS, BETWEEN_EPOCHS_SECONDS = 15, 0.7  # of a stream, of a small network
MIXED_PRECISION = ("float16", "bfloat16")
PRESET_FLAGS = {
    "batch_size": (int, "clips per step"),
    "dropout": (float, "share of features that is dropped before the top"),
    "epochs_top": (int, "epochs of the first phase: only the new top"),
    "epochs_all": (int, "epochs of the second phase: everything"),
    "learning_rate_top": (float, "of Adam in the first phase"),
    "learning_rate_all": (float, "of Adam in the second phase"),
}


@dataclasses.dataclass(frozen=True)
class Phase:
    """Consecutive epochs with the same trainable weights and a fresh optimizer.

    `part` is "top" or "all"; with `cosine` the learning rate falls towards zero along half a
    cosine.
    """

    part: str
    epochs: int
    learning_rate: float
    cosine: bool = False

    def learning_rate_at(self, epoch):
        """Of the phase's `epoch`, counted from 0."""
        if not self.cosine:
            return self.learning_rate
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * epoch / self.epochs))


@dataclasses.dataclass(frozen=True)
class Architecture:
    """What differs between architectures.

    `build(run, stream)` returns a fresh `keras.Model`; `set_trainable(model, part)` takes "top" or
    "all". Both import Keras when they are called.

    Where `top` is given, the first phase reads stored features instead of frames: `top(model)`
    returns the `keras.Model` from features to probabilities that shares its weights with `model`,
    and `features(run, stream, clips)` the files of the clips' features.
    """

    name: str
    build: object
    set_trainable: object
    top: object = None
    features: object = None

    def reads_features(self, phase):
        """Whether a phase reads stored features instead of frames."""
        return self.top is not None and phase.part == "top"


def train_run(
    dataset,
    architecture,
    run_name=None,
    streams=run_folder.STREAMS,
    seed=0,
    weights="none",
    val_fraction=data.VAL_FRACTION,
    augment=True,
    flip=False,
    patience=None,
    mixed_precision=None,
    gradient_accumulation=1,
    gpus=1,
    resume=False,
    restart=False,
    workers=None,
    further_options=None,
):
    """Trains the streams that are not trained yet, one after the other.

    Args:
        dataset: `Dataset` whose frames and flow are stored; its preset holds the schedule.
        architecture: `Architecture`.
        run_name: folder below `model/`; by default from data set, preset, architecture and seed.
        streams: "rgb" and "flow", or one of them.
        seed: of weights, order, augmentation and dropout.
        weights: recorded in run.json: where the network's weights come from.
        val_fraction: of the training clips become validation clips where there is no val split.
        augment: move the crop and change the brightness of training clips.
        flip: mirror half of the training clips.
        patience: end a stream after this many epochs without a better one.
        mixed_precision: None, "float16" or "bfloat16": what the network computes in while it
            trains; weights stay float32, and so does the network that is saved for use.
        gradient_accumulation: number of batches whose mean gradient is one step of the optimizer.
        gpus: 1, or "all": every batch is split among the N GPUs of this machine; of the training
            and of the validation clips, up to N - 1 are left out of an epoch for that.
        resume: go on with an unfinished run.
        restart: delete the run first.
        workers: threads that read clips, by default 1.
        further_options: of the architecture, recorded in run.json.

    Returns:
        `stage.Report` of the training clips; its output is the run's folder.

    Raises:
        FileNotFoundError: frames or flow are not there.
        ValueError: the run is unfinished, busy, or was made with other data or settings; or
            `restart` would delete `weights`.
    """
    clips = {stream: run_start.stored_clips(dataset, stream) for stream in streams}
    options = {
        "seed": seed,
        "weights": weights,
        "augment": augment,
        "flip": flip,
        "patience": patience,
        "mixed_precision": mixed_precision,
        "gradient_accumulation": gradient_accumulation,
        **(further_options or {}),
    }
    if not dataset.preset.epochs_top + dataset.preset.epochs_all:
        raise ValueError("No epochs to train: --epochs-top and --epochs-all are both 0.")
    folder = run_dir(dataset, architecture.name, run_name, seed)
    if restart:
        run_start.refuse_to_delete_weights(folder, weights)
    run = run_start.new_run(
        folder, dataset, architecture.name, clips[streams[0]], val_fraction, options
    )
    run_start.check_devices(gpus, dataset.preset, options)
    report = stage.Report("training", run.folder)
    started = time.monotonic()
    with disk.lock(run.folder / ".lock", f"Another process is training {run.folder}."):
        run_start.open_run(run, restart)
        todo = [stream for stream in streams if not is_trained(run, stream)]
        run_start.refuse_unasked_resume(run, todo, resume)
        for stream in streams:
            if stream in todo:
                _train_stream(run, architecture, stream, clips[stream], workers or 1, gpus)
                report.done += run.data["train"]
            else:
                print(f"{run.model_file(stream)} is trained already.")
                report.skipped += run.data["train"]
    report.seconds = time.monotonic() - started
    report.print()
    return report


def run_dir(dataset, architecture_name, run_name=None, seed=0):
    """The folder of the run that a training with these settings makes or goes on with."""
    name = f"{dataset.name}-{dataset.preset.name}-{architecture_name}-seed{seed}"
    return dataset.root / "model" / (run_name or name)


def announce_duration(
    dataset,
    architecture,
    num_clips,
    options,
    run_name=None,
    streams=run_folder.STREAMS,
    restart=False,
):
    """Says, on a machine without a GPU, how long training will take, from one timed step.

    Args:
        dataset: `Dataset`; its preset holds the schedule.
        architecture: `Architecture`.
        num_clips: expected number of training clips.
        options: as in `run_folder.Run`.
        run_name, streams, restart: as in `train_run`.
    """
    folder = run_dir(dataset, architecture.name, run_name, options["seed"])
    if not restart and all((folder / f"{stream}.keras").is_file() for stream in streams):
        return
    run_folder.import_keras()
    import devices
    import fitting

    if devices.gpu_names():
        return
    signs = [data.Sign(str(number), str(number)) for number in range(NOMINAL_NUM_SIGNS)]
    options = {**run_start.OPTION_DEFAULTS, **options}
    run = run_folder.Run(
        folder, architecture.name, dataset.name, dataset.preset, signs, {}, {}, options
    )
    schedule = phases(dataset.preset, num_clips)
    total = sum(phase.epochs for phase in schedule if not architecture.reads_features(phase))
    if not total:
        return
    per_clip = {stream: fitting.seconds_per_clip(run, stream, architecture) for stream in streams}
    around = len(streams) * (START_SECONDS + BETWEEN_EPOCHS_SECONDS * total)
    minutes = (sum(per_clip.values()) * num_clips * total + around) / 60
    parts = " and ".join(
        f"{seconds:.2f} s a clip for {stream}" for stream, seconds in per_clip.items()
    )
    print(
        f"No GPU here: training will take about {_duration(minutes)} ({total} epochs of "
        f"{num_clips} clips, {parts})."
    )
    if dataset.preset.name == "full":
        print("With `--preset laptop` it takes minutes: smaller frames, a narrower network.")


def phases(preset, num_clips):
    """The schedule of a preset for a number of training clips: first the new top, then everything.

    A network learns by steps. Where an epoch has few of them because there are few clips, there are
    more epochs, so that their product stays.
    """
    times = max(1, preset.epochs_for_clips / max(num_clips, 1))

    def scaled(epochs):
        return max(epochs, min(MAX_EPOCHS, round(epochs * times)))

    return [
        Phase("top", scaled(preset.epochs_top), preset.learning_rate_top),
        Phase("all", scaled(preset.epochs_all), preset.learning_rate_all, preset.cosine),
    ]


def is_trained(run, stream):
    """Whether a stream has had all its epochs, or has ended early as it was told to."""
    past = history.History(run.folder, stream)
    total = sum(phase.epochs for phase in phases(run.preset, run.data["train"]))
    epochs, _ = run.newest_checkpoint(stream)
    had_all = epochs >= total or past.has_stalled(run.options["patience"])
    return epochs > 0 and had_all and run.model_file(stream).is_file()


def add_arguments(parser):
    """Adds the flags of training to an `argparse` parser."""
    flag = parser.add_argument
    flag("--run", metavar="NAME", help="folder below model/ (default: from data set and seed)")
    flag("--stream", choices=[*run_folder.STREAMS, "both"], default="both", help="what to train")
    flag("--seed", type=int, default=0, help="of weights, order and augmentation (default: 0)")
    flag(
        "--val-fraction",
        type=float,
        default=data.VAL_FRACTION,
        metavar="F",
        help="share of training clips used for validation where there is no val folder; 0: none",
    )
    flag("--no-augment", action="store_true", help="always the centre crop, no brightness changes")
    flag("--flip", action="store_true", help="mirror half of the clips: signs must survive it")
    flag("--patience", type=int, metavar="N", help="end after N epochs without a better one")
    flag(
        "--mixed-precision",
        nargs="?",
        choices=MIXED_PRECISION,
        const=MIXED_PRECISION[0],
        help="compute in 16 bits, for GPUs: float16 (default), or bfloat16 on Ampere and later",
    )
    flag(
        "--gradient-accumulation",
        type=stage.positive_int,
        default=1,
        metavar="N",
        help="batches per step of the optimizer, where memory is small (default: 1)",
    )
    flag("--gpus", choices=["1", "all"], default="1", help="all: split batches among all GPUs")
    flag("--resume", action="store_true", help="go on with an unfinished run")
    flag("--restart", action="store_true", help="delete the run and train it anew")
    flag("--workers", type=stage.positive_int, metavar="N", help="processes, or threads that read")
    for field, (kind, text) in PRESET_FLAGS.items():
        flag(f"--{field.replace('_', '-')}", type=kind, help=f"{text} (default: the preset's)")


def from_arguments(args, presets=data.PRESETS):
    """(Dataset, keyword arguments of `train_run`) from parsed flags."""
    dataset = data.Dataset(args.dataset, args.preset, presets=presets)
    given = {field: getattr(args, field) for field in PRESET_FLAGS}
    given = {field: value for field, value in given.items() if value is not None}
    if "epochs_top" in given or "epochs_all" in given:
        given["epochs_for_clips"] = 0
    dataset.preset = dataclasses.replace(dataset.preset, **given)
    return dataset, {
        "run_name": args.run,
        "streams": run_folder.STREAMS if args.stream == "both" else (args.stream,),
        "seed": args.seed,
        "val_fraction": args.val_fraction,
        "augment": not args.no_augment,
        "flip": args.flip,
        "patience": args.patience,
        "mixed_precision": args.mixed_precision,
        "gradient_accumulation": args.gradient_accumulation,
        "gpus": args.gpus if args.gpus == "all" else 1,
        "resume": args.resume,
        "restart": args.restart,
        "workers": args.workers,
    }


def _train_stream(run, architecture, stream, clips, workers, gpus):
    run_folder.import_keras()  # here, after all checks
    import fitting

    train, val = data.split_train_val(clips, run.data["val_fraction"])
    schedule = phases(run.preset, len(train))
    epochs = sum(phase.epochs for phase in schedule)
    words = f"{len(train)} training clips, {len(val)} validation clips, {epochs} epochs"
    print(f"{stream}: {words}", flush=True)
    run_start.name_signs_without_val(run, train, val)
    fitting.fit_stream(run, stream, architecture, schedule, train, val, workers, gpus)
    run.write()
    history.plot(run.folder)


def _duration(minutes):
    if minutes < 1.5:
        return "a minute"
    if minutes < 100:
        return f"{minutes:.0f} minutes"
    return f"{minutes / 60:.0f} hours" if minutes < 6000 else f"{minutes / 1440:.0f} days"
