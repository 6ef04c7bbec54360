"""inference/steps.py: in steps, I3D says what it says of the whole clip."""

import keras
import numpy as np
import pytest
from keras import ops

import model_i3d
from i3d.shapes import TOP_CONVOLUTION
from inference import conversion, engine, steps
from inference.clip import STEP_FRAMES, StepwiseClip, WholeClip, clip_of

NUM_CLASSES = 3
HEAD_FRAMES, STEP_SIZE = STEP_FRAMES["head"], STEP_FRAMES["step"]


def network(num_frames, height=32, width=32, channels=2, **settings):
    """An I3D whose batch normalisation does something to zeros."""
    keras.utils.set_random_seed(0)
    model = model_i3d.build_i3d(
        num_frames, height, width, channels, NUM_CLASSES, width_multiplier=0.125, **settings
    )
    random = np.random.default_rng(0)
    for layer in model.layers:
        if layer.name.endswith("_bn"):
            beta, mean, variance = layer.get_weights()
            beta, mean = random.normal(0, 0.5, (2, *beta.shape))
            layer.set_weights([beta, mean, random.uniform(0.2, 1, variance.shape)])
    top = model.get_layer(TOP_CONVOLUTION)
    top.set_weights([weight / 20 for weight in top.get_weights()])  # no probability near 1
    return model


def clips_for(model, number=1):
    random = np.random.default_rng(1)
    return random.uniform(-1, 1, (number, *model.input_shape[1:])).astype(np.float32)


@pytest.mark.parametrize(
    ("num_frames", "height", "width", "channels"),
    [(12, 32, 32, 2), (14, 33, 47, 2), (16, 64, 48, 3), (40, 32, 40, 2)],
)
def test_steps_answer_like_the_whole_network(num_frames, height, width, channels):
    model = network(num_frames, height, width, channels)
    assert steps.can_split(model)
    parts = steps.split(conversion.plain_layers(model))
    clips = ops.convert_to_tensor(clips_for(model, 2))
    features, *states = parts["head"](clips[:, :HEAD_FRAMES])
    known = [features]
    for start in range(HEAD_FRAMES, num_frames - 1, STEP_SIZE):
        features, *states = parts["step"]([clips[:, start : start + STEP_SIZE], *states])
        known.append(features)
    answer = parts["tail"]([clips[:, -1:], *states, ops.concatenate(known, axis=1)])
    expected = model.predict_on_batch(clips)
    assert np.abs(ops.convert_to_numpy(answer) - expected).max() < 1e-6
    assert np.abs(expected[0] - expected[1]).max() > 1e-4  # else the test would be blind


@pytest.mark.parametrize(("num_frames", "settings"), [(8, {}), (13, {}), (16, {"even_out": True})])
def test_what_cannot_be_split(num_frames, settings):
    assert not steps.can_split(network(num_frames, **settings))


@pytest.fixture(scope="module")
def stepwise():
    """(network of Keras, the same in OpenVINO)."""
    model = network(16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "MIN_PARAMETERS", 0)
        parts = conversion.convert(model, stepwise=True)
    assert set(parts) == {"whole", "head", "step", "tail"}
    compiled = {name: conversion.compile_model(part) for name, part in parts.items()}
    return model, engine.compiled_network(compiled)


def test_the_lower_layers_keep_up_with_a_clip(stepwise, monkeypatch):
    model, in_openvino = stepwise
    clip, frames = in_openvino.clip(), clips_for(model)[0]
    assert type(clip) is StepwiseClip
    calls = []
    for name, part in list(in_openvino._parts.items()):
        monkeypatch.setitem(
            in_openvino._parts,
            name,
            lambda *inputs, name=name, part=part: calls.append(name) or part(*inputs),
        )
    for number, frame in enumerate(frames, 1):
        clip.add(frame)
        assert len(calls) == max(0, (number - HEAD_FRAMES) // STEP_SIZE + 1)
    probabilities = clip.probabilities()
    assert calls == ["head", "step", "step", "tail"]
    assert probabilities.shape == (NUM_CLASSES,) and probabilities.dtype == np.float32
    assert np.abs(probabilities - model.predict_on_batch(frames[None])[0]).max() < 5e-6


def test_a_window_that_moves_on(stepwise):
    model, in_openvino = stepwise
    frames = clips_for(model, 2).reshape(-1, *model.input_shape[2:])
    first = np.full_like(frames[0], 0.25)
    clip = in_openvino.clip()
    for frame in frames[:16]:
        clip.add(frame)
    before = clip.copy()
    clip.slide(first)
    during = clip.copy()
    clip.add(frames[16])
    during.add(frames[17])

    def expected(*parts):
        return model.predict_on_batch(np.concatenate(parts)[None])[0]

    assert np.abs(before.probabilities() - expected(frames[:16])).max() < 5e-6
    middle = frames[2:16]
    moved = expected(first[None], middle, frames[16:17])
    assert np.abs(clip.probabilities() - moved).max() < 5e-6
    assert np.abs(during.probabilities() - moved).max() > 5e-5
    during_expected = expected(first[None], middle, frames[17:18])
    assert np.abs(during.probabilities() - during_expected).max() < 5e-6


def test_a_copy_stays_as_it_is(stepwise):
    model, in_openvino = stepwise
    frames = clips_for(model)[0]
    clip = in_openvino.clip()
    for frame in frames[:13]:
        clip.add(frame)
    other = clip.copy()
    for frame in frames[13:]:
        clip.add(frame)
    for frame in frames[13:][::-1]:
        other.add(frame)
    swapped = np.concatenate([frames[:13], frames[13:][::-1]])
    for answer, content in ((clip, frames), (other, swapped)):
        expected = model.predict_on_batch(content[None])[0]
        assert np.abs(answer.probabilities() - expected).max() < 5e-6


def test_small_networks_and_wholes_have_no_steps():
    parts = conversion.convert(network(16), stepwise=True)
    assert set(parts) == {"whole"}
    assert type(clip_of({"whole": None})) is WholeClip


def test_a_network_does_without_steps_that_cannot_be_made(monkeypatch, capsys):
    def refuse(model):
        raise conversion.ConversionError("unknown operation")

    monkeypatch.setattr(steps, "MIN_PARAMETERS", 0)
    monkeypatch.setattr(steps, "split", refuse)
    assert set(conversion.convert(network(16), stepwise=True)) == {"whole"}
    assert "no steps: unknown operation" in capsys.readouterr().err
