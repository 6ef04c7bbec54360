"""The I3D network: against the published one, and against plain Keras layers."""

import json
import zlib
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

import model_i3d
from i3d import fast_layers

REFERENCE = Path(__file__).resolve().parent.parent.parent / "shared" / "reference" / "i3d"
CHANNELS = {"rgb": 3, "flow": 2}
REFERENCE_CLIP_SEED = {"rgb": 7, "flow": 8}


def reference(stream):
    if not REFERENCE.exists():
        pytest.skip("the reference material is not beside this project")
    return json.loads((REFERENCE / "keras_layers.json").read_text())[stream]


def reference_weight(name, shape):
    """The recipe of the reference: every weight follows from its name."""
    random = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith("/kernel:0"):
        values = random.standard_normal(shape) * np.sqrt(2 / np.prod(shape[:-1]))
    elif name.endswith("/moving_variance:0"):
        values = random.uniform(0.5, 1.5, shape)
    else:
        values = random.standard_normal(shape) * 0.1
    return values.astype(np.float32)


def set_reference_weights(model):
    for layer in model.layers:
        names = [f"{layer.name}/{weight.name}:0" for weight in layer.weights]
        shapes = [tuple(weight.shape) for weight in layer.weights]
        layer.set_weights([reference_weight(*named) for named in zip(names, shapes, strict=True)])


def weight_shapes(model):
    """`[(layer, {weight: shape})]` in model order, as the reference lists them."""
    return [
        (layer.name, {f"{layer.name}/{weight.name}:0": list(weight.shape) for weight in weights})
        for layer in model.layers
        if (weights := layer.weights)
    ]


def random_clips(num_clips, num_frames, height, width, channels, seed=0):
    shape = (num_clips, num_frames, height, width, channels)
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def small_network(num_classes=3, channels=2, **options):
    """Eight frames of 32x32 pixels, an eighth of the published width, random weights."""
    keras.utils.set_random_seed(1)
    options = {"width_multiplier": 0.125, "dropout": 0.0} | options
    return model_i3d.build_i3d(8, 32, 32, channels, num_classes, **options)


class Offset(layers.Layer):
    """Adds a weight as large as the batch: what one step changes is the gradient of the input."""

    def build(self, input_shape):
        self.offset = self.add_weight(shape=input_shape, initializer="zeros", name="offset")

    def call(self, inputs):
        return inputs + self.offset


def step_of(layer, clips, weights):
    """The layer's training output, and by how much one plain gradient step moves every weight."""
    inputs = keras.Input(batch_shape=clips.shape)
    offset = Offset()
    model = keras.Model(inputs, layer(offset(inputs)))
    layer.set_weights(weights)
    outputs = keras.ops.convert_to_numpy(model(clips, training=True))
    before = model.get_weights()
    target = np.random.default_rng(3).standard_normal(outputs.shape).astype(np.float32)
    model.compile(keras.optimizers.SGD(1.0), loss="mse")
    model.train_on_batch(clips, target)
    moves = [new - old for old, new in zip(before, model.get_weights(), strict=True)]
    assert np.abs(moves[0]).max() > 0  # the input's gradient is there
    return [outputs, *moves]


