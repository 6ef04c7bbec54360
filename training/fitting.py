"""Fits one stream's network: phases, a checkpoint after every epoch, exact resuming.

Knows nothing of an architecture: it is handed functions that build and freeze a network.
"""

import itertools
import math
import time

import keras
import numpy as np

from datagenerator import ClipSequence, FeatureSequence
from inference.saved_network import load_model
from training import devices, progress
from training.history import COLUMNS, History

MIXED_PRECISIONS = ("mixed_float16", "mixed_bfloat16")
SEED_STEP = 10_000  # between the epochs of two seeds
NUM_SEEDS = 2**32  # that generators take
CHECKPOINT_SECONDS = 20  # between two, at least: few clips take less time than writing one
NUM_VIEWS = 1000  # of all training clips together: few are seen with more changes than many
BALANCED_UP_TO = 1.1  # ratio of the most to the least frequent sign without class weights


def seed_of(run, number):
    """The seed of an epoch or of a view of the clips, by its number."""
    return (SEED_STEP * run.options["seed"] + number) % NUM_SEEDS


def fit_stream(
    run,
    stream,
    architecture,
    phases,
    train_clips,
    val_clips,
    workers=1,
    gpus=1,
    for_tensorboard=False,
):
    """Trains from where the last checkpoint stands, or from the start.

    An interrupted training that is continued ends with the same weights as an undisturbed one: the
    checkpoint holds weights and optimizer, and all randomness comes from seed and epoch. What was
    trained since the last checkpoint, of at least `CHECKPOINT_SECONDS` ago, is trained again.

    Args:
        run: `run_folder.Run`.
        stream: "rgb" or "flow".
        architecture: `training.run.Architecture`.
        phases: list of `training.schedule.Phase`.
        train_clips, val_clips: lists of `dataset.Clip`; without validation clips the best epoch is
            that of the lowest training loss.
        workers: threads that read clips.
        gpus: 1, or "all", after `devices.check`.
        for_tensorboard: also write tensorboard/<stream>/.

    Writes `<stream>.keras` (the best epoch), `checkpoint/` and history.csv.
    """
    finished, checkpoint = run.newest_checkpoint(stream)
    past = History(run.folder, stream, finished)
    keras.utils.set_random_seed(run.options["seed"])
    with devices.shared(gpus) as num_devices:
        train, val = _sequences(run, stream, train_clips, val_clips, workers, num_devices)
        num_epochs = sum(phase.epochs for phase in phases)
        with progress.bar(stream, (num_epochs - finished) * train.num_batches) as bar:
            model = load_model(checkpoint) if checkpoint else build(run, stream, architecture)
            devices.synchronize(model, num_devices)
            keeper = None
            try:
                for phase, first, epochs in _what_is_left(phases, finished):
                    if past.has_stalled(run.options["patience"]):
                        break
                    if epochs.start == first:
                        architecture.set_trainable(model, phase.part)
                        compile_model(model, phase.learning_rate, run.options)
                    keeper = EpochKeeper(run, stream, phase, first, past, model)
                    callbacks = [keeper, progress.Progress(bar, stream, num_epochs)]
                    if for_tensorboard:
                        callbacks.append(_tensorboard(run, stream))
                    if architecture.solves(phase):
                        _solve_top(run, stream, architecture, train, val, epochs.start, callbacks)
                    elif architecture.reads_features(phase):
                        _fit_top(run, stream, architecture, train, val, epochs, callbacks)
                    else:
                        _fit(model, train, val, epochs, callbacks)
            except KeyboardInterrupt:
                if keeper:
                    keeper.save_best()
                if not run.model_file(stream).is_file():
                    save_for_use(model, run.model_file(stream))
                raise


def build(run, stream, architecture):
    """A fresh network of `architecture` that computes in the precision of the run's options."""
    precision = run.options["mixed_precision"]
    keras.config.set_dtype_policy(f"mixed_{precision}" if precision else "float32")
    try:
        return architecture.build(run, stream)
    finally:
        keras.config.set_dtype_policy("float32")


