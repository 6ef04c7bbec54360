"""Trains the streams of a run: what all architectures share, up to the first import of Keras.

Checks what is there, makes or reopens the run's folder, and hands each stream to `fitting.py`.
"""

import dataclasses
import hashlib
import math
import shutil
import time

import dataset as data
import disk
import history
import run_folder
import stage

NOMINAL_NUM_SIGNS = 20  # of the network whose training step is timed beforehand
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
    """

    name: str
    build: object
    set_trainable: object


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
    resume=False,
    restart=False,
    workers=None,
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
        resume: go on with an unfinished run.
        restart: delete the run first.
        workers: threads that read clips, by default 1.

    Returns:
        `stage.Report` of the training clips; its output is the run's folder.

    Raises:
        FileNotFoundError: frames or flow are not there.
        ValueError: the run is unfinished, busy, or was made with other data or settings.
    """
    clips = {stream: stored_clips(dataset, stream) for stream in streams}
    options = {
        "seed": seed,
        "weights": weights,
        "augment": augment,
        "flip": flip,
        "patience": patience,
    }
    run = _new_run(dataset, architecture, run_name, clips[streams[0]], val_fraction, options)
    report = stage.Report("training", run.folder)
    started = time.monotonic()
    with disk.lock(run.folder / ".lock", f"Another process is training {run.folder}."):
        _open(run, restart)
        todo = [stream for stream in streams if not is_trained(run, stream)]
        _refuse_unasked_resume(run, todo, resume)
        for stream in streams:
            if stream in todo:
                _train_stream(run, architecture, stream, clips[stream], workers or 1)
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


def announce_duration(dataset, architecture, num_clips, options, run_name=None):
    """Says, on a machine without a GPU, how long training will take, from one timed step.

    Args:
        dataset: `Dataset`; its preset holds the schedule.
        architecture: `Architecture`.
        num_clips: expected number of training clips.
        options: as in `run_folder.Run`.
        run_name: as in `train_run`.
    """
    folder = run_dir(dataset, architecture.name, run_name, options["seed"])
    if all((folder / f"{stream}.keras").is_file() for stream in run_folder.STREAMS):
        return
    run_folder.import_keras()
    import fitting

    if fitting.has_gpu():
        return
    signs = [data.Sign(str(number), str(number)) for number in range(NOMINAL_NUM_SIGNS)]
    run = run_folder.Run(
        folder, architecture.name, dataset.name, dataset.preset, signs, {}, {}, options
    )
    total = sum(phase.epochs for phase in phases(dataset.preset))
    per_clip = [
        fitting.seconds_per_clip(run, stream, architecture) for stream in run_folder.STREAMS
    ]
    minutes = sum(per_clip) * num_clips * total / 60
    print(
        f"No GPU here: training will take about {_duration(minutes)} ({total} epochs of "
        f"{num_clips} clips, {per_clip[0]:.2f} s a clip for rgb and {per_clip[1]:.2f} s for flow)."
    )
    if dataset.preset.name == "full":
        print("With `--preset laptop` it takes minutes: smaller frames, a narrower network.")


def stored_clips(dataset, stream):
    """The stored clips of a stream, after checking that they are whole and what the preset wants.

    Raises:
        FileNotFoundError: there are none, or some frames have no flow.
        ValueError: they were made with other parameters.
    """
    clips = dataset.stored_clips(stream)
    disk.claim(dataset.frame_dir, dataset.frame_parameters(), f"python frame.py {dataset.flags()}")
    have = {clip.place() for clip in clips}
    missing = [c.place() for c in dataset.stored_clips("rgb") if c.place() not in have]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} clips have no flow, such as {missing[0]}. Run `python "
            f"opticalflow.py {dataset.flags()}` first."
        )
    return clips


def phases(preset):
    """The schedule of a preset: first the new top, then everything."""
    return [
        Phase("top", preset.epochs_top, preset.learning_rate_top),
        Phase("all", preset.epochs_all, preset.learning_rate_all, preset.cosine),
    ]


