"""I3D, the inflated 3-D Inception network, for clips of any length and size.

    network = model_i3d.build_i3d(40, 224, 224, 3, num_classes=249)
    network = model_i3d.build_i3d(16, 64, 64, 2, num_classes=8, width_multiplier=0.25)

Two streams are two networks: one over RGB frames (3 channels), one over optical flow (2 channels).
Layer names and weight shapes are those of the published Keras weights, so that these load by name.
Import this module before `keras.saving.load_model` opens a `.keras` file of such a network: the
import registers the layers defined here.

Source: Carreira and Zisserman, "Quo Vadis, Action Recognition? A New Model and the Kinetics
Dataset" (2017), arXiv 1705.07750.
"""

import math
import numbers

import keras
from keras import layers, ops

from i3d.fast_layers import FastBatchNormalization, FastConv3D, FastMaxPooling3D
from i3d.shapes import (
    BATCH_NORM_EPSILON,
    CONTRAST,
    EVEN_OUT,
    INCEPTION_CHANNELS,
    KINETICS_NUM_CLASSES,
    LEAST_CONTRAST,
    LEAST_MOTION,
    MOTION,
    POOLED_FRAMES,
    STEM_UNITS,
    STILL_SHARE,
    STREAM_OF_CHANNELS,
    TOP_CONVOLUTION,
    scaled,
)

MIN_NUM_FRAMES = 8
MIN_SIZE_PX = 32
CHANNELS = (2, 3)  # optical flow, RGB
KINETICS_VERSIONS = (400, 600)  # number of classes
PUBLISHED_BATCH_NORM_MOMENTUM = 0.99


def build_i3d(
    num_frames,
    height,
    width,
    channels,
    num_classes=None,
    width_multiplier=1.0,
    dropout=0.5,
    batch_norm_momentum=PUBLISHED_BATCH_NORM_MOMENTUM,
    top=None,
    subtract_mean=False,
    even_out=False,
):
    """Builds one stream of I3D with random weights.

    Args:
        num_frames: frames per clip, at least `MIN_NUM_FRAMES`.
        height: rows in pixels, at least `MIN_SIZE_PX`.
        width: columns in pixels, at least `MIN_SIZE_PX`.
        channels: 3 (RGB) or 2 (optical flow: dx, dy).
        num_classes: number of signs, or None for a network without a classification layer.
        width_multiplier: factor on the number of channels of every layer; 1 is the published width.
        dropout: fraction of features dropped before the classification layer, in [0, 1).
        batch_norm_momentum: share of the old value that running statistics keep at each step, in
            [0, 1). The published 0.99 needs hundreds of steps; short training from random weights
            needs 0.9 or less.
        top: None, or "kinetics" for the published head of 400 classes, which gives logits; with
            `num_classes=600` that of Kinetics-600.
        subtract_mean: take each pixel's mean over the clip away first, so that what does not move
            is zero. Without it RGB does not train from random weights on a few hundred clips;
            published weights need it off.
        even_out: instead, bring every clip to the same contrast or amount of motion first, see
            `EvenOut`. Weights of pretrain.py, as those that come with the project, have learned it.

    Returns:
        A functional `keras.Model`. Input: float32 `(batch, num_frames, height, width, channels)` in
        [-1, 1]. Output: with `num_classes`, probabilities `(batch, num_classes)`; with
        `top="kinetics"`, logits `(batch, 400 or 600)`; else features
        `(batch, T', 1, 1, 1024 * width_multiplier)`, T' = 4 for 40 frames.

    Raises:
        ValueError: an argument is outside the range given above.
    """
    _check_clip(num_frames, height, width, channels)
    _check_options(num_classes, width_multiplier, dropout, batch_norm_momentum, top)
    builder = _Builder(width_multiplier, batch_norm_momentum)
    clip = keras.Input((num_frames, height, width, channels), name="clip")
    features = _pool_features(builder.trunk(_first_layer(subtract_mean, even_out)(clip)))
    if top == "kinetics":
        outputs = _logits(features, num_classes or KINETICS_NUM_CLASSES, dropout)
    elif num_classes is None:
        outputs = features
    else:
        logits = _logits(features, num_classes, dropout)
        outputs = layers.Activation("softmax", dtype="float32", name="probabilities")(logits)
    return keras.Model(clip, outputs, name="i3d")


