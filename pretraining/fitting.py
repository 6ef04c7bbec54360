"""Trains one stream to tell signs apart that nobody will ask for: its features are what is wanted.

Every step of the features scores the signs, and the scores are averaged over time. At every step a
second head must know where the hands are and how they are shaped, which keeps in the features what
the next sign may need. A third one answers what signs have in common, see pretraining/traits.py.
"""

import time

import keras
import numpy as np
from keras import layers

import model_i3d
from common.network_input import CHANNELS
from i3d_weights import load_weights
from pretraining import traits
from pretraining.sequence import MOMENTS, VariedSequence

DROPOUT = 0.2  # share of features that is dropped before the signs' head
WEIGHTS = {"sign": 0.3, "hands": 20.0, "traits": 0.1}  # of the losses
HUBER = 0.5  # in the units of the hands
WARM_UP_SHARE = 0.05  # of all steps, in which the learning rate rises to its highest


def build(preset, stream, num_signs, num_hands):
    """The network without a top, and the same with its heads, which is trained.

    Args:
        preset: `presets.Preset`.
        stream: "rgb" or "flow".
        num_signs: number of classes.
        num_hands: numbers that are known of the hands in every frame; 0: signs are real ones, of
            which neither hands nor traits are known.
    """
    base = model_i3d.build_i3d(
        preset.num_frames,
        *preset.input_size,
        CHANNELS[stream],
        width_multiplier=preset.width_multiplier,
        batch_norm_momentum=preset.batch_norm_momentum,
        even_out=True,
    )
    steps = layers.Reshape((base.output_shape[1], base.output_shape[-1]))(base.output)
    scores = layers.Dense(num_signs)(layers.Dropout(DROPOUT)(steps))
    average = layers.GlobalAveragePooling1D()(scores)
    heads = {"sign": layers.Softmax(name="sign")(average)}
    if num_hands:
        heads["hands"] = layers.Dense(len(MOMENTS) * num_hands, name="hands")(steps)
        told = layers.Dense(sum(traits.sizes()))(steps)
        heads["traits"] = layers.GlobalAveragePooling1D(name="traits")(told)
    return base, keras.Model(base.input, heads)


def fit(folder, preset, stream, clips, read, num_hands, options, weights=None, judge=None):
    """Trains one stream; an interrupted training goes on where its last epoch ended.

    Args:
        folder: for the state in between.
        preset, stream, num_hands: as in `build`.
        clips, read: as in `VariedSequence`.
        options: what has `seed`, `epochs`, `batch_size` and `learning_rate`.
        weights: file to begin with; by default weights are random.
        judge: function of the network without a top, called after every epoch; the {name: score}
            that it returns are printed.

    Returns:
        the network without a top, and the same with its heads.
    """
    keras.utils.set_random_seed(options.seed)
    num_signs = 1 + max(sign for _, sign in clips)
    base, model = build(preset, stream, num_signs, num_hands)
    if weights:
        load_weights(base, weights, with_top=False)
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
    return base, model


def _compile(model, options, num_batches):
    steps = options.epochs * num_batches
    warm_up = max(1, round(WARM_UP_SHARE * steps))
    highest = options.learning_rate
    rate = keras.optimizers.schedules.CosineDecay(
        highest / 10, max(1, steps - warm_up), warmup_target=highest, warmup_steps=warm_up
    )
    losses = {
        "sign": "categorical_crossentropy",
        "hands": keras.losses.Huber(HUBER),
        "traits": _surprise_of_traits,
    }
    model.compile(
        optimizer=keras.optimizers.Adam(rate),
        loss={name: losses[name] for name in model.output_names},
        loss_weights={name: WEIGHTS[name] for name in model.output_names},
        metrics={"sign": ["accuracy"]},
    )


def _surprise_of_traits(wanted, scores):
    """Cross entropy of the answers, summed over the questions."""
    ends = [int(end) for end in np.cumsum(traits.sizes())[:-1]]
    questions = zip(
        keras.ops.split(wanted, ends, axis=-1), keras.ops.split(scores, ends, axis=-1), strict=True
    )
    surprise = keras.losses.categorical_crossentropy
    return sum(surprise(right, told, from_logits=True) for right, told in questions)


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