def is_trained(run, stream):
    """Whether a stream has had all its epochs, or has ended early as it was told to."""
    past = history.History(run.folder, stream)
    total = sum(phase.epochs for phase in phases(run.preset))
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
    flag("--resume", action="store_true", help="go on with an unfinished run")
    flag("--restart", action="store_true", help="delete the run and train it anew")
    flag("--workers", type=stage.positive_int, metavar="N", help="processes, or threads that read")
    for field, (kind, text) in PRESET_FLAGS.items():
        flag(f"--{field.replace('_', '-')}", type=kind, help=f"{text} (default: the preset's)")


def from_arguments(args):
    """(Dataset, keyword arguments of `train_run`) from parsed flags."""
    dataset = data.Dataset(args.dataset, args.preset)
    given = {field: getattr(args, field) for field in PRESET_FLAGS}
    given = {field: value for field, value in given.items() if value is not None}
    dataset.preset = dataclasses.replace(dataset.preset, **given)
    return dataset, {
        "run_name": args.run,
        "streams": run_folder.STREAMS if args.stream == "both" else (args.stream,),
        "seed": args.seed,
        "val_fraction": args.val_fraction,
        "augment": not args.no_augment,
        "flip": args.flip,
        "patience": args.patience,
        "resume": args.resume,
        "restart": args.restart,
        "workers": args.workers,
    }


def _new_run(dataset, architecture, run_name, clips, val_fraction, options):
    """The `Run` that these arguments ask for, not written yet."""
    train, val = data.split_train_val(clips, val_fraction)
    signs = dataset.signs(clip.label for clip in train)
    if len(signs) < 2:
        raise ValueError(f"A network needs at least 2 signs to tell apart. Found: {len(signs)}.")
    places = sorted(f"{clip.split}/{clip.label}/{clip.name}" for clip in train + val)
    return run_folder.Run(
        folder=run_dir(dataset, architecture.name, run_name, options["seed"]),
        architecture=architecture.name,
        dataset=dataset.name,
        preset=dataset.preset,
        signs=signs,
        flow=disk.read_parameters(dataset.flow_dir),
        data={
            "train": len(train),
            "val": len(val),
            "val_fraction": val_fraction,
            "fingerprint": hashlib.sha256("\n".join(places).encode()).hexdigest()[:16],
        },
        options=options,
        date=run_folder.now(),
        versions=run_folder.versions(),
    )


def _open(run, restart):
    """Takes over what an earlier training left in the run's folder, or writes run.json."""
    if not (run.folder / "run.json").is_file():
        return run.write()
    if restart:
        for path in run.folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != ".lock":
                path.unlink()
        return run.write()
    there = run_folder.Run.read(run.folder)
    differs = [
        f"{field} was {getattr(there, field)}, is {getattr(run, field)}"
        for field in ("architecture", "dataset", "data", "preset", "flow", "options", "signs")
        if getattr(there, field) != getattr(run, field)
    ]
    if differs:
        raise ValueError(
            f"{run.folder} was trained with other data or settings: {differs[0]}. "
            "To replace it add --restart, to keep it --run NAME."
        )
    run.fusion_weight, run.date = there.fusion_weight, there.date


def _refuse_unasked_resume(run, todo, resume):
    begun = [stream for stream in todo if run.newest_checkpoint(stream)[0]]
    if begun and not resume:
        raise ValueError(
            f"{run.folder} is unfinished ({' and '.join(begun)}). Go on with it: the same command "
            "with --resume; train it anew: with --restart."
        )


def _train_stream(run, architecture, stream, clips, workers):
    run_folder.import_keras()  # here, after all checks
    import fitting

    train, val = data.split_train_val(clips, run.data["val_fraction"])
    print(f"{stream}: {len(train)} training clips, {len(val)} validation clips", flush=True)
    _name_signs_without_val(run, train, val)
    fitting.fit_stream(run, stream, architecture, phases(run.preset), train, val, workers)
    run.write()
    history.plot(run.folder)


def _name_signs_without_val(run, train, val):
    lacking = [sign.name for sign in run.signs if sign.label not in {clip.label for clip in val}]
    if lacking and val:
        print(f"No validation clip: {', '.join(lacking[:20])}" + " ..." * (len(lacking) > 20))


def _duration(minutes):
    if minutes < 100:
        return f"{minutes:.0f} minutes"
    return f"{minutes / 60:.0f} hours" if minutes < 6000 else f"{minutes / 1440:.0f} days"
