"""Extractors: networks of `keras.applications` without their top, one frame in, features out.

    path = mobile.find_weights("imagenet", "mobilenet")
    extractor = model_mobile.build_extractor("mobilenet", 224, 224, 3, weights=path)

Size, preprocessing and weights of each are those of `keras.applications`. Import this module before
`keras.saving.load_model` opens a `.keras` file of such a network: the import registers the layer
defined here.

Source: Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision
Applications" (2017), arXiv 1704.04861; "Searching for MobileNetV3" (2019), arXiv 1905.02244;
Szegedy et al., "Rethinking the Inception Architecture for Computer Vision" (2015), arXiv
1512.00567.
"""

import keras
import numpy as np
from keras import layers, ops

from common.network_input import HALF_RANGE
from weights.mobile import EXTRACTORS

CHANNELS = (2, 3)  # optical flow, RGB
MIN_SIZE_PX = {"mobilenet": 32, "mobilenet_v3_small": 32, "inception_v3": 75}
NUM_NOISE_FRAMES = 32


@keras.saving.register_keras_serializable(package="signs")
class PrepareFrame(layers.Layer):
    """From frames in [-1, 1] to what an extractor of `keras.applications` was trained on.

    Optical flow gets zeros as its third channel.

    Args:
        extractor: one of `EXTRACTORS`.
    """

    def __init__(self, extractor, **settings):
        super().__init__(**settings)
        self.extractor = extractor

    def call(self, frames):
        missing = 3 - frames.shape[-1]
        if missing:
            frames = ops.pad(frames, ((0, 0), (0, 0), (0, 0), (0, missing)))
        pixels = (frames + 1) * HALF_RANGE
        return _preprocess(self.extractor)(pixels, data_format="channels_last")

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], 3)

    def get_config(self):
        return {**super().get_config(), "extractor": self.extractor}


def build_extractor(
    extractor,
    height,
    width,
    channels,
    width_multiplier=1.0,
    weights=None,
    batch_norm_momentum=None,
):
    """Builds an extractor.

    Args:
        extractor: one of `EXTRACTORS`.
        height, width: of a frame in pixels. Frames that are smaller than `MIN_SIZE_PX` are
            enlarged inside the network.
        channels: 3 (RGB) or 2 (optical flow: dx, dy).
        width_multiplier: factor on the number of channels of the MobileNets; 1 is the published
            width. Inception has only one.
        weights: None for random ones, or the path of a Keras weight file without top. Random ones
            come from Keras' random seed, with running statistics that keep activations in range.
        batch_norm_momentum: share of the old value that running statistics keep at each training
            step, by default as published. Short training from random weights needs 0.9 or less.

    Returns:
        A functional `keras.Model`. Input: float32 `(batch, height, width, channels)` in [-1, 1].
        Output: the last activations averaged over the picture, `(batch, features)`: 1,024 (v1),
        576 (v3 small), 2,048 (Inception) at width 1.

    Raises:
        ValueError: an argument is outside the range given above, or the file does not fit.
    """
    _check(extractor, height, width, channels, width_multiplier)
    frame = keras.Input((height, width, channels), name="frame")
    x = PrepareFrame(extractor, name="prepare")(frame)
    size = [max(length, MIN_SIZE_PX[extractor]) for length in (height, width)]
    if size != [height, width]:
        x = layers.Resizing(*size, name="enlarge")(x)
    trunk = _build_trunk(extractor, size, width_multiplier)
    if batch_norm_momentum is not None:
        for layer in _batch_norms(trunk):
            layer.momentum = batch_norm_momentum
    if weights is None:
        _calibrate(trunk, extractor, size)
    else:
        _load(trunk, weights)
    return keras.Model(frame, trunk(x), name="extractor")


def _build_trunk(extractor, size, width_multiplier):
    build, settings = {
        "mobilenet": (keras.applications.MobileNet, {"alpha": width_multiplier}),
        "mobilenet_v3_small": (keras.applications.MobileNetV3Small, {"alpha": width_multiplier}),
        "inception_v3": (keras.applications.InceptionV3, {}),
    }[extractor]
    shape = (*size, 3)
    return build(input_shape=shape, include_top=False, weights=None, pooling="avg", **settings)


def _calibrate(trunk, extractor, size):
    """Sets the running statistics of random weights to those of smooth noise.

    Left at 0 and 1, they would let the activations of 27 layers shrink to nothing.
    """
    random = np.random.default_rng(0)
    coarse = random.uniform(-1, 1, (NUM_NOISE_FRAMES, 8, 8, 3)).astype(np.float32)
    noise = ops.image.resize(coarse, size, interpolation="bilinear")
    momenta = [layer.momentum for layer in _batch_norms(trunk)]
    for layer in _batch_norms(trunk):
        layer.momentum = 0.0
    trunk(PrepareFrame(extractor)(noise), training=True)
    for layer, momentum in zip(_batch_norms(trunk), momenta, strict=True):
        layer.momentum = momentum


def _batch_norms(trunk):
    return [layer for layer in trunk.layers if isinstance(layer, layers.BatchNormalization)]


def _load(trunk, weights):
    try:
        trunk.load_weights(weights)
    except (KeyError, OSError, ValueError) as error:
        raise ValueError(f"{weights} does not fit {trunk.name} without its top: {error}") from error


def _preprocess(extractor):
    return {
        "mobilenet": keras.applications.mobilenet,
        "mobilenet_v3_small": keras.applications.mobilenet_v3,
        "inception_v3": keras.applications.inception_v3,
    }[extractor].preprocess_input


def _check(extractor, height, width, channels, width_multiplier):
    if extractor not in EXTRACTORS:
        raise ValueError(
            f"`extractor` must be one of {', '.join(EXTRACTORS)}. Received: {extractor!r}"
        )
    if min(height, width) < 1:
        raise ValueError(
            f"`height` and `width` must be above 0. Received: height={height}, width={width}"
        )
    if channels not in CHANNELS:
        raise ValueError(
            f"`channels` must be 3 (RGB) or 2 (optical flow). Received: channels={channels!r}"
        )
    if not width_multiplier > 0:
        raise ValueError(
            f"`width_multiplier` must be above 0. Received: width_multiplier={width_multiplier!r}"
        )
