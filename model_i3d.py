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
import os

# Read when TensorFlow is loaded, so this must precede Keras. On processors without AVX-VNNI or
# AVX-512 TensorFlow leaves oneDNN off, and training then takes two to three times as long.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import keras  # noqa: E402
from keras import layers, ops  # noqa: E402

MIN_NUM_FRAMES = 8
MIN_SIZE_PX = 32
CHANNELS = (2, 3)  # optical flow, RGB
KINETICS_NUM_CLASSES = 400
BATCH_NORM_EPSILON = 1e-3
PUBLISHED_BATCH_NORM_MOMENTUM = 0.99
POOLED_FRAMES = 2  # temporal extent of the last average pooling
TOP_CONVOLUTION = "Conv3d_6a_1x1_conv"

# Channels at width 1 of the four branches of each Inception block: 1x1x1; 1x1x1 then 3x3x3;
# 1x1x1 then 3x3x3; max-pooling then 1x1x1.
INCEPTION_CHANNELS = {
    "3b": (64, (96, 128), (16, 32), 32),
    "3c": (128, (128, 192), (32, 96), 64),
    "4b": (192, (96, 208), (16, 48), 64),
    "4c": (160, (112, 224), (24, 64), 64),
    "4d": (128, (128, 256), (24, 64), 64),
    "4e": (112, (144, 288), (32, 64), 64),
    "4f": (256, (160, 320), (32, 128), 128),
    "5b": (256, (160, 320), (32, 128), 128),
    "5c": (384, (192, 384), (48, 128), 128),
}


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
        top: None, or "kinetics" for the published head of 400 classes, which gives logits.
        subtract_mean: take each pixel's mean over the clip away first, so that what does not move
            is zero. Without it RGB does not train from random weights on a few hundred clips;
            published weights need it off.

    Returns:
        A functional `keras.Model`. Input: float32 `(batch, num_frames, height, width, channels)` in
        [-1, 1]. Output: with `num_classes`, probabilities `(batch, num_classes)`; with
        `top="kinetics"`, logits `(batch, 400)`; else features
        `(batch, T', 1, 1, 1024 * width_multiplier)`, T' = 4 for 40 frames.

    Raises:
        ValueError: an argument is outside the range given above.
    """
    _check_clip(num_frames, height, width, channels)
    _check_options(num_classes, width_multiplier, dropout, batch_norm_momentum, top)
    builder = _Builder(width_multiplier, batch_norm_momentum)
    clip = keras.Input((num_frames, height, width, channels), name="clip")
    moving = SubtractMean(name="subtract_mean")(clip) if subtract_mean else clip
    features = _pool_features(builder.trunk(moving))
    if top == "kinetics":
        outputs = _logits(features, KINETICS_NUM_CLASSES, dropout)
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


@keras.saving.register_keras_serializable(package="signs")
class FastConv3D(layers.Conv3D):
    """`Conv3D` with padding "same" and without bias, whose training is fast on TensorFlow's CPU.

    Weights and results are those of `Conv3D`. TensorFlow computes the gradient of a strided 3-D
    convolution up to a hundred times slower than its value, so while training, 2-D convolutions
    over stacked frames are used. Everywhere else (GPU, other backends, inference, frozen layers)
    this is `Conv3D`.
    """

    def call(self, inputs, training=None):
        if not (training and self.trainable and _runs_on_tensorflow_cpu()):
            return super().call(inputs)
        kernel = ops.copy(self.kernel)  # read once: a later read may see the optimizer's update
        if self.kernel_size == (1, 1, 1):
            return _convolve_points(inputs, kernel)
        if self.strides == (1, 1, 1):
            return _convolve_stacked(inputs, kernel)
        return _convolve_windows(inputs, kernel, self.strides)


@keras.saving.register_keras_serializable(package="signs")
class FastMaxPooling3D(layers.MaxPooling3D):
    """`MaxPooling3D` with padding "same", on TensorFlow's CPU as two 2-D poolings.

    The maximum over a box is the maximum over time of the maxima over each frame. Both kernels,
    value and gradient, are several times faster than the 3-D ones.
    """

    def call(self, inputs):
        if not _runs_on_tensorflow_cpu():
            return super().call(inputs)
        num_frames, height, width, channels = inputs.shape[1:]
        x = ops.reshape(inputs, (-1, height, width, channels))
        x = ops.max_pool(x, self.pool_size[1:], self.strides[1:], padding="same")
        height, width = x.shape[1:3]
        if self.pool_size[0] > 1:
            x = ops.reshape(x, (-1, num_frames, height * width, channels))
            size, strides = (self.pool_size[0], 1), (self.strides[0], 1)
            x = ops.max_pool(x, size, strides, padding="same")
            num_frames = x.shape[1]
        return ops.reshape(x, (-1, num_frames, height, width, channels))


@keras.saving.register_keras_serializable(package="signs")
class FastBatchNormalization(layers.BatchNormalization):
    """`BatchNormalization` without gamma that trains with fewer passes over memory.

    Used while training on TensorFlow's CPU; everywhere else this is `BatchNormalization`.
    """

    def call(self, inputs, training=None, mask=None):
        if not (training and self.trainable and _runs_on_tensorflow_cpu()):
            return super().call(inputs, training=training, mask=mask)
        points = ops.cast(ops.reshape(inputs, (-1, inputs.shape[-1])), "float32")
        beta = ops.reshape(self.beta, (1, -1))
        outputs, mean, variance = _normalize(points, beta, self.epsilon)
        for moving, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + value * (1.0 - self.momentum))
        outputs = ops.reshape(outputs, (-1, *inputs.shape[1:]))
        return ops.cast(outputs, self.compute_dtype)


@keras.saving.register_keras_serializable(package="signs")
class SubtractMean(layers.Layer):
    """Takes each pixel's mean over time away from `(batch, T, H, W, C)` clips."""

    def call(self, inputs):
        return inputs - ops.mean(inputs, axis=1, keepdims=True)


