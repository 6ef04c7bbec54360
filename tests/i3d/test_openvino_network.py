"""The features that OpenVINO computes without Keras are those of Keras."""

import numpy as np
import pytest

import model_i3d
from i3d import openvino_network
from inference.conversion import SETTINGS, import_openvino
from pretraining import discriminant


@pytest.mark.parametrize(
    ("channels", "height", "first"),
    [(3, 56, {"subtract_mean": True}), (3, 40, {"even_out": True}), (2, 40, {"even_out": True})],
)
def test_features_are_those_of_keras(channels, height, first):
    shape = (32, height, 56, channels)
    network = model_i3d.build_i3d(*shape, width_multiplier=0.125, **first)
    random = np.random.default_rng(0)
    for layer in network.layers:  # of batch normalisation, too, nothing may stay at 0 or 1
        layer.set_weights([0.5 * a + random.uniform(0, 0.1, a.shape) for a in layer.get_weights()])
    layers = {
        layer.name: {each.name: each.numpy() for each in layer.weights}
        for layer in network.layers
        if layer.weights
    }
    openvino = import_openvino()
    built = openvino_network.build(openvino, layers, *shape[:3], **first)
    compute = openvino.Core().compile_model(built, "CPU", SETTINGS)
    clip = random.uniform(-1, 1, (1, *shape)).astype(np.float32)
    for seen in (clip * 1e-4, clip):
        expected = network.predict(seen, verbose=0)[:, :, 0, 0]
        found = compute(seen)[0]
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()

    layer = {
        "kernel": random.uniform(-1, 1, (expected.shape[-1], 5)).astype(np.float16),
        "bias": random.uniform(-1, 1, 5).astype(np.float16),
    }
    built = openvino_network.build(openvino, layers, *shape[:3], **first, discriminant=layer)
    found = openvino.Core().compile_model(built, "CPU", SETTINGS)(clip)[0]
    expected = discriminant.apply(layer, expected)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()
