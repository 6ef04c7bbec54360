"""Trains one stream to tell signs apart that nobody will ask for: its features are what is wanted.

Every step of the features scores the signs, and the scores are averaged over time. At every step a
second head must know where the hands are and how they are shaped, which keeps in the features what
the next sign may need.
"""

import time

import keras
from keras import layers

import model_i3d
from common.network_input import CHANNELS
from pretraining.sequence import MOMENTS, VariedSequence

DROPOUT = 0.2  # share of features that is dropped before the signs' head
SIGN_WEIGHT, HANDS_WEIGHT = 0.3, 20.0
HUBER = 0.5  # in the units of the hands
WARM_UP_SHARE = 0.05  # of all steps, in which the learning rate rises to its highest


def build(preset, stream, num_signs, num_hands):
    """The network without a top, and the same with two heads, which is trained.

    Args:
        preset: `presets.Preset`.
        stream: "rgb" or "flow".
        num_signs: number of classes.
        num_hands: numbers that are known of the hands in every frame; 0: no such head.
    """
    base = model_i3d.build_i3d(
        preset.num_frames,
        *preset.input_size,
        CHANNELS[stream],
        width_multiplier=preset.width_multiplier,
        batch_norm_momentum=preset.batch_norm_momentum,
        subtract_mean=preset.subtract_mean and stream == "rgb",
    )
    steps = layers.Reshape((base.output_shape[1], base.output_shape[-1]))(base.output)
    scores = layers.Dense(num_signs)(layers.Dropout(DROPOUT)(steps))
    average = layers.GlobalAveragePooling1D()(scores)
    heads = {"sign": layers.Softmax(name="sign")(average)}
    if num_hands:
        heads["hands"] = layers.Dense(len(MOMENTS) * num_hands, name="hands")(steps)
    return base, keras.Model(base.input, heads)


def fit(folder, preset, stream, clips, read, num_hands, options, judge=None):
    """Trains one stream; an interrupted training goes on where its last epoch ended.

    Args:
        folder: for the state in between.
        preset, stream, num_hands: as in `build`.
        clips, read: as in `VariedSequence`.
        options: what has `seed`, `epochs`, `batch_size` and `learning_rate`.
        judge: function of the network without a top, called after every epoch; the {name: score}
            that it returns are printed.

    Returns:
        the network without a top.
    """
    keras.utils.set_random_seed(options.seed)
    num_signs = 1 + max(sign for _, sign in clips)
    base, model = build(preset, stream, num_signs, num_hands)
    sequence = VariedSequence(
        clips,
        read,
        num_signs,
        stream,
        preset.input_size,
        base.output_shape[1],
        options.batch_size,
        options.seed,
    )
    _compile(model, options, sequence.num_batches)
    folder.mkdir(parents=True, exist_ok=True)
    callbacks = [
        _Teller(sequence, stream, options.epochs, base, judge),
        keras.callbacks.BackupAndRestore(folder / stream, delete_checkpoint=False),
    ]
    model.fit(sequence, epochs=options.epochs, shuffle=False, verbose=0, callbacks=callbacks)
    return base


def _compile(model, options, num_batches):
    steps = options.epochs * num_batches
    warm_up = max(1, round(WARM_UP_SHARE * steps))
    highest = options.learning_rate
    rate = keras.optimizers.schedules.CosineDecay(
        highest / 10, max(1, steps - warm_up), warmup_target=highest, warmup_steps=warm_up
    )
    losses = {"sign": "categorical_crossentropy", "hands": keras.losses.Huber(HUBER)}
    weights = {"sign": SIGN_WEIGHT, "hands": HANDS_WEIGHT}
    model.compile(
        optimizer=keras.optimizers.Adam(rate),
        loss={name: losses[name] for name in model.output_names},
        loss_weights={name: weights[name] for name in model.output_names},
        metrics={"sign": ["accuracy"]},
    )


class _Teller(keras.callbacks.Callback):
    """Counts the epochs for the sequence, and tells how each went."""

    def __init__(self, sequence, stream, num_epochs, base, judge):
        super().__init__()
        self.sequence, self.stream, self.num_epochs = sequence, stream, num_epochs
        self.base, self.judge = base, judge

    def on_epoch_begin(self, epoch, logs=None):
        self.sequence.epoch = epoch
        self.started = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        seconds = time.monotonic() - self.started
        scores = sorted(logs.items()) + list(self.judge(self.base).items() if self.judge else ())
        words = ", ".join(f"{name} {value:.3f}" for name, value in scores)
        print(
            f"{self.stream}, epoch {epoch + 1} of {self.num_epochs}: {words}, {seconds:.0f} s",
            flush=True,
        )
