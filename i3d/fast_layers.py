"""Layers of I3D with the weights and results of Keras' own that train fast on a CPU.

TensorFlow computes the gradient of a strided 3-D convolution on a CPU up to a hundred times slower
than its value. The layers here compute the same numbers from 2-D operations while they train on
TensorFlow without a GPU; everywhere else (GPU, other backends, inference, frozen layers) they are
the layers that they are named after.
"""

import math

import keras
from keras import layers, ops


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
        is_fast = _runs_on_tensorflow_cpu() and not self.synchronized
        if not (training and self.trainable and is_fast):
            return super().call(inputs, training=training, mask=mask)
        points = ops.cast(ops.reshape(inputs, (-1, inputs.shape[-1])), "float32")
        beta = ops.cast(ops.reshape(self.beta, (1, -1)), "float32")
        outputs, mean, variance = _normalize(points, beta, self.epsilon)
        for moving, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + value * (1.0 - self.momentum))
        outputs = ops.reshape(outputs, (-1, *inputs.shape[1:]))
        return ops.cast(outputs, self.compute_dtype)


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