def _runs_on_tensorflow_cpu():
    return keras.backend.backend() == "tensorflow" and not keras.distribution.list_devices("gpu")


def _convolve_points(clips, kernel):
    """1x1x1 convolution as one matrix product over all points."""
    channels, filters = kernel.shape[3:]
    points = ops.reshape(clips, (-1, channels))
    points = ops.matmul(points, ops.reshape(kernel, (channels, filters)))
    return ops.reshape(points, (-1, *clips.shape[1:4], filters))


def _convolve_stacked(clips, kernel):
    """Convolution with stride 1 as a 2-D one over neighbouring frames stacked as channels.

    The gradient with respect to `clips` is given by hand, as the same kind of convolution with the
    mirrored kernel: going back through the stacking would cost as much as the convolution.
    """
    taps, filters = kernel.shape[0], kernel.shape[-1]
    mirrored = ops.transpose(ops.flip(kernel, (0, 1, 2)), (0, 1, 2, 4, 3))
    mirrored = ops.stop_gradient(mirrored)

    @ops.custom_gradient
    def route_gradient(outputs, clips):
        def gradient(upstream):
            frames = _convolve_frames(_stack_neighbours(upstream, taps), mirrored, 1)
            return upstream, ops.reshape(frames, (-1, *clips.shape[1:]))

        return outputs, gradient

    frames = ops.stop_gradient(_stack_neighbours(clips, taps))
    outputs = _convolve_frames(frames, kernel, 1)
    return route_gradient(ops.reshape(outputs, (-1, *clips.shape[1:4], filters)), clips)


