"""The clips of invented signs on disk."""

import numpy as np
import pytest

from common.network_input import FLOW_BOUND_PX, restore_flow
from common.presets import PRESETS
from opticalflow import frames_to_flow
from pretraining import drawn
from toy import film

LAPTOP = PRESETS["laptop"]
FEW = drawn.Amounts(signs=2, clips=2, people=3)


def test_clips_are_stored_as_a_data_set_is(tmp_path):
    clips = drawn.clips_of("train", FEW, 0)
    assert drawn.draw(tmp_path, clips, LAPTOP, workers=1).done == 4
    path = tmp_path / clips[0].place()
    frames, hands = drawn.read_clip(path, "rgb")
    filmed, told = film.film(*clips[0].seeds, LAPTOP.num_frames, LAPTOP.frame_size)
    assert frames.shape == filmed.shape and np.abs(frames.astype(int) - filmed).mean() < 3
    assert np.abs(hands - told).max() < 0.01
    codes, same_hands = drawn.read_clip(path, "flow")
    assert codes.dtype == np.uint8 and np.array_equal(hands, same_hands)
    error = restore_flow(codes) - frames_to_flow(np.ascontiguousarray(frames))
    assert np.abs(error).mean() * FLOW_BOUND_PX < 0.1


def test_the_same_seed_draws_the_same_bytes_and_a_second_run_draws_nothing(tmp_path):
    clips = drawn.clips_of("train", FEW, 5)[:2]
    places = [tmp_path / name for name in ("one", "other")]
    for place in places:
        drawn.draw(place, clips, LAPTOP, workers=1)
    for clip in clips:
        first, second = ((place / clip.place()).read_bytes() for place in places)
        assert first == second
    assert drawn.draw(places[0], clips, LAPTOP, workers=1).skipped == 2


def test_nobody_and_no_sign_is_in_both_splits():
    training = drawn.clips_of("train", drawn.Amounts(50, 2, 20), 0)
    unseen = drawn.clips_of("val", drawn.VALIDATION, 0)
    for kind in (0, 1):
        assert not {c.seeds[kind] for c in training} & {c.seeds[kind] for c in unseen}


def test_more_signs_or_clips_keep_those_that_are_there():
    few = {clip.place(): clip.seeds for clip in drawn.clips_of("train", FEW, 0)}
    more = drawn.clips_of("train", drawn.Amounts(signs=9, clips=3, people=3), 0)
    assert few.items() <= {clip.place(): clip.seeds for clip in more}.items()


def test_clips_of_another_size_are_refused(tmp_path):
    clips = drawn.clips_of("train", FEW, 0)[:1]
    drawn.draw(tmp_path, clips, LAPTOP, workers=1)
    with pytest.raises(ValueError, match="size"):
        drawn.draw(tmp_path, clips, PRESETS["full"], workers=1)
