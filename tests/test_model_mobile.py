"""model_mobile.py, weights/mobile.py, model_lstm.py: extractors, their weights, and the LSTM."""

import keras
import numpy as np
import pytest

import model_lstm
import model_mobile
from inference import conversion, engine
from inference.clip import FrameByFrameClip
from inference.saved_network import open_network
from weights import mobile


@pytest.fixture(scope="module")
def extractor():
    keras.utils.set_random_seed(0)
    return model_mobile.build_extractor("mobilenet", 40, 32, 2, width_multiplier=0.25)


@pytest.fixture(scope="module")
def network(extractor):
    return model_lstm.build_lstm(extractor, 6, 3, (8, 4))


def clips(count, channels=2):
    random = np.random.default_rng(0)
    return random.uniform(-1, 1, (count, 6, 40, 32, channels)).astype(np.float32)


def test_random_features_tell_frames_apart(extractor):
    features = extractor.predict(clips(2)[0], verbose=0)
    assert features.shape == (6, 256)
    assert 0.01 < features.std(axis=0).mean() < 10


def test_random_weights_come_from_the_seed(extractor):
    keras.utils.set_random_seed(0)
    again = model_mobile.build_extractor("mobilenet", 40, 32, 2, width_multiplier=0.25)
    for one, other in zip(extractor.get_weights(), again.get_weights(), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("extractor", mobile.EXTRACTORS)
def test_frames_are_prepared_as_keras_applications_wants_them(extractor):
    flow = clips(1)[0]
    prepared = model_mobile.PrepareFrame(extractor)(flow)
    pixels = np.pad(flow, ((0, 0), (0, 0), (0, 0), (0, 1))) * 127.5 + 127.5
    # Version 3 has its own scaling from 0..255 inside.
    expected = pixels if extractor == "mobilenet_v3_small" else pixels / 127.5 - 1
    assert np.asarray(prepared) == pytest.approx(expected, abs=1e-4)


def test_weights_of_a_file_are_taken(extractor, tmp_path):
    path = tmp_path / "mobile.weights.h5"
    trunk = next(layer for layer in extractor.layers if hasattr(layer, "layers"))
    trunk.save_weights(path)
    keras.utils.set_random_seed(1)
    other = model_mobile.build_extractor("mobilenet", 40, 32, 2, 0.25, weights=path)
    frames = clips(1)[0]
    assert np.allclose(other(frames), extractor(frames), atol=1e-6)
    with pytest.raises(ValueError, match="mobile.weights.h5 does not fit mobilenet"):
        model_mobile.build_extractor("mobilenet", 40, 32, 2, 0.5, weights=path)


@pytest.mark.parametrize(
    "wrong", [{"extractor": "resnet"}, {"channels": 4}, {"width_multiplier": 0}, {"height": 0}]
)
def test_wrong_extractors_are_refused(wrong):
    settings = {"extractor": "mobilenet", "height": 32, "width": 32, "channels": 3} | wrong
    with pytest.raises(ValueError, match="Received: "):
        model_mobile.build_extractor(**settings)


def test_published_files_are_those_of_keras(monkeypatch):
    class AskedError(Exception):
        pass

    def ask(name, origin, **_):
        raise AskedError(origin)

    from keras.src.applications import inception_v3, mobilenet, mobilenet_v3

    for module in (mobilenet, mobilenet_v3, inception_v3):
        monkeypatch.setattr(module.file_utils, "get_file", ask)
    asked = {
        ("mobilenet", 1.0): keras.applications.MobileNet,
        ("mobilenet", 0.25): keras.applications.MobileNet,
        ("mobilenet_v3_small", 0.75): keras.applications.MobileNetV3Small,
    }
    for (extractor, width), build in asked.items():
        name = mobile.FILES[extractor][width]
        with pytest.raises(AskedError, match=f"{mobile.KERAS_URL}/{name}"):
            build(input_shape=(224, 224, 3), include_top=False, alpha=width)
    name = mobile.FILES["inception_v3"][None]
    assert inception_v3.WEIGHTS_PATH_NO_TOP == f"{mobile.KERAS_URL}/{name}"


def test_weights_that_are_not_there_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    nowhere = "http://127.0.0.1:9"
    with pytest.raises(FileNotFoundError, match="tf_no_top.h5 into .*models.*--weights none"):
        mobile.find_weights("imagenet", "mobilenet", 0.25, nowhere)
    with pytest.raises(ValueError, match="exist for width 1, 0.75. Received: 0.25"):
        mobile.find_weights("imagenet", "mobilenet_v3_small", 0.25)
    with pytest.raises(FileNotFoundError, match="No file kinetics"):
        mobile.find_weights("kinetics", "mobilenet")
    (tmp_path / "text.h5").write_text("no weights")
    with pytest.raises(ValueError, match="text.h5 is no HDF5 file"):
        mobile.find_weights(str(tmp_path / "text.h5"), "mobilenet")
    assert mobile.find_weights("none", "mobilenet") is None


def test_every_frame_is_seen_by_itself(extractor, network):
    batch = clips(3)
    features = np.asarray(network.get_layer("per_frame")(batch))
    for clip, seen in zip(batch, features, strict=True):
        assert np.allclose(extractor(clip), seen, atol=1e-5)
    assert network.layers[1].name == "per_frame" and network.layers[1].network is extractor


def test_the_top_answers_as_the_whole_and_is_the_same(extractor, network):
    batch = clips(2)
    features = np.stack([extractor(clip) for clip in batch])
    top = model_lstm.lstm_top(network)
    assert np.allclose(top(features), network(batch), atol=1e-5)
    top.layers[-1].bias.assign([5.0, 0, 0])
    assert np.allclose(top(features), network(batch), atol=1e-5)
    assert np.all(np.asarray(network(batch)).argmax(axis=1) == 0)


def test_a_saved_network_is_safe_and_answers_the_same(network, tmp_path):
    path = tmp_path / "flow.keras"
    network.save(path)
    opened = open_network(path, (6, 40, 32, 2), 3)
    batch = clips(2)
    assert np.allclose(opened(batch), network(batch), atol=1e-6)


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "inception_v3"])
def test_every_extractor_makes_a_network_that_can_be_used(name, tmp_path):
    keras.utils.set_random_seed(0)
    extractor = model_mobile.build_extractor(name, 75, 75, 3)
    frames = np.random.default_rng(0).uniform(-1, 1, (4, 75, 75, 3)).astype(np.float32)
    features = extractor.predict_on_batch(frames)
    assert 1e-3 < features.std(axis=0).mean() < 100 and np.abs(features).max() < 1e4
    model_lstm.build_lstm(extractor, 4, 3, (8, 4)).save(tmp_path / "rgb.keras")
    network = open_network(tmp_path / "rgb.keras", (4, 75, 75, 3), 3)
    parts = conversion.convert(network)
    compiled = engine.compiled_network(
        {part: conversion.compile_model(model) for part, model in parts.items()}
    )
    assert type(compiled.clip()) is FrameByFrameClip
    assert np.allclose(compiled(frames[None]), network(frames[None]), atol=1e-4)


def test_the_mean_picture_can_be_taken_away(extractor):
    network = model_lstm.build_lstm(extractor, 6, 3, (8, 4), subtract_mean=True)
    batch = clips(2) * 0.5
    assert np.allclose(network(batch), network(batch + 0.25), atol=1e-5)
    assert network.layers[1].name == "subtract_mean"


def test_only_the_top_is_trained_where_that_is_asked(network):
    model_lstm.set_trainable(network, "top")
    assert {weight.path.split("/")[0] for weight in network.trainable_weights} == {
        "standardise",
        "lstm_1",
        "lstm_2",
        "probabilities",
    }
    model_lstm.set_trainable(network, "all")
    assert len(network.trainable_weights) > 80
    with pytest.raises(ValueError, match="Received: part='bottom'"):
        model_lstm.set_trainable(network, "bottom")


@pytest.mark.parametrize(
    "wrong", [{"num_frames": 0}, {"num_classes": 1.5}, {"units": (8,)}, {"dropout": 1}]
)
def test_wrong_sizes_are_refused(extractor, wrong):
    settings = {"num_frames": 6, "num_classes": 3, "units": (8, 4)} | wrong
    with pytest.raises(ValueError, match="Received: "):
        model_lstm.build_lstm(extractor, **settings)