def _convolve_windows(clips, kernel, strides):
    """Strided convolution as a 2-D one over windows of frames; made for few channels.

    Time moves beside the channels first, so that each window is one contiguous slice per pixel.
    """
    taps, channels = kernel.shape[0], kernel.shape[3]
    num_frames, height, width = clips.shape[1:4]
    num_windows = math.ceil(num_frames / strides[0])
    missing = max((num_windows - 1) * strides[0] + taps - num_frames, 0)
    clips = _pad_time(clips, missing // 2, missing - missing // 2)
    clips = ops.transpose(clips, (0, 2, 3, 1, 4))
    clips = ops.reshape(clips, (-1, height, width, (num_frames + missing) * channels))
    starts = [window * strides[0] * channels for window in range(num_windows)]
    windows = ops.stack([clips[..., at : at + taps * channels] for at in starts], axis=1)
    frames = ops.reshape(windows, (-1, height, width, taps * channels))
    outputs = _convolve_frames(frames, kernel, strides[1:])
    return ops.reshape(outputs, (-1, num_windows, *outputs.shape[1:]))


def _stack_neighbours(clips, taps):
    """`(batch, T, H, W, C)` to `(batch * T, H, W, taps * C)`: each frame with those around it."""
    num_frames, height, width, channels = clips.shape[1:]
    clips = _pad_time(clips, (taps - 1) // 2, taps // 2)
    shifted = [clips[:, tap : tap + num_frames] for tap in range(taps)]
    stacked = ops.concatenate(shifted, axis=-1)
    return ops.reshape(stacked, (-1, height, width, taps * channels))


def _pad_time(clips, before, after):
    return ops.pad(clips, ((0, 0), (before, after), (0, 0), (0, 0), (0, 0)))


def _convolve_frames(frames, kernel, strides):
    """2-D convolution of `(frames, H, W, taps * C)` with a 3-D `(taps, rows, columns, C, F)`."""
    taps, rows, columns, channels, filters = kernel.shape
    kernel = ops.transpose(kernel, (1, 2, 0, 3, 4))
    kernel = ops.reshape(kernel, (rows, columns, taps * channels, filters))
    return ops.conv(frames, kernel, strides=strides, padding="same")


def _normalize(points, beta, epsilon):
    """Batch normalisation of `(points, channels)` with beta `(1, channels)`.

    Returns the outputs, and mean and variance of the batch. The gradient is given by hand; mean and
    variance pass none on, for they only update running statistics.
    """

    @ops.custom_gradient
    def normalize(points, beta):
        mean = ops.mean(points, axis=0)
        centred = points - mean
        variance = ops.mean(ops.square(centred), axis=0)
        inverse = ops.rsqrt(variance + epsilon)

        def gradient(upstream, *_):
            beta_gradient = ops.sum(upstream, axis=0, keepdims=True)
            share = inverse / ops.cast(ops.shape(points)[0], "float32")
            slope = ops.sum(upstream * centred, axis=0) * share * ops.square(inverse)
            return upstream * inverse - centred * slope - beta_gradient * share, beta_gradient

        return (centred * inverse + beta, mean, variance), gradient

    return normalize(points, beta)


class _Builder:
    """The settings shared by all layers below the top, and the blocks made with them."""

    def __init__(self, width_multiplier, batch_norm_momentum):
        self.width_multiplier = width_multiplier
        self.batch_norm_momentum = batch_norm_momentum

    def trunk(self, clip):
        """Everything from the clip to the last Inception block."""
        x = self.unit(clip, 64, 7, "Conv3d_1a_7x7", strides=2)
        x = _max_pool(x, (1, 3, 3), (1, 2, 2), "MaxPool2d_2a_3x3")
        x = self.unit(x, 64, 1, "Conv3d_2b_1x1")
        x = self.unit(x, 192, 3, "Conv3d_2c_3x3")
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
        branch_0 = self.unit(x, direct, 1, f"{name}0a_1x1")
        branch_1 = self.unit(x, wide[0], 1, f"{name}1a_1x1")
        branch_1 = self.unit(branch_1, wide[1], 3, f"{name}1b_3x3")
        branch_2 = self.unit(x, narrow[0], 1, f"{name}2a_1x1")
        branch_2 = self.unit(branch_2, narrow[1], 3, f"{name}2b_3x3")
        branch_3 = _max_pool(x, (3, 3, 3), (1, 1, 1), f"MaxPool2d_{block}_3a_3x3")
        branch_3 = self.unit(branch_3, pooled, 1, f"{name}3b_1x1")
        branches = [branch_0, branch_1, branch_2, branch_3]
        return layers.Concatenate(name=f"Mixed_{block}")(branches)

    def unit(self, x, filters, size, name, strides=1):
        """Convolution without bias, batch normalisation without gamma, ReLU."""
        x = FastConv3D(
            max(1, round(filters * self.width_multiplier)),
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
    if top == "kinetics" and num_classes not in (None, KINETICS_NUM_CLASSES):
        raise ValueError(
            f'`top="kinetics"` has {KINETICS_NUM_CLASSES} classes: leave `num_classes` out. '
            f"Received: num_classes={num_classes!r}"
        )


def _is_integer(value):
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)