def compile_model(model, learning_rate, options):
    """Adam and cross entropy, with the gradient accumulation and precision of a run's options.

    Gradients that are left when an epoch ends count in the first step of the next one: they are
    part of the optimizer, and so of the checkpoint.
    """
    batches = options["gradient_accumulation"]
    optimizer = keras.optimizers.Adam(
        learning_rate, gradient_accumulation_steps=batches if batches > 1 else None
    )
    if options["mixed_precision"] == "float16":  # whose smallest gradients would become zero
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    model.compile(optimizer=optimizer, loss="categorical_crossentropy", metrics=["accuracy"])
    # Else TensorFlow traces the first step twice, once for the variables that it makes: 7 seconds.
    model.optimizer.build(model.trainable_variables)
    nothing = np.zeros((1, model.output_shape[-1]), "float32")
    model.compute_metrics(None, nothing, nothing)
    model.reset_metrics()


class EpochKeeper(keras.callbacks.Callback):
    """Begins epochs in a state that depends on their number only, and stores what they lead to.

    `network` is the whole one, also where only its top is being fitted.
    """

    def __init__(self, run, stream, phase, first_epoch, past, network):
        super().__init__()
        self.network = network
        self.sequence = None  # what is fitted on
        self.run = run
        self.stream = stream
        self.phase = phase
        self.first_epoch = first_epoch
        self.past = past
        self.best = None  # weights of the best epoch, as long as they are not written
        self.written_at = -math.inf

    def on_epoch_begin(self, epoch, logs=None):
        self.started = time.monotonic()
        self.sequence.epoch = epoch  # Keras on JAX and PyTorch counts one too many
        self.learning_rate = self.phase.learning_rate_at(epoch - self.first_epoch)
        self.model.optimizer.learning_rate = self.learning_rate
        # A `.keras` file does not carry the random state of Dropout: on PyTorch the global one, on
        # the other backends that of each layer. TensorFlow, given a global seed, would optimize the
        # graph of the training step anew, which takes seconds.
        if keras.backend.backend() == "torch":
            keras.utils.set_random_seed(seed_of(self.run, epoch))
        for number, layer in enumerate(self.network.layers):
            if hasattr(layer, "seed_generator"):
                seed = self.run.options["seed"] + number
                layer.seed_generator.state.assign([seed % NUM_SEEDS, epoch])

    def on_epoch_end(self, epoch, logs=None):
        row = {
            "stream": self.stream,
            "phase": self.phase.part,
            "epoch": epoch + 1,
            **{key: float(logs[key]) for key in logs if key in COLUMNS},
            "learning_rate": self.learning_rate,
            "seconds": round(time.monotonic() - self.started, 2),
        }
        # A run that is killed from here on does its epochs since the last checkpoint again, to the
        # same end.
        if self.past.append(row):
            self.best = self.network.get_weights()
        self.model.stop_training = self.past.has_stalled(self.run.options["patience"])
        is_last = self.model.stop_training or epoch + 1 == self.params["epochs"]
        if is_last or time.monotonic() - self.written_at > CHECKPOINT_SECONDS:
            self.save_best()
            save_checkpoint(self.network, self.run, self.stream, epoch + 1)
            self.written_at = time.monotonic()

    def save_best(self):
        """Writes the network of the best epoch where that has not happened yet."""
        if self.best is None:
            return
        newest = self.network.get_weights()
        self.network.set_weights(self.best)
        save_for_use(self.network, self.run.model_file(self.stream))
        self.network.set_weights(newest)
        self.best = None


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
    """Saves a network without its optimizer; it computes in float32, on one device."""
    text = model.to_json()
    wanted = text.replace('"synchronized": true', '"synchronized": false')
    for precision in MIXED_PRECISIONS:
        wanted = wanted.replace(f'"{precision}"', '"float32"')
    if wanted != text:
        weights, model = model.get_weights(), keras.models.model_from_json(wanted)
        model.set_weights(weights)
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


def _what_is_left(phases, finished):
    """Yields (phase, its first epoch, range of its epochs that are not trained yet)."""
    first = 0
    for phase in phases:
        last = first + phase.epochs
        if left := range(max(first, finished), last):
            yield phase, first, left
        first = last


