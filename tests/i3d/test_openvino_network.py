"""I3D in OpenVINO, built from weights alone."""

import subprocess
import sys

import numpy as np
import pytest

from common.command_line import PROJECT
from common.slow_imports import import_keras
from inference.conversion import import_openvino

openvino = import_openvino()


@pytest.mark.parametrize(("channels", "subtract_mean"), [(3, True), (3, False), (2, False)])
def test_it_computes_what_keras_computes(channels, subtract_mean):
    import_keras()
    import model_i3d
    from i3d import openvino_network

    shape = (18, 40, 56, channels)
    network = model_i3d.build_i3d(*shape, width_multiplier=0.125, subtract_mean=subtract_mean)
    rng = np.random.default_rng(0)
    for layer in network.layers:
        for weight in layer.weights:
            is_variance = weight.name == "moving_variance"
            weight.assign(
                rng.uniform(0.5, 1.5, weight.shape)
                if is_variance
                else rng.normal(0, 0.1, weight.shape)
            )
    layers = {
        layer.name: {weight.name: weight.numpy() for weight in layer.weights}
        for layer in network.layers
        if layer.weights
    }
    clip = rng.uniform(-1, 1, (1, *shape)).astype(np.float32)
    built = openvino_network.build(layers, shape, subtract_mean)
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    answer = openvino.Core().compile_model(built, "CPU", settings)([clip])[0]
    expected = network.predict_on_batch(clip)
    assert answer.shape == (1, expected.shape[1], expected.shape[-1])
    error = np.abs(answer - expected.reshape(answer.shape)).max()
    assert error < 1e-5 * np.abs(expected).max()


def test_keras_is_not_needed():
    program = (
        "import sys, numpy as np\n"
        "from i3d import openvino_network, shapes\n"
        "wanted = shapes.weight_shapes(2, 0.125)\n"
        "layers = {name: {weight: np.ones(shape, 'f') for weight, shape in each.items()}\n"
        "          for name, each in wanted.items()}\n"
        "openvino_network.build(layers, (16, 40, 40, 2), False)\n"
        "assert not {'keras', 'tensorflow'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=PROJECT, check=True)