def set_trainable(model, part):
    """Chooses which weights training changes; compile the model afterwards.

    Args:
        model: a network of `build_i3d` with a classification layer.
        part: "top" trains the classification layer alone, and batch normalisation below it keeps
            its running statistics and uses them; "all" trains everything.

    Raises:
        ValueError: `part` is neither, or the model has no classification layer to train alone.
    """
    if part not in ("top", "all"):
        raise ValueError(f'`part` must be "top" or "all". Received: part={part!r}')
    names = [layer.name for layer in model.layers]
    if part == "top" and TOP_CONVOLUTION not in names:
        raise ValueError(
            f"The model must have a layer {TOP_CONVOLUTION} (build it with `num_classes`). "
            f"Received: a model that ends with {names[-1]}"
        )
    for layer in model.layers:
        layer.trainable = part == "all" or layer.name == TOP_CONVOLUTION


def trunk(model):
    """What comes before the top of a network of `build_i3d`, with the same weights.

    Returns:
        `keras.Model` from clips to features `(batch, 1024 * width_multiplier)`, averaged over time.
    """
    pooled = model.get_layer("global_avg_pool").output
    return keras.Model(model.input, layers.GlobalAveragePooling3D(dtype="float32")(pooled))


def set_top(model, weights, biases):
    """Sets the classification layer of a network of `build_i3d`.

    Args:
        model: a network with `num_classes`.
        weights: float32 `(features, num_classes)`.
        biases: float32 `(num_classes,)`.
    """
    model.get_layer(TOP_CONVOLUTION).set_weights([weights[None, None, None], biases])


@keras.saving.register_keras_serializable(package="signs")
class SubtractMean(layers.Layer):
    """Takes each pixel's mean over time away from `(batch, T, H, W, C)` clips."""

    def call(self, inputs):
        return inputs - ops.mean(inputs, axis=1, keepdims=True)


@keras.saving.register_keras_serializable(package="signs")
class EvenOut(layers.Layer):
    """Brings `(batch, T, H, W, C)` clips to the same contrast, or nearer to the same motion.

    Of RGB, half of each pixel's mean over time is taken away, so that what moves stands out, and
    what stands still, as a hand that is held, is seen; then the clip's brightness is made 0 and its
    contrast `CONTRAST`. Flow is multiplied so that its root mean square comes halfway to `MOTION`.
    """

    def call(self, inputs):
        if STREAM_OF_CHANNELS[inputs.shape[-1]] == "flow":
            return inputs * ops.sqrt(MOTION / ops.maximum(_root_mean_square(inputs), LEAST_MOTION))
        moving = inputs - (1 - STILL_SHARE) * ops.mean(inputs, axis=1, keepdims=True)
        centred = moving - ops.mean(moving, axis=(1, 2, 3, 4), keepdims=True)
        return centred * (CONTRAST / ops.maximum(_root_mean_square(centred), LEAST_CONTRAST))


def _first_layer(subtract_mean, even_out):
    if even_out:
        return EvenOut(name=EVEN_OUT)
    return SubtractMean(name="subtract_mean") if subtract_mean else lambda clip: clip


def _root_mean_square(clips):
    return ops.sqrt(ops.mean(ops.square(clips), axis=(1, 2, 3, 4), keepdims=True))


