"""I3D's features in OpenVINO, built from its weights alone: no Keras is imported.

    network = build(files.read("rgb.h5").layers, (32, 56, 56, 3), subtract_mean=True)

The same as `model_i3d.build_i3d` without a top, with batch normalisation folded into convolutions.
"""

import sys

import numpy as np

from i3d.shapes import INCEPTION_CHANNELS, STEM_UNITS

BATCH_NORM_EPSILON = 1e-3
POOLED_FRAMES = 2  # of the last average pooling


def build(layers, input_shape, subtract_mean):
    """The network up to its features.

    Args:
        layers: {layer: {weight: float32 array}} of `weights.files.read`.
        input_shape: (num_frames, height, width, channels) of a clip.
        subtract_mean: as in `model_i3d.build_i3d`.

    Returns:
        `openvino.Model` from float32 `(1, *input_shape)` to float32 `(1, T', features)`.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # it would fork, and report over the network
    import openvino
    from openvino import opset13 as ops

    clip = ops.parameter((1, *input_shape), np.float32, name="clip")
    x = clip
    if subtract_mean:
        x = ops.subtract(x, ops.reduce_mean(x, np.array([1]), keep_dims=True))
    x = ops.transpose(x, np.array([0, 4, 1, 2, 3]))
    builder = _Builder(ops, layers)
    first, second, third = (name for name, *_ in STEM_UNITS)
    x = builder.unit(x, first, strides=2)
    x = builder.pool(x, (1, 3, 3), (1, 2, 2))
    x = builder.unit(builder.unit(x, second), third)
    x = builder.pool(x, (1, 3, 3), (1, 2, 2))
    for block in INCEPTION_CHANNELS:
        if block == "4b":
            x = builder.pool(x, (3, 3, 3), (2, 2, 2))
        if block == "5b":
            x = builder.pool(x, (2, 2, 2), (2, 2, 2))
        x = builder.inception(x, block)
    window = (min(POOLED_FRAMES, x.shape[2]), *list(x.shape)[3:])
    x = ops.avg_pool(x, (1, 1, 1), (0, 0, 0), (0, 0, 0), window, exclude_pad=True)
    x = ops.transpose(ops.squeeze(x, np.array([3, 4])), np.array([0, 2, 1]))
    return openvino.Model([x], [clip], "i3d_features")


class _Builder:
    def __init__(self, ops, layers):
        self.ops, self.layers = ops, layers

    def unit(self, x, name, strides=1):
        """Convolution, batch normalisation, ReLU."""
        kernel = self.layers[f"{name}_conv"]["kernel"]
        bn = self.layers[f"{name}_bn"]
        scale = bn.get("gamma", np.float32(1)) / np.sqrt(bn["moving_variance"] + BATCH_NORM_EPSILON)
        bias = bn["beta"] - bn["moving_mean"] * scale
        kernel = np.ascontiguousarray((kernel * scale).transpose(4, 3, 0, 1, 2), np.float32)
        none = (0, 0, 0)
        x = self.ops.convolution(
            x, kernel, (strides,) * 3, none, none, (1, 1, 1), auto_pad="same_upper"
        )
        x = self.ops.add(x, np.float32(bias).reshape(1, -1, 1, 1, 1))
        return self.ops.relu(x)

    def pool(self, x, size, strides):
        none = (0, 0, 0)
        pooled = self.ops.max_pool(
            x, strides, (1, 1, 1), none, none, size, "floor", auto_pad="same_upper"
        )
        return pooled.output(0)

    def inception(self, x, block):
        name = f"Conv3d_{block}_"
        branches = [
            self.unit(x, f"{name}0a_1x1"),
            self.unit(self.unit(x, f"{name}1a_1x1"), f"{name}1b_3x3"),
            self.unit(self.unit(x, f"{name}2a_1x1"), f"{name}2b_3x3"),
            self.unit(self.pool(x, (3, 3, 3), (1, 1, 1)), f"{name}3b_1x1"),
        ]
        return self.ops.concat(branches, 1)
