"""Strong augmentation: the flow changes as the picture does."""

import numpy as np
import pytest

from common.network_input import CHANNELS, FLOW_BOUND_PX, quantise_flow, stream_input
from feeding import augmentation
from opticalflow import frames_to_flow

NONE = ("ZOOM", "STRETCH", "RATE", "GAIN", "TINT", "TURN_DEGREES", "MOVED_SHARE")
NONE += ("TIME_SHIFT_SHARE", "TIME_BEND_SHARE", "GRAY_SHARE", "BRIGHTNESS", "FLOW_NOISE")


def moving_texture(num_frames=32, step_px=1):
    """uint8 BGR `(num_frames, 70, 92, 3)`: a texture that moves to the right."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (12, 24, 3)).astype(np.uint8)
    wide = np.kron(coarse, np.ones((6, 6, 1), np.uint8))[:70]
    return np.stack([np.roll(wide, step_px * number, axis=1)[:, 30:122] for number in range(32)])


@pytest.fixture
def nothing_varies(monkeypatch):
    for name in NONE:
        monkeypatch.setattr(augmentation, name, 0)
    return monkeypatch


@pytest.mark.parametrize("stream", CHANNELS)
def test_without_any_change_it_is_the_usual_input(stream, nothing_varies):
    frames = moving_texture()
    clip = frames if stream == "rgb" else quantise_flow(frames_to_flow(frames))
    seen, times = augmentation.vary(stream, clip, 56, 56, np.random.default_rng(0))
    assert np.abs(seen - stream_input(stream, clip, 56, 56)).max() < 1e-6
    assert times.tolist() == list(range(32))


@pytest.mark.parametrize(
    "changed", [{"ZOOM": 0.25}, {"TURN_DEGREES": 25}, {"STRETCH": 0.3}, {"RATE": 0.4}]
)
def test_flow_of_the_varied_frames_is_the_varied_flow(changed, nothing_varies):
    for name, value in changed.items():
        nothing_varies.setattr(augmentation, name, value)
    frames = moving_texture(step_px=2)
    codes = quantise_flow(frames_to_flow(frames))
    rgb, times = augmentation.vary("rgb", frames, 56, 56, np.random.default_rng(3))
    flow, _ = augmentation.vary("flow", codes, 56, 56, np.random.default_rng(3))
    pictures = np.uint8((rgb[..., ::-1] + 1) * 127.5)
    computed = frames_to_flow(np.ascontiguousarray(pictures))
    inside = (slice(8, 24), slice(12, 44), slice(12, 44))
    expected, given = (each[inside].mean(axis=(0, 1, 2)) for each in (computed, flow))
    assert np.abs(expected - given).max() * FLOW_BOUND_PX < 0.35
    assert np.linalg.norm(given) * FLOW_BOUND_PX > 1


@pytest.mark.parametrize("stream", CHANNELS)
def test_the_same_seed_varies_the_same_way(stream):
    frames = moving_texture()
    clip = frames if stream == "rgb" else quantise_flow(frames_to_flow(frames))
    first, second, other = (
        augmentation.vary(stream, clip, 56, 56, np.random.default_rng(seed))[0]
        for seed in (7, 7, 8)
    )
    assert np.array_equal(first, second) and not np.array_equal(first, other)
    assert first.dtype == np.float32 and np.abs(first).max() <= 1


def test_nothing_moves_where_the_clip_stands_still(nothing_varies):
    nothing_varies.setattr(augmentation, "RATE", 1.0)
    codes = quantise_flow(frames_to_flow(moving_texture(step_px=2)))
    for seed in range(20):
        flow, times = augmentation.vary("flow", codes, 56, 56, np.random.default_rng(seed))
        still = (np.diff(times, prepend=-1) == 0) & ((times == 0) | (times == 31))
        if still[2:].any():
            assert np.abs(flow[2:][still[2:]]).max() < 0.01
            return
    raise AssertionError("no clip stood still")
