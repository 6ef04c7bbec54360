"""inference/winograd.py: the same numbers as the convolutions that it replaces."""

import numpy as np
import pytest

import model_i3d
from common.slow_imports import import_keras
from inference import conversion, winograd
from inference.clip import WHOLE

openvino = conversion.import_openvino()
ops = openvino.opset13

CHANNELS, SIZE = 3, 6
RANDOM = np.random.default_rng(0)


def convolution(inputs, kernel=(3, 3, 3), strides=(1, 1, 1), padding="same_upper", num_filters=5):
    weights = RANDOM.standard_normal((num_filters, inputs.get_output_shape(0)[1], *kernel))
    edges = [0, 0, 0]
    return ops.convolution(
        inputs, weights.astype(np.float32), list(strides), edges, edges, [1, 1, 1], padding
    )


def with_bias(node):
    bias = RANDOM.standard_normal((1, node.get_output_shape(0)[1], 1, 1, 1))
    return ops.add(node, ops.constant(bias.astype(np.float32)))


def pooled(node, size):
    edges = [0, 0, 0]
    ones = [1, 1, 1]
    return ops.max_pool(node, [1, 2, 2], ones, edges, edges, size, auto_pad="same_upper").output(0)


def frames(number):
    return ops.parameter([1, CHANNELS, number, SIZE, SIZE], np.float32)


def outputs_of(model, inputs):
    compiled = conversion.compile_model(model)
    return [np.array(value) for value in compiled(inputs).values()]


def check(inputs, results, num_replaced):
    """The model replaces so many convolutions and gives the same numbers."""
    model = openvino.Model(results, [inputs])
    values = RANDOM.standard_normal(list(inputs.get_output_shape(0))).astype(np.float32)
    before = outputs_of(model, values)
    assert winograd.rewrite(model) == num_replaced
    after = outputs_of(model, values)
    assert len(before) == len(after)
    for one, other in zip(before, after, strict=True):
        assert np.std(one) > 0.5 and one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


@pytest.fixture(autouse=True)
def small_ones_too(monkeypatch):
    monkeypatch.setattr(winograd, "MIN_GFLOP", 0)


@pytest.mark.parametrize("num_frames", range(4, 14))
@pytest.mark.parametrize("padding", ["same_upper", "valid"])
def test_any_number_of_frames_gives_the_same(num_frames, padding):
    inputs = frames(num_frames)
    num_outputs = num_frames if padding == "same_upper" else num_frames - 2
    gains = num_outputs in (4, 7, 8, 10, 11, 12)  # others leave much of the last tile empty
    check(inputs, [convolution(inputs, padding=padding)], int(gains))


@pytest.mark.parametrize("num_frames", range(4, 10))
def test_tiles_that_are_not_full_are_right_too(num_frames, monkeypatch):
    monkeypatch.setattr(winograd, "MAX_SHARE", 9)
    inputs = frames(num_frames)
    check(inputs, [convolution(inputs)], 1)


@pytest.mark.parametrize("pooling", [None, [1, 3, 3], [3, 3, 3]])
@pytest.mark.parametrize("has_bias", [False, True])
def test_what_follows_stays(has_bias, pooling):
    inputs = frames(10)
    node = convolution(inputs)
    node = with_bias(node) if has_bias else node
    node = ops.relu(node)
    check(inputs, [pooled(node, pooling) if pooling else node], 1)


def test_an_output_that_two_layers_use_goes_to_both():
    inputs = frames(8)
    node = convolution(inputs)
    check(inputs, [ops.relu(node).output(0), with_bias(node).output(0)], 1)
    inputs = frames(8)
    biased = with_bias(convolution(inputs))
    check(inputs, [ops.relu(biased).output(0), pooled(biased, [1, 3, 3])], 1)


def test_a_sum_with_other_frames_is_no_bias():
    inputs = frames(8)
    node = convolution(inputs, num_filters=CHANNELS)
    check(inputs, [ops.relu(ops.add(node, inputs))], 1)
    inputs = frames(8)
    values = ops.constant(RANDOM.standard_normal((1, 1, 8, 1, 1)).astype(np.float32))
    check(inputs, [ops.relu(ops.add(convolution(inputs), values))], 1)


def test_one_after_the_other():
    inputs = frames(8)
    first = ops.relu(with_bias(convolution(inputs)))
    second = ops.relu(with_bias(convolution(first)))
    check(inputs, [ops.concat([first, second], 1)], 2)


@pytest.mark.parametrize(
    "settings", [{"kernel": (1, 3, 3)}, {"kernel": (7, 7, 7)}, {"strides": (2, 1, 1)}]
)
def test_other_convolutions_stay(settings):
    inputs = frames(12)
    check(inputs, [convolution(inputs, **settings)], 0)


def test_i3d_stays_the_same():
    keras = import_keras()
    keras.utils.set_random_seed(0)
    network = model_i3d.build_i3d(16, 32, 32, 2, 5, width_multiplier=0.125)
    for layer in network.layers:
        for weight in layer.weights:
            if weight.name in ("beta", "moving_mean"):  # else OpenVINO leaves them out
                weight.assign(RANDOM.normal(0, 0.1, weight.shape))
    model = conversion.convert(network)[WHOLE]
    clip = RANDOM.uniform(-1, 1, (1, *network.input_shape[1:])).astype(np.float32)
    assert winograd.rewrite(model) == 15  # those on 8 and on 4 frames
    answer = outputs_of(model, clip)[0]
    assert np.abs(answer - network.predict_on_batch(clip)).max() < 1e-5


def test_what_cannot_be_known_stays():
    for num_frames, kind in ((8, np.float16), (-1, np.float32)):
        inputs = ops.parameter([1, CHANNELS, num_frames, SIZE, SIZE], kind)
        weights = np.ones((5, CHANNELS, 3, 3, 3), kind)
        node = ops.convolution(inputs, weights, *[[1, 1, 1]] * 4)
        assert winograd.rewrite(openvino.Model([node], [inputs])) == 0


def test_small_convolutions_stay(monkeypatch):
    inputs = frames(12)
    gflop = 2e-9 * 27 * CHANNELS * 5 * 12 * SIZE * SIZE
    monkeypatch.setattr(winograd, "MIN_GFLOP", 1.01 * gflop)
    check(inputs, [convolution(inputs)], 0)
    monkeypatch.setattr(winograd, "MIN_GFLOP", 0.99 * gflop)
    inputs = frames(12)
    check(inputs, [convolution(inputs)], 1)