class _Builder:
    """The settings shared by all layers below the top, and the blocks made with them."""

    def __init__(self, width_multiplier, batch_norm_momentum):
        self.width_multiplier = width_multiplier
        self.batch_norm_momentum = batch_norm_momentum

    def trunk(self, clip):
        """Everything from the clip to the last Inception block."""
        first, second, third = STEM_UNITS
        x = self.unit(clip, *first, strides=2)
        x = _max_pool(x, (1, 3, 3), (1, 2, 2), "MaxPool2d_2a_3x3")
        x = self.unit(x, *second)
        x = self.unit(x, *third)
        x = _max_pool(x, (1, 3, 3), (1, 2, 2), "MaxPool2d_3a_3x3")
        x = self.inception(self.inception(x, "3b"), "3c")
        x = _max_pool(x, (3, 3, 3), (2, 2, 2), "MaxPool2d_4a_3x3")
        for block in ("4b", "4c", "4d", "4e", "4f"):
            x = self.inception(x, block)
        x = _max_pool(x, (2, 2, 2), (2, 2, 2), "MaxPool2d_5a_2x2")
        return self.inception(self.inception(x, "5b"), "5c")

    def inception(self, x, block):
        """Four parallel branches, concatenated along the channels."""
        direct, wide, narrow, pooled = INCEPTION_CHANNELS[block]
        name = f"Conv3d_{block}_"
        branch_0 = self.unit(x, f"{name}0a_1x1", 1, direct)
        branch_1 = self.unit(x, f"{name}1a_1x1", 1, wide[0])
        branch_1 = self.unit(branch_1, f"{name}1b_3x3", 3, wide[1])
        branch_2 = self.unit(x, f"{name}2a_1x1", 1, narrow[0])
        branch_2 = self.unit(branch_2, f"{name}2b_3x3", 3, narrow[1])
        branch_3 = _max_pool(x, (3, 3, 3), (1, 1, 1), f"MaxPool2d_{block}_3a_3x3")
        branch_3 = self.unit(branch_3, f"{name}3b_1x1", 1, pooled)
        branches = [branch_0, branch_1, branch_2, branch_3]
        return layers.Concatenate(name=f"Mixed_{block}")(branches)

    def unit(self, x, name, size, filters, strides=1):
        """Convolution without bias, batch normalisation without gamma, ReLU."""
        x = FastConv3D(
            scaled(filters, self.width_multiplier),
            size,
            strides=strides,
            padding="same",
            use_bias=False,
            name=f"{name}_conv",
        )(x)
        x = FastBatchNormalization(
            momentum=self.batch_norm_momentum,
            epsilon=BATCH_NORM_EPSILON,
            scale=False,
            name=f"{name}_bn",
        )(x)
        return layers.Activation("relu", name=name)(x)


def _max_pool(x, size, strides, name):
    return FastMaxPooling3D(size, strides=strides, padding="same", name=name)(x)


def _pool_features(x):
    _, num_frames, height, width, _ = x.shape
    size = (min(POOLED_FRAMES, num_frames), height, width)
    return layers.AveragePooling3D(size, strides=1, padding="valid", name="global_avg_pool")(x)


def _logits(features, num_classes, dropout):
    """A 1x1x1 convolution to class scores, averaged over time."""
    x = layers.Dropout(dropout, name="dropout")(features)
    x = layers.Conv3D(num_classes, 1, name=TOP_CONVOLUTION)(x)
    return layers.GlobalAveragePooling3D(name="logits")(x)


def _check_clip(num_frames, height, width, channels):
    if not _is_integer(num_frames) or num_frames < MIN_NUM_FRAMES:
        raise ValueError(
            f"`num_frames` must be an integer of at least {MIN_NUM_FRAMES}. "
            f"Received: num_frames={num_frames!r}"
        )
    if not all(_is_integer(size) and size >= MIN_SIZE_PX for size in (height, width)):
        raise ValueError(
            f"`height` and `width` must be integers of at least {MIN_SIZE_PX} pixels. "
            f"Received: height={height!r}, width={width!r}"
        )
    if channels not in CHANNELS:
        raise ValueError(
            f"`channels` must be 3 (RGB) or 2 (optical flow). Received: channels={channels!r}"
        )


def _check_options(num_classes, width_multiplier, dropout, batch_norm_momentum, top):
    if num_classes is not None and not (_is_integer(num_classes) and num_classes >= 1):
        raise ValueError(
            "`num_classes` must be None or an integer of at least 1. "
            f"Received: num_classes={num_classes!r}"
        )
    if not 0 < width_multiplier < math.inf:
        raise ValueError(
            f"`width_multiplier` must be above 0. Received: width_multiplier={width_multiplier!r}"
        )
    for name, value in (("dropout", dropout), ("batch_norm_momentum", batch_norm_momentum)):
        if not 0 <= value < 1:
            raise ValueError(f"`{name}` must be in [0, 1). Received: {name}={value!r}")
    if top not in (None, "kinetics"):
        raise ValueError(f'`top` must be None or "kinetics". Received: top={top!r}')
    if top == "kinetics" and num_classes not in (None, *KINETICS_VERSIONS):
        raise ValueError(
            '`top="kinetics"` has 400 classes, or 600 with `num_classes=600`. '
            f"Received: num_classes={num_classes!r}"
        )


def _is_integer(value):
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)