def assert_same_step(fast_layer, plain_layer, clips, weights):
    fast = step_of(fast_layer, clips, weights)
    plain = step_of(plain_layer, clips, weights)
    assert len(fast) == len(plain)
    for ours, theirs in zip(fast, plain, strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.parametrize("stream", CHANNELS)
def test_features_are_those_of_the_published_network(stream):
    reference(stream)
    model = model_i3d.build_i3d(40, 224, 224, CHANNELS[stream])
    set_reference_weights(model)
    random = np.random.default_rng(REFERENCE_CLIP_SEED[stream])
    clip = random.uniform(-1, 1, (1, 40, 224, 224, CHANNELS[stream])).astype(np.float32)
    with np.load(REFERENCE / "expected_features.npz") as expected:
        features = model.predict(clip, verbose=0)  # 0 to 60: rounding decides on the tiny ones
        np.testing.assert_allclose(features, expected[stream], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("stream", CHANNELS)
def test_layers_have_the_published_names_shapes_and_order(stream):
    published = reference(stream)
    headless = model_i3d.build_i3d(40, 224, 224, CHANNELS[stream])
    assert weight_shapes(headless) == list(published["headless"].items())
    activations = {layer.name: list(layer.output.shape[1:]) for layer in headless.layers[1:]}
    assert activations == published["activations_at_40x224x224"]
    kinetics = model_i3d.build_i3d(64, 224, 224, CHANNELS[stream], top="kinetics")
    with_top = published["headless"] | published["kinetics_top"]
    assert weight_shapes(kinetics) == list(with_top.items())


@pytest.mark.parametrize(
    "clip_shape, width_multiplier, features_shape",
    [
        ((8, 32, 32, 2), 0.125, (1, 1, 1, 128)),
        ((9, 33, 50, 3), 0.0625, (1, 1, 1, 64)),  # one step of time is left: (1, H, W) is averaged
        ((17, 70, 32, 3), 0.125, (2, 1, 1, 128)),
        ((24, 64, 96, 2), 0.25, (2, 1, 1, 256)),
    ],
)
def test_features_of_any_clip(clip_shape, width_multiplier, features_shape):
    model = model_i3d.build_i3d(*clip_shape, width_multiplier=width_multiplier)
    features = model.predict(random_clips(2, *clip_shape), verbose=0)
    assert features.shape == (2, *features_shape)
    assert model.output_shape == (None, *features_shape)
    assert np.ptp(features) > 0


def test_every_layer_is_narrowed_by_the_width_multiplier():
    model = model_i3d.build_i3d(8, 32, 32, 3, width_multiplier=0.25)
    assert model.get_layer("Conv3d_1a_7x7_conv").kernel.shape == (7, 7, 7, 3, 16)
    assert model.get_layer("Conv3d_3b_2a_1x1_conv").kernel.shape == (1, 1, 1, 48, 4)
    assert model.get_layer("Conv3d_5c_1b_3x3_conv").kernel.shape == (3, 3, 3, 48, 96)


@pytest.mark.parametrize("num_classes", [1, 5])
def test_probabilities_are_the_softmax_of_class_scores_averaged_over_time(num_classes):
    options = {"width_multiplier": 0.0625}
    model = model_i3d.build_i3d(24, 32, 32, 3, num_classes, **options)
    headless = model_i3d.build_i3d(24, 32, 32, 3, **options)
    bias = np.arange(num_classes, dtype=np.float32)
    kernel, _ = model.get_layer("Conv3d_6a_1x1_conv").get_weights()
    model.get_layer("Conv3d_6a_1x1_conv").set_weights([kernel, bias])
    headless.set_weights(model.get_weights()[:-2])
    clips = random_clips(2, 24, 32, 32, 3)
    features = headless.predict(clips, verbose=0)
    assert features.shape[1] == 2
    scores = (features.reshape(2, 2, -1) @ kernel.reshape(-1, num_classes) + bias).mean(axis=1)
    expected = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    probabilities = model.predict(clips, verbose=0)
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)


def test_what_does_not_move_is_not_seen_when_the_mean_is_subtracted():
    clips, still = random_clips(2, 8, 32, 32, 3), random_clips(2, 1, 32, 32, 3, seed=5)
    subtract = model_i3d.SubtractMean()
    np.testing.assert_allclose(subtract(clips + still), subtract(clips), atol=1e-5)
    assert np.abs(subtract(clips[::-1] + still) - subtract(clips)).max() > 0.1


def even_out(clips):
    return keras.ops.convert_to_numpy(model_i3d.EvenOut()(clips))


def test_light_and_contrast_do_not_matter_when_clips_are_evened_out():
    clips = random_clips(2, 8, 32, 32, 3)
    expected = even_out(clips)
    assert np.sqrt(np.mean(expected**2, axis=(1, 2, 3, 4))) == pytest.approx([0.3, 0.3])
    darker = clips * np.reshape([0.2, 0.7], (2, 1, 1, 1, 1)) - 0.3
    np.testing.assert_allclose(even_out(np.float32(darker)), expected, atol=1e-5)
    nothing = even_out(np.full((1, 8, 32, 32, 3), 0.4, np.float32))
    np.testing.assert_allclose(nothing, 0, atol=1e-4)


def test_what_stands_still_is_seen_half_as_well_when_clips_are_evened_out():
    clips = np.zeros((1, 8, 32, 32, 3), np.float32)
    clips[:, :, 4:12, 4:12] = 1  # stands still
    clips[:, ::2, 20:28, 20:28] = 1  # comes and goes
    seen = even_out(clips)[0, :, :, :, 0]
    still = seen[:, 8, 8] - seen[:, 0, 0]
    moving = seen[0, 24, 24] - seen[1, 24, 24]
    np.testing.assert_allclose(still / moving, 0.5, atol=1e-5)


def test_little_motion_is_seen_better_when_clips_are_evened_out():
    clips = np.concatenate([random_clips(1, 8, 32, 32, 2)] * 3) * np.reshape(
        np.float32([1, 0.25, 0]), (3, 1, 1, 1, 1)
    )
    much, less, none = even_out(clips)
    np.testing.assert_allclose(much, 2 * less, atol=1e-5)
    usual = even_out(np.full((1, 8, 32, 32, 2), 0.025, np.float32))
    np.testing.assert_allclose(usual, 0.025, atol=1e-6)
    assert not none.any()


def test_a_network_sees_clips_evened_out_where_it_is_told_to():
    model, plain = small_network(None, even_out=True), small_network(None)
    for each in (model, plain):
        set_reference_weights(each)
    clips = random_clips(2, 8, 32, 32, 2)
    found = model.predict(clips, verbose=0)
    np.testing.assert_allclose(found, plain.predict(even_out(clips), verbose=0), atol=1e-4)
    assert np.abs(found - plain.predict(clips, verbose=0)).max() > 0.1


def test_kinetics_top_gives_logits():
    model = small_network(None, top="kinetics")
    model.get_layer("Conv3d_6a_1x1_conv").bias.assign(np.full(400, -7, np.float32))
    logits = model.predict(random_clips(1, 8, 32, 32, 2), verbose=0)
    assert logits.shape == (1, 400)
    assert logits.mean() == pytest.approx(-7, abs=1)


@pytest.mark.parametrize(
    "kernel_size, strides, clip_shape",
    [
        (1, 1, (2, 3, 5, 4, 6)),
        (3, 1, (2, 4, 5, 6, 3)),
        (3, 1, (1, 1, 2, 2, 3)),  # a single frame: both neighbours are padding
        (7, 2, (2, 8, 12, 10, 3)),
        (7, 2, (2, 9, 11, 13, 2)),  # odd: the padding is the same on both sides
    ],
)
def test_fast_convolution_equals_convolution(kernel_size, strides, clip_shape):
    options = {"strides": strides, "padding": "same", "use_bias": False}
    kernel_shape = (*(kernel_size,) * 3, clip_shape[-1], 5)
    kernel = np.random.default_rng(1).standard_normal(kernel_shape).astype(np.float32)
    fast = fast_layers.FastConv3D(5, kernel_size, **options)
    plain = layers.Conv3D(5, kernel_size, **options)
    assert_same_step(fast, plain, random_clips(*clip_shape), [kernel])


@pytest.mark.parametrize(
    "pool_size, strides, clip_shape",
    [
        ((1, 3, 3), (1, 2, 2), (2, 3, 8, 7, 2)),
        ((3, 3, 3), (1, 1, 1), (2, 4, 5, 6, 2)),
        ((3, 3, 3), (2, 2, 2), (2, 6, 8, 7, 2)),
        ((2, 2, 2), (2, 2, 2), (2, 5, 4, 3, 2)),
    ],
)
def test_fast_pooling_equals_pooling(pool_size, strides, clip_shape):
    count = np.prod(clip_shape)  # far apart: TensorFlow's 3-D gradient takes 1e-5 for a tie
    values = np.random.default_rng(2).permutation(count) / count - 0.9
    options = {"strides": strides, "padding": "same"}
    fast = fast_layers.FastMaxPooling3D(pool_size, **options)
    plain = layers.MaxPooling3D(pool_size, **options)
    assert_same_step(fast, plain, values.reshape(clip_shape).astype(np.float32), [])


def test_fast_batch_normalization_equals_batch_normalization():
    clips = random_clips(2, 3, 4, 5, 6) * np.arange(1, 7, dtype=np.float32) + 3
    options = {"momentum": 0.7, "epsilon": 1e-3, "scale": False}
    random = np.random.default_rng(4)
    weights = [random.uniform(0.5, 1.5, 6).astype(np.float32) for _ in range(3)]
    fast = fast_layers.FastBatchNormalization(**options)
    assert_same_step(fast, layers.BatchNormalization(**options), clips, weights)


def test_a_saved_network_gives_the_same_answer_when_loaded(tmp_path):
    model = small_network(batch_norm_momentum=0.8)
    model.get_layer("Conv3d_1a_7x7_bn").moving_mean.assign(np.full(8, 0.3, np.float32))
    model.save(tmp_path / "rgb.keras")
    loaded = keras.saving.load_model(tmp_path / "rgb.keras")
    clips = random_clips(3, 8, 32, 32, 2)
    np.testing.assert_array_equal(loaded.predict(clips, verbose=0), model.predict(clips, verbose=0))
    assert loaded.get_layer("Conv3d_1a_7x7_bn").momentum == 0.8
    assert isinstance(loaded.get_layer("Conv3d_1a_7x7_conv"), fast_layers.FastConv3D)


def changed_weights(model, part):
    """Names of the layers whose weights one training step changes."""
    model_i3d.set_trainable(model, part)
    model.compile("sgd", loss="categorical_crossentropy", run_eagerly=True)
    before = {layer.name: layer.get_weights() for layer in model.layers}
    model.train_on_batch(random_clips(3, 8, 32, 32, 2), np.eye(3, dtype=np.float32))
    return {
        layer.name
        for layer in model.layers
        for old, new in zip(before[layer.name], layer.get_weights(), strict=True)
        if not np.array_equal(old, new)
    }


def test_only_the_chosen_part_is_trained():
    model = small_network()
    clips = random_clips(2, 8, 32, 32, 2)
    assert changed_weights(model, "top") == {"Conv3d_6a_1x1_conv"}
    training_outputs = keras.ops.convert_to_numpy(model(clips, training=True))
    np.testing.assert_allclose(training_outputs, model.predict(clips, verbose=0), atol=1e-5)
    with_weights = {layer.name for layer in model.layers if layer.weights}
    assert changed_weights(model, "all") == with_weights


def test_a_small_network_learns_random_clips_by_heart():
    model = small_network(num_classes=4, channels=3, batch_norm_momentum=0.5)
    clips, labels = random_clips(8, 8, 32, 32, 3), np.eye(4)[np.arange(8) % 4]
    model.compile(keras.optimizers.Adam(3e-3), "categorical_crossentropy", metrics=["accuracy"])
    model.optimizer.build(model.trainable_variables)
    model.fit(clips, labels, batch_size=8, epochs=30, verbose=0)
    loss, accuracy = model.evaluate(clips, labels, verbose=0)
    assert accuracy == 1
    assert loss < 0.3


@pytest.mark.parametrize(
    "changes, allowed",
    [
        ({"num_frames": 7}, "at least 8"),
        ({"num_frames": 16.0}, "integer"),
        ({"height": 31}, "at least 32"),
        ({"width": 0}, "at least 32"),
        ({"channels": 1}, "3 .* or 2"),
        ({"num_classes": 0}, "at least 1"),
        ({"num_classes": True}, "integer"),
        ({"width_multiplier": 0}, "above 0"),
        ({"width_multiplier": float("nan")}, "above 0"),
        ({"dropout": 1.0}, r"\[0, 1\)"),
        ({"batch_norm_momentum": -0.1}, r"\[0, 1\)"),
        ({"top": "imagenet"}, "kinetics"),
        ({"top": "kinetics", "num_classes": 8}, "400"),
    ],
)
def test_bad_arguments_are_refused(changes, allowed):
    arguments = {"num_frames": 8, "height": 32, "width": 32, "channels": 3} | changes
    with pytest.raises(ValueError, match=f"{allowed}.*Received: .*{list(changes)[-1]}="):
        model_i3d.build_i3d(**arguments)


def test_training_an_unknown_or_missing_part_is_refused():
    with pytest.raises(ValueError, match='"top" or "all".*Received: part=\'stem\''):
        model_i3d.set_trainable(small_network(), "stem")
    with pytest.raises(ValueError, match="num_classes.*Received: .*global_avg_pool"):
        model_i3d.set_trainable(small_network(None), "top")
