"""The layers of I3D that carry weights: names, shapes, and what differs. No Keras import.

Names and shapes at width 1 are those of the published Keras weights; model_i3d.py builds them.
Also the numbers of its layer without weights that evens clips out, which is built twice.
"""

import numpy as np

STEM_CONVOLUTION = "Conv3d_1a_7x7_conv"
TOP_CONVOLUTION = "Conv3d_6a_1x1_conv"
DISCRIMINANT = "discriminant"  # makes features comparable, see pretraining/discriminant.py
EVEN_OUT = "even_out"  # the layer of `model_i3d.EvenOut`, which has no weights
STEM_FILTERS = 64
BATCH_NORM_EPSILON = 1e-3
POOLED_FRAMES = 2  # temporal extent of the last average pooling
KINETICS_NUM_CLASSES = 400  # of the published head
# (name, kernel size, channels at width 1) of the units below the first Inception block.
STEM_UNITS = (
    ("Conv3d_1a_7x7", 7, STEM_FILTERS),
    ("Conv3d_2b_1x1", 1, 64),
    ("Conv3d_2c_3x3", 3, 192),
)
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
# Of `model_i3d.EvenOut`: how much is left of what stands still; to which root mean square of all
# values clips are brought; and the least one that they are taken to have, for less is noise.
STILL_SHARE = 0.5
CONTRAST, LEAST_CONTRAST = 0.3, 0.02
MOTION, LEAST_MOTION = 0.025, 0.003
STREAM_OF_CHANNELS = {3: "rgb", 2: "flow"}
CHANNELS_OF_STREAM = {"rgb": 3, "flow": 2}
OTHER_STREAM = {"rgb": "flow", "flow": "rgb"}


def scaled(filters, width_multiplier):
    """Number of channels of a layer that has `filters` at width 1."""
    return max(1, round(filters * width_multiplier))


def weight_shapes(channels, width_multiplier=1.0, num_classes=None):
    """What a network of `model_i3d.build_i3d` holds.

    Args:
        channels: 3 (RGB) or 2 (optical flow).
        width_multiplier: as in `build_i3d`.
        num_classes: of the classification layer; None: without one.

    Returns:
        {layer name: {weight name: shape}}; kernels are (T, H, W, channels in, channels out).
    """
    shapes, features = {}, channels
    for name, size, filters in STEM_UNITS:
        features = _add_unit(shapes, name, size, features, scaled(filters, width_multiplier))
    for block, branches in INCEPTION_CHANNELS.items():
        features = _add_inception(shapes, block, branches, features, width_multiplier)
    if num_classes is not None:
        kernel = (1, 1, 1, features, num_classes)
        shapes[TOP_CONVOLUTION] = {"kernel": kernel, "bias": (num_classes,)}
    return shapes


def differences(layers, expected):
    """What differs between weights and what a network wants, as a list of short sentences.

    Args:
        layers: {layer name: {weight name: array}}.
        expected: {layer name: {weight name: shape}}.
    """
    problems = [f"missing layer {name}" for name in expected.keys() - layers.keys()]
    problems += [f"unknown layer {name}" for name in layers.keys() - expected.keys()]
    for name in expected.keys() & layers.keys():
        have = {weight: array.shape for weight, array in layers[name].items()}
        if have != expected[name]:
            problems.append(f"{name} has shapes {_text(have)}, expected {_text(expected[name])}")
        elif not all(np.isfinite(array).all() for array in layers[name].values()):
            problems.append(f"{name} holds values that are not finite")
    return sorted(problems)


def _add_unit(shapes, name, size, features, filters):
    """Convolution and batch normalisation; returns the number of channels that come out."""
    shapes[f"{name}_conv"] = {"kernel": (size, size, size, features, filters)}
    statistics = ("beta", "moving_mean", "moving_variance")
    shapes[f"{name}_bn"] = dict.fromkeys(statistics, (filters,))
    return filters


def _add_inception(shapes, block, branches, features, width_multiplier):
    direct, wide, narrow, pooled = branches
    units = {"0a_1x1": direct, "1a_1x1": wide[0], "1b_3x3": wide[1], "2a_1x1": narrow[0]}
    units |= {"2b_3x3": narrow[1], "3b_1x1": pooled}
    filters = {key: scaled(number, width_multiplier) for key, number in units.items()}
    for key, number in filters.items():
        before = {"1b_3x3": filters["1a_1x1"], "2b_3x3": filters["2a_1x1"]}.get(key, features)
        _add_unit(shapes, f"Conv3d_{block}_{key}", int(key[-1]), before, number)
    return sum(filters[key] for key in ("0a_1x1", "1b_3x3", "2b_3x3", "3b_1x1"))


def _text(shapes):
    return ", ".join(f"{name} {shape}" for name, shape in sorted(shapes.items()))
