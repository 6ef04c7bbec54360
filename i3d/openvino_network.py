"""The features of a small I3D, computed by OpenVINO straight from its weights, without Keras.

    model = openvino_network.build(openvino, layers, 32, 56, 56)

What `model_i3d.build_i3d(..., num_classes=None)` computes, with the batch normalisation, which has
learned what it knows, folded into the convolutions. It is there in tenths of a second, where Keras
takes several seconds to be imported.
"""

import numpy as np

from i3d.shapes import (
    BATCH_NORM_EPSILON,
    CONTRAST,
    INCEPTION_CHANNELS,
    LEAST_CONTRAST,
    LEAST_MOTION,
    MOTION,
    POOLED_FRAMES,
    STEM_CONVOLUTION,
    STEM_UNITS,
    STILL_SHARE,
    STREAM_OF_CHANNELS,
)

ITSELF = [1, 1, 1]
NO_PADDING = [0, 0, 0]


def build(
    openvino,
    layers,
    num_frames,
    height,
    width,
    subtract_mean=False,
    even_out=False,
    discriminant=None,
):
    """Builds the network without a top.

    Args:
        openvino: the module, of `conversion.import_openvino`.
        layers: {layer: {weight: array}}, of `weights.files.read`.
        num_frames, height, width: of a clip.
        subtract_mean, even_out: as in `build_i3d`.
        discriminant: layer of `pretraining.discriminant` that comes last, or None.

    Returns:
        `openvino.Model` from float32 `(1, num_frames, height, width, channels)` to float32
        `(1, T', features)`, or with a discriminant `(1, 1, directions)`.
    """
    graph = _Graph(openvino.opset13, layers)
    channels = layers[STEM_CONVOLUTION]["kernel"].shape[3]
    shape = [1, num_frames, height, width, channels]
    clip = graph.ops.parameter(shape, np.float32, name="clip")
    x = graph.ops.transpose(clip, np.array([0, 4, 1, 2, 3]))
    if even_out:
        x = graph.even_out(x)
    elif subtract_mean:
        x = graph.ops.subtract(x, graph.ops.reduce_mean(x, np.array([2]), keep_dims=True))
    features = graph.features(graph.trunk(x))
    if discriminant:
        features = graph.compared(features, discriminant)
    return openvino.Model([features], [clip], "i3d_features")


class _Graph:
    """Adds the layers of I3D, in OpenVINO's order of axes: (batch, channels, T, H, W)."""

    def __init__(self, ops, layers):
        self.ops, self._layers = ops, layers

    def even_out(self, clip):
        """What `model_i3d.EvenOut` computes."""
        if STREAM_OF_CHANNELS[clip.shape[1]] == "flow":
            motion = self._root_mean_square(clip, LEAST_MOTION)
            return self.ops.multiply(
                clip, self.ops.sqrt(self.ops.divide(np.float32(MOTION), motion))
            )
        still = self.ops.reduce_mean(clip, np.array([2]), keep_dims=True)
        moving = self.ops.subtract(clip, self.ops.multiply(still, np.float32(1 - STILL_SHARE)))
        mean = self.ops.reduce_mean(moving, np.arange(1, 5), keep_dims=True)
        centred = self.ops.subtract(moving, mean)
        contrast = self._root_mean_square(centred, LEAST_CONTRAST)
        return self.ops.multiply(centred, self.ops.divide(np.float32(CONTRAST), contrast))

    def _root_mean_square(self, x, least):
        squares = self.ops.reduce_mean(self.ops.multiply(x, x), np.arange(1, 5), keep_dims=True)
        return self.ops.maximum(self.ops.sqrt(squares), np.float32(least))

    def trunk(self, x):
        first, second, third = STEM_UNITS
        x = self._pool(self._unit(x, first[0], [2, 2, 2]), [1, 3, 3], [1, 2, 2])
        x = self._unit(self._unit(x, second[0]), third[0])
        x = self._pool(x, [1, 3, 3], [1, 2, 2])
        for block in INCEPTION_CHANNELS:
            if block == "4b":
                x = self._pool(x, [3, 3, 3], [2, 2, 2])
            elif block == "5b":
                x = self._pool(x, [2, 2, 2], [2, 2, 2])
            x = self._inception(x, f"Conv3d_{block}_")
        return x

    def features(self, x):
        """Averaged over the picture and over pairs of steps: `(batch, T', channels)`."""
        _, channels, num_steps, height, width = x.output(0).shape
        size = [min(POOLED_FRAMES, num_steps), height, width]
        x = self.ops.avg_pool(x, ITSELF, NO_PADDING, NO_PADDING, size, exclude_pad=True)
        x = self.ops.reshape(x, np.array([1, channels, -1]), special_zero=False)
        return self.ops.transpose(x, np.array([0, 2, 1]))

    def compared(self, x, layer):
        """What `pretraining.discriminant.apply` computes: `(batch, 1, directions)`."""
        x = self.ops.reduce_mean(x, np.array([1]), keep_dims=True)
        x = self.ops.matmul(x, np.float32(layer["kernel"]), False, False)
        return self.ops.add(x, np.float32(layer["bias"]))

    def _inception(self, x, name):
        direct = self._unit(x, f"{name}0a_1x1")
        wide = self._unit(self._unit(x, f"{name}1a_1x1"), f"{name}1b_3x3")
        narrow = self._unit(self._unit(x, f"{name}2a_1x1"), f"{name}2b_3x3")
        pooled = self._unit(self._pool(x, [3, 3, 3], ITSELF), f"{name}3b_1x1")
        return self.ops.concat([direct, wide, narrow, pooled], axis=1)

    def _unit(self, x, name, strides=ITSELF):
        """Convolution, batch normalisation, ReLU."""
        kernel = self._layers[f"{name}_conv"]["kernel"].transpose(4, 3, 0, 1, 2)
        norm = self._layers[f"{name}_bn"]
        scale = 1 / np.sqrt(norm["moving_variance"] + BATCH_NORM_EPSILON)
        bias = (norm["beta"] - norm["moving_mean"] * scale)[None, :, None, None, None]
        kernel = np.ascontiguousarray(kernel * scale[:, None, None, None, None], np.float32)
        x = self.ops.convolution(
            x, kernel, strides, NO_PADDING, NO_PADDING, ITSELF, auto_pad="same_upper"
        )
        return self.ops.relu(self.ops.add(x, np.float32(bias)))

    def _pool(self, x, size, strides):
        return self.ops.max_pool(
            x, strides, ITSELF, NO_PADDING, NO_PADDING, size, auto_pad="same_upper"
        ).output(0)