def _fit(model, train, val, epochs, callbacks):
    """Fits `epochs`, a range; the first of the callbacks is an `EpochKeeper`."""
    callbacks[0].sequence = train
    model.fit(
        train,
        epochs=epochs.stop,
        initial_epoch=epochs.start,
        validation_data=val,
        shuffle=False,
        class_weight=balanced_class_weight(train.classes, train.num_classes),
        callbacks=callbacks,
        verbose=0,
    )


def _fit_top(run, stream, architecture, train, val, epochs, callbacks):
    """`_fit` of the network's top on stored features; weights and optimizer are the network's."""
    network = callbacks[0].network
    model = architecture.top(network)
    model.compile(
        optimizer=network.optimizer, loss="categorical_crossentropy", metrics=["accuracy"]
    )
    sequences = [
        FeatureSequence(
            sequence,
            architecture.features(run, stream, sequence.clips),
            model.input_shape[1:],
        )
        if sequence
        else None
        for sequence in (train, val)
    ]
    _fit(model, *sequences, epochs, callbacks)


def _solve_top(run, stream, architecture, train, val, epoch, callbacks):
    """The phase of one epoch that solves the network's top; the callbacks see it as one."""
    network = callbacks[0].network
    callbacks[0].sequence = train
    callbacks = keras.callbacks.CallbackList(callbacks, model=network, epochs=epoch + 1)
    callbacks.on_train_begin()
    callbacks.on_epoch_begin(epoch)
    known = _views(run, stream, architecture, train, network, callbacks)
    class_weight = balanced_class_weight(train.classes, train.num_classes)
    judge = architecture.solve_top(run, stream, network, *known, class_weight)
    logs = dict(zip(("loss", "accuracy"), judge(*known), strict=True))
    if val:
        judged = judge(*_views(run, stream, architecture, val, network))
        logs |= dict(zip(("val_loss", "val_accuracy"), judged, strict=True))
    callbacks.on_epoch_end(epoch, logs)
    callbacks.on_train_end()


def _views(run, stream, architecture, sequence, network, callbacks=None):
    """Features of a sequence's clips and their classes, for training also of changed clips.

    Args:
        run, stream, architecture, network: what is trained.
        sequence: `ClipSequence`.
        callbacks: which see its batches go by: of training.
    """
    if architecture.features:
        paths = architecture.features(run, stream, sequence.clips)
        rows = [np.load(path, allow_pickle=False).mean(axis=0) for path in paths]
        return np.float32(rows), sequence.classes
    settings = sequence.labels, stream, sequence.input_size, sequence.batch_size
    views = [ClipSequence(sequence.clips, *settings, workers=sequence.workers)]
    if callbacks and run.options["augment"] != "none":
        for number in range(min(run.preset.top_views, NUM_VIEWS // len(sequence.clips))):
            how = {"augment": "strong", "flip": run.options["flip"], "workers": sequence.workers}
            epoch = seed_of(run, number)
            views.append(ClipSequence(sequence.clips, *settings, first_epoch=epoch, **how))

    batches = itertools.count(1)  # of all views; as many as there are views count as one

    def advance(batch, logs=None):
        done, rest = divmod(next(batches), len(views))
        if callbacks and not rest:
            callbacks.on_train_batch_end(done - 1)

    trunk = architecture.trunk(network)
    seen = [keras.callbacks.LambdaCallback(on_predict_batch_end=advance)]
    features = [trunk.predict(view, callbacks=seen, verbose=0) for view in views]
    return np.concatenate(features), np.tile(sequence.classes, len(views))


def _tensorboard(run, stream):
    folder = run.folder / "tensorboard" / stream
    return keras.callbacks.TensorBoard(str(folder), write_graph=False)


def _sequences(run, stream, train_clips, val_clips, workers, num_devices):
    settings = {
        "labels": run.labels,
        "stream": stream,
        "input_size": run.preset.input_size,
        "batch_size": run.preset.batch_size,
        "workers": workers,
        "multiple_of": num_devices,
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
