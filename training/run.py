"""Trains the streams of a run: what all architectures share, up to the first import of Keras.

Checks what is there, makes or reopens the run's folder, and hands each stream to
`fitting.py`.
"""

import dataclasses
import time

from common import disk, stage
from common.command_line import number_of
from common.slow_imports import import_keras
from training import history, start
from training.options import TrainingOptions
from training.schedule import phases


@dataclasses.dataclass(frozen=True)
class Architecture:
    """What differs between architectures.

    `build(run, stream)` returns a fresh `keras.Model`; `set_trainable(model, part)` takes "top" or
    "all". Both import Keras when they are called.

    Where `features` is given, the first phase reads stored features instead of frames:
    `features(run, stream, clips)` returns the files of the clips' features, and `top(model)` the
    `keras.Model` from features to probabilities that shares its weights with `model`.

    Where `trunk` is given, the first phase solves the top: `trunk(model)` returns the `keras.Model`
    from clips to the features that the top sees, and `solve_top(run, stream, model, features,
    classes, class_weight)` sets the top that names them best. It returns what judges that: a
    function from features and classes to their mean loss and accuracy.
    """

    name: str
    build: object
    set_trainable: object
    top: object = None
    features: object = None
    trunk: object = None
    solve_top: object = None

    def reads_features(self, phase):
        """Whether a phase reads stored features instead of frames."""
        return self.features is not None and phase.part == "top"

    def solves(self, phase):
        """Whether a phase is one problem with one solution."""
        return self.trunk is not None and phase.part == "top"


def train_run(dataset, architecture, options=None, further_options=None):
    """Trains the streams that are not trained yet, one after the other.

    Args:
        dataset: `Dataset` whose frames and flow are stored; its preset holds the schedule.
        architecture: `Architecture`.
        options: `TrainingOptions`, by default as they are by themselves.
        further_options: dict of what else decides about the result, recorded in run.json.

    Returns:
        `stage.Report` of the training clips; its output is the run's folder.

    Raises:
        FileNotFoundError: frames or flow are not there.
        ValueError: the run is unfinished, busy, or was made with other data or settings; or
            `restart` would delete `weights`.
    """
    options = options or TrainingOptions()
    streams = options.streams
    stored = start.stored_clips(dataset, streams)
    start.check_schedule(dataset.preset)
    folder = run_dir(dataset, architecture.name, options.run, options.seed)
    if options.restart:
        start.refuse_to_delete_weights(folder, options.weights)
    run = start.new_run(folder, dataset, architecture.name, stored, options, further_options or {})
    start.check_installed(options, dataset.preset)
    report = stage.Report("training", run.folder)
    started = time.monotonic()
    with disk.lock(run.folder / ".lock", f"Another process is training {run.folder}."):
        start.open_run(run, options)
        todo = [stream for stream in streams if not is_trained(run, stream)]
        start.refuse_unasked_resume(run, todo, options.resume)
        run.finished = not todo
        for stream in streams:
            if stream in todo:
                _train_stream(run, architecture, stream, stored.clips[stream], options)
                report.done += run.data["train"]
            else:
                print(f"{run.model_file(stream)} is trained already.")
                report.skipped += run.data["train"]
        if todo:
            run.finished = True
            run.write()
    report.seconds = time.monotonic() - started
    report.print()
    return report


def run_dir(dataset, architecture_name, run_name=None, seed=0):
    """The folder of the run that a training with these settings makes or goes on with."""
    name = f"{dataset.name}-{dataset.preset.name}-{architecture_name}-seed{seed}"
    return dataset.root / "model" / (run_name or name)


def is_trained(run, stream):
    """Whether a stream has had all its epochs, or has ended early as it was told to."""
    total = sum(phase.epochs for phase in phases(run.preset, run.data["train"]))
    epochs, _ = run.newest_checkpoint(stream)
    past = history.History(run.folder, stream, epochs)
    had_all = epochs >= total or past.has_stalled(run.options["patience"])
    return epochs > 0 and had_all and run.model_file(stream).is_file()


def _train_stream(run, architecture, stream, clips, options):
    import_keras()  # here, after all checks
    from training import fitting

    train, val = start.split(clips, run.data["val_fraction"])
    schedule = phases(run.preset, len(train))
    epochs = sum(phase.epochs for phase in schedule)
    words = [(len(train), "training clip"), (len(val), "validation clip"), (epochs, "epoch")]
    print(f"{stream}: {', '.join(number_of(*each) for each in words)}", flush=True)
    start.name_signs_without_val(run, train, val)
    started = time.monotonic()
    places = (options.workers or 1, options.gpus, options.tensorboard)
    fitting.fit_stream(run, stream, architecture, schedule, train, val, *places)
    run.write()
    past = history.History(run.folder, stream)
    print(f"{stream}: {past.words(run)}, {time.monotonic() - started:.0f} s", flush=True)
    history.plot(run)
