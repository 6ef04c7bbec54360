"""Fits one stream's network: phases, a checkpoint after every epoch, exact resuming.

Knows nothing of an architecture: it is handed functions that build and freeze a network.
"""

import sys
import time

import keras
import numpy as np

import run_folder
from datagenerator import ClipSequence
from history import COLUMNS, History

TIMED_BATCH_SIZE = 2
BALANCED_UP_TO = 1.1  # ratio of the most to the least frequent sign without class weights


def fit_stream(run, stream, architecture, phases, train_clips, val_clips, workers=1):
    """Trains from where the last checkpoint stands, or from the start.

    An interrupted training that is continued ends with the same weights as an undisturbed one: the
    checkpoint holds weights and optimizer, and all randomness comes from seed and epoch.

    Args:
        run: `run_folder.Run`.
        stream: "rgb" or "flow".
        architecture: `training.Architecture`.
        phases: list of `training.Phase`.
        train_clips, val_clips: lists of `dataset.Clip`; without validation clips the best epoch is
            that of the lowest training loss.
        workers: threads that read clips.

    Writes `<stream>.keras` (the best epoch), `checkpoint/` and history.csv.
    """
    finished, checkpoint = run.newest_checkpoint(stream)
    past = History(run.folder, stream, finished)
    keras.utils.set_random_seed(run.options["seed"])
    model = run_folder.load_model(checkpoint) if checkpoint else architecture.build(run, stream)
    train, val = _sequences(run, stream, train_clips, val_clips, workers)
    try:
        first = 0
        for phase in phases:
            last = first + phase.epochs
            if first <= finished < last and not past.has_stalled(run.options["patience"]):
                if finished == first:
                    architecture.set_trainable(model, phase.part)
                    compile_model(model, phase.learning_rate)
                train.epoch = finished
                model.fit(
                    train,
                    epochs=last,
                    initial_epoch=finished,
                    validation_data=val,
                    shuffle=False,
                    class_weight=balanced_class_weight(train.classes, train.num_classes),
                    callbacks=[EpochKeeper(run, stream, phase, first, past)],
                    verbose=1 if sys.stdout.isatty() else 2,
                )
                finished = last
            first = last
    except KeyboardInterrupt:
        if not run.model_file(stream).is_file():
            save_for_use(model, run.model_file(stream))
        raise


def compile_model(model, learning_rate):
    """Adam and cross entropy."""
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate),
        loss="categorical_crossentropy",
        metrics=["accuracy"],
    )
    # Else TensorFlow traces the first step twice, which takes twice the time.
    model.optimizer.build(model.trainable_variables)


def seconds_per_clip(run, stream, architecture):
    """The time of one training step on this machine, per clip; the network is thrown away."""
    model = architecture.build(run, stream)
    architecture.set_trainable(model, "all")
    compile_model(model, run.preset.learning_rate_all)
    batch = min(run.preset.batch_size, TIMED_BATCH_SIZE)
    clips = np.zeros((batch, *model.input_shape[1:]), np.float32)
    labels = np.eye(batch, len(run.signs), dtype=np.float32)
    model.train_on_batch(clips, labels)
    started = time.monotonic()
    model.train_on_batch(clips, labels)
    seconds = time.monotonic() - started
    keras.utils.clear_session()
    return seconds / batch


def has_gpu():
    """Whether Keras computes on a GPU."""
    return bool(keras.distribution.list_devices("gpu"))


class EpochKeeper(keras.callbacks.Callback):
    """Begins an epoch in a state that depends on its number only, and stores it when it ends."""

    def __init__(self, run, stream, phase, first_epoch, past):
        super().__init__()
        self.run = run
        self.stream = stream
        self.phase = phase
        self.first_epoch = first_epoch
        self.past = past

    def on_epoch_begin(self, epoch, logs=None):
        self.started = time.monotonic()
        self.model.optimizer.learning_rate = self.phase.learning_rate_at(epoch - self.first_epoch)
        for number, layer in enumerate(self.model.layers):
            # A `.keras` file does not carry the random state of Dropout.
            if hasattr(layer, "seed_generator"):
                layer.seed_generator.state.assign([self.run.options["seed"] + number, epoch])

    def on_epoch_end(self, epoch, logs=None):
        row = {
            "stream": self.stream,
            "phase": self.phase.part,
            "epoch": epoch + 1,
            **{key: float(logs[key]) for key in logs if key in COLUMNS},
            "learning_rate": float(self.model.optimizer.learning_rate),
            "seconds": round(time.monotonic() - self.started, 2),
        }
        # A run that is killed between these lines does the epoch again, to the same end.
        if self.past.append(row):
            save_for_use(self.model, self.run.model_file(self.stream))
        save_checkpoint(self.model, self.run, self.stream, epoch + 1)
        self.model.stop_training = self.past.has_stalled(self.run.options["patience"])


def save_checkpoint(model, run, stream, epoch):
    """Saves weights and optimizer after `epoch` epochs and deletes the checkpoint before."""
    folder = run.folder / "checkpoint"
    folder.mkdir(exist_ok=True)
    path = folder / f"{stream}-{epoch:04d}.keras"
    _save(model, path)
    for other in folder.glob(f"{stream}-*.keras"):
        if other != path:
            other.unlink()


def save_for_use(model, path):
    """Saves a network without its optimizer."""
    _save(keras.Model(model.inputs, model.outputs, name=model.name), path)


def balanced_class_weight(classes, num_classes):
    """Weights that give every class the same total, or None where classes are balanced already.

    Args:
        classes: int array, the class of every training clip.
        num_classes: number of classes.

    Returns:
        dict of class index to weight, with mean 1 over the clips.
    """
    counts = np.bincount(classes, minlength=num_classes)
    if counts.max() <= BALANCED_UP_TO * counts.min():
        return None
    return {index: len(classes) / (num_classes * count) for index, count in enumerate(counts)}


def _sequences(run, stream, train_clips, val_clips, workers):
    settings = {
        "labels": run.labels,
        "stream": stream,
        "input_size": run.preset.input_size,
        "batch_size": run.preset.batch_size,
        "workers": workers,
    }
    train = ClipSequence(
        train_clips,
        seed=run.options["seed"],
        augment=run.options["augment"],
        flip=run.options["flip"],
        **settings,
    )
    return train, ClipSequence(val_clips, **settings) if val_clips else None


def _save(model, path):
    partial = path.with_name(f".partial-{path.name}")
    model.save(partial)
    partial.replace(path)
