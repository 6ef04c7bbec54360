"""common/network_input.py: crops, ranges, colour order and the flow encoding."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from common import network_input

SIZES = st.integers(1, 40)
UNIT_FLOAT = st.floats(-1, 1, width=32)


@given(SIZES, SIZES, st.integers(0, 20), st.integers(0, 20))
def test_crop_without_offset_is_central(height, width, more_rows, more_columns):
    rows, columns = height + more_rows, width + more_columns
    clip = np.arange(rows * columns).reshape(1, rows, columns, 1)
    top, left = more_rows // 2, more_columns // 2
    expected = clip[:, top : top + height, left : left + width]
    assert np.array_equal(network_input.crop(clip, height, width), expected)


@given(SIZES, SIZES, st.tuples(st.integers(-99, 99), st.integers(-99, 99)))
def test_crop_never_leaves_the_frame(height, width, offset):
    clip = np.zeros((2, 40, 40, 3))
    assert network_input.crop(clip, height, width, offset).shape == (2, height, width, 3)


def test_offset_moves_the_crop_down_and_right():
    clip = np.arange(100).reshape(1, 10, 10, 1)
    centre = network_input.crop(clip, 4, 4)[0, 0, 0, 0]
    assert network_input.crop(clip, 4, 4, (2, -1))[0, 0, 0, 0] == centre + 2 * 10 - 1


def test_frames_smaller_than_the_crop_are_refused():
    with pytest.raises(ValueError, match="sees 32x32 pixels; the frames have only 40x24"):
        network_input.rgb_input(np.zeros((1, 40, 24, 3), np.uint8), 32, 32)


def test_rgb_order_and_range():
    frames = np.zeros((1, 4, 4, 3), np.uint8)
    frames[..., 2] = 255  # red in BGR
    seen = network_input.rgb_input(frames, 4, 4)
    assert seen.dtype == np.float32 and seen.shape == frames.shape
    assert np.allclose(seen[0, 0, 0], [1, -1, -1])


def test_brightness_stays_in_range():
    frames = np.array([0, 128, 255], np.uint8).reshape(1, 1, 3, 1).repeat(3, axis=3)
    seen = network_input.rgb_input(frames, 1, 3, brightness=0.1)
    assert seen[0, 0, :, 0] == pytest.approx([-0.9, 128 / 127.5 - 1 + 0.1, 1])


@given(arrays.arrays(np.float32, (2, 5, 4, 2), elements=UNIT_FLOAT))
def test_flow_encoding_errs_by_half_a_level(flow):
    restored = network_input.restore_flow(network_input.quantise_flow(flow))
    assert np.abs(restored - flow).max() <= 0.5 / 127.5 + 1e-6
    assert np.abs(restored).max() <= 1


@given(arrays.arrays(np.uint8, (2, 5, 4, 2)))
def test_every_stored_code_survives(codes):
    assert np.array_equal(network_input.quantise_flow(network_input.restore_flow(codes)), codes)


@given(arrays.arrays(np.float32, (2, 6, 6, 2), elements=UNIT_FLOAT))
def test_live_and_stored_flow_are_the_same_input(flow):
    stored = network_input.quantise_flow(flow)
    live = network_input.flow_input(flow, 4, 4)
    assert np.array_equal(live, network_input.flow_input(stored, 4, 4))
    assert live.dtype == np.float32 and live.shape == (2, 4, 4, 2)


def test_mirrored_flow_points_the_other_way():
    flow = np.zeros((1, 4, 6, 2), np.float32)
    flow[0, :, :2] = [0.5, 0.25]  # on the left, to the right and down
    mirrored = network_input.flow_input(flow, 4, 6, flip=True)
    assert np.allclose(mirrored[0, :, 4:], [-0.5, 0.25], atol=0.01)
    assert np.allclose(mirrored[0, :, :4], 0, atol=0.01)


def test_mirrored_frames_are_mirrored_left_to_right():
    frames = np.random.default_rng(0).integers(0, 255, (2, 4, 6, 3), dtype=np.uint8)
    expected = network_input.rgb_input(frames[:, :, ::-1], 4, 6)
    assert np.array_equal(network_input.rgb_input(frames, 4, 6, flip=True), expected)


@pytest.mark.parametrize(
    ("function", "clip"),
    [
        (network_input.rgb_input, np.zeros((4, 8, 8, 3), np.float32)),
        (network_input.rgb_input, np.zeros((4, 8, 8, 2), np.uint8)),
        (network_input.rgb_input, np.zeros((8, 8, 3), np.uint8)),
        (network_input.flow_input, np.zeros((4, 8, 8, 3), np.float32)),
        (network_input.flow_input, np.zeros((4, 8, 8, 2), np.int32)),
    ],
)
def test_other_arrays_are_refused(function, clip):
    with pytest.raises(ValueError, match="Received: "):
        function(clip, 8, 8)
