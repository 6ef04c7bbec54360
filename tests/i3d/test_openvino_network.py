"""The features that OpenVINO computes without Keras are those of Keras."""

import numpy as np
import pytest

import model_i3d
from i3d import openvino_network
from inference.conversion import SETTINGS, import_openvino
from pretraining import discriminant


@pytest.mark.parametrize(("stream", "channels", "height"), [("rgb", 3, 56), ("flow", 2, 40)])
def test_features_are_those_of_keras(stream, channels, height):
    shape = (32, height, 56, channels)
    network = model_i3d.build_i3d(*shape, width_multiplier=0.125, subtract_mean=stream == "rgb")
    random = np.random.default_rng(0)
    for layer in network.layers:  # of batch normalisation, too, nothing may stay at 0 or 1
        layer.set_weights([0.5 * a + random.uniform(0, 0.1, a.shape) for a in layer.get_weights()])
    layers = {
        layer.name: {each.name: each.numpy() for each in layer.weights}
        for layer in network.layers
        if layer.weights
    }
    openvino = import_openvino()
    built = openvino_network.build(openvino, layers, *shape[:3], subtract_mean=stream == "rgb")
    compute = openvino.Core().compile_model(built, "CPU", SETTINGS)
    clip = random.uniform(-1, 1, (1, *shape)).astype(np.float32)
    expected = network.predict(clip, verbose=0)[:, :, 0, 0]
    found = compute(clip)[0]
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()

    layer = {
        "kernel": random.uniform(-1, 1, (expected.shape[-1], 5)).astype(np.float16),
        "bias": random.uniform(-1, 1, 5).astype(np.float16),
    }
    built = openvino_network.build(openvino, layers, *shape[:3], stream == "rgb", layer)
    found = openvino.Core().compile_model(built, "CPU", SETTINGS)(clip)[0]
    expected = discriminant.apply(layer, expected)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()
