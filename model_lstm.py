"""An LSTM over what an extractor sees in every frame of a clip.

    extractor = model_mobile.build_extractor("mobilenet", 224, 224, 3)
    network = model_lstm.build_lstm(extractor, num_frames=40, num_classes=249, units=(128, 128))
    top = model_lstm.lstm_top(network)  # the same LSTM over stored features

Import this module before `keras.saving.load_model` opens a `.keras` file of such a network: the
import registers the layer defined here.

Source: Hochreiter and Schmidhuber, "Long Short-Term Memory" (1997).
"""

import numbers

import keras
from keras import layers, ops

from model_i3d import SubtractMean

PER_FRAME = "per_frame"  # the layer that maps every frame to features by itself
FEATURE_MOMENTUM = 0.9  # of the running mean and variance of features


@keras.saving.register_keras_serializable(package="signs")
class PerFrame(layers.Layer):
    """Applies a network to every frame of a clip, all frames of a batch at once.

    `(batch, num_frames, height, width, channels)` becomes `(batch, num_frames, features)`.

    Args:
        network: `keras.Model` from `(batch, height, width, channels)` to `(batch, features)`.
    """

    def __init__(self, network, **settings):
        super().__init__(**settings)
        self.network = network

    def call(self, clips, training=None):
        num_frames, *frame_shape = clips.shape[1:]
        frames = ops.reshape(clips, (-1, *frame_shape))
        features = self.network(frames, training=training)
        return ops.reshape(features, (-1, num_frames, features.shape[-1]))

    def compute_output_shape(self, input_shape):
        return (*input_shape[:2], self.network.output_shape[-1])

    def get_config(self):
        network = keras.saving.serialize_keras_object(self.network)
        return {**super().get_config(), "network": network}

    @classmethod
    def from_config(cls, config):
        network = keras.saving.deserialize_keras_object(config.pop("network"))
        return cls(network, **config)


def build_lstm(extractor, num_frames, num_classes, units, dropout=0.5, subtract_mean=False):
    """Builds one stream: extractor, two layers of LSTM, classification.

    Args:
        extractor: `keras.Model` from one frame `(batch, height, width, channels)` to features
            `(batch, features)`; it becomes part of the network.
        num_frames: frames per clip, at least 1.
        num_classes: number of signs, at least 1.
        units: numbers of the first and the second LSTM layer.
        dropout: fraction of features that is dropped before each LSTM layer and before the
            classification, in [0, 1).
        subtract_mean: take each pixel's mean over the clip away first, so that what does not move
            is zero. Without it RGB does not train from random weights on a few hundred clips. The
            extractor then needs the whole clip before it can begin, so that its work cannot be done
            while frames arrive.

    Returns:
        A functional `keras.Model`. Input: float32 `(batch, num_frames, height, width, channels)` in
        [-1, 1]. Output: probabilities `(batch, num_classes)`. The layer "per_frame", the first one
        without `subtract_mean`, has the extractor as `network`.

    Raises:
        ValueError: an argument is outside the range given above.
    """
    _check(num_frames, num_classes, units, dropout)
    clip = keras.Input((num_frames, *extractor.input_shape[1:]), name="clip")
    x = SubtractMean(name="subtract_mean")(clip) if subtract_mean else clip
    x = PerFrame(extractor, name=PER_FRAME)(x)
    # Features of random networks are tiny, those of trained ones are not.
    x = layers.BatchNormalization(momentum=FEATURE_MOMENTUM, name="standardise")(x)
    x = layers.Dropout(dropout, name="dropout_1")(x)
    x = layers.LSTM(units[0], return_sequences=True, name="lstm_1")(x)
    x = layers.Dropout(dropout, name="dropout_2")(x)
    x = layers.LSTM(units[1], return_sequences=True, name="lstm_2")(x)
    # The mean over time learns in fewer steps than the last output alone.
    x = layers.GlobalAveragePooling1D(name="mean_over_time")(x)
    x = layers.Dropout(dropout, name="dropout_3")(x)
    outputs = layers.Dense(num_classes, "softmax", dtype="float32", name="probabilities")(x)
    return keras.Model(clip, outputs, name="mobile_lstm")


def lstm_top(model):
    """What comes after the extractor in a network of `build_lstm`, with the same weights.

    Returns:
        `keras.Model` from features `(batch, num_frames, features)` to probabilities.
    """
    return keras.Model(model.get_layer(PER_FRAME).output, model.output, name="lstm_top")


def set_trainable(model, part):
    """Chooses which weights training changes; compile the model afterwards.

    Args:
        model: a network of `build_lstm`.
        part: "top" trains what comes after the extractor, "all" trains everything.

    Raises:
        ValueError: `part` is neither.
    """
    if part not in ("top", "all"):
        raise ValueError(f'`part` must be "top" or "all". Received: part={part!r}')
    model.get_layer(PER_FRAME).trainable = part == "all"


def _check(num_frames, num_classes, units, dropout):
    for name, value in (("num_frames", num_frames), ("num_classes", num_classes)):
        if not _is_count(value):
            raise ValueError(
                f"`{name}` must be an integer of at least 1. Received: {name}={value!r}"
            )
    if len(units) != 2 or not all(_is_count(number) for number in units):
        raise ValueError(f"`units` must be two integers of at least 1. Received: units={units!r}")
    if not 0 <= dropout < 1:
        raise ValueError(f"`dropout` must be in [0, 1). Received: dropout={dropout!r}")


def _is_count(value):
    return isinstance(value, numbers.Integral) and not isinstance(value, bool) and value >= 1
