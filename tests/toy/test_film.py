"""Invented signs: what they are, how people perform them, and what a camera makes of them."""

import random

import numpy as np
import pytest

from toy import film, performance, program
from toy.performance import GRID_HZ

SIZE = (70, 92)


def test_the_same_seeds_film_the_same_clip():
    first, hands = film.film("sign 1", "person 1", "clip 1", 32, SIZE)
    second, same_hands = film.film("sign 1", "person 1", "clip 1", 32, SIZE)
    assert first.dtype == np.uint8 and first.shape == (32, *SIZE, 3)
    assert hands.dtype == np.float32 and hands.shape == (32, film.NUM_TARGETS)
    assert np.array_equal(first, second) and np.array_equal(hands, same_hands)


@pytest.mark.parametrize("changed", range(3))
def test_another_sign_person_or_performance_looks_otherwise(changed):
    seeds = ["sign 1", "person 1", "clip 1"]
    clip, _ = film.film(*seeds, 32, SIZE)
    seeds[changed] += "2"
    other, _ = film.film(*seeds, 32, SIZE)
    assert np.abs(clip.astype(int) - other).mean() > 1


def test_every_kind_of_movement_and_of_hands_is_performed():
    seen = {kind: 0 for kind in program.KINDS}
    hands = {kind: 0 for kind in program.HANDS}
    for seed in range(150):
        sign = performance.invent(seed)
        hands[sign.hands] += 1
        for movement in sign.movements:
            seen[movement.kind] += 1
        played = performance.perform(
            sign, performance.invent_person(seed), random.Random(f"{seed}")
        )
        assert np.isfinite(played.wrists).all() and np.isfinite(played.shapes).all()
        assert 0 <= played.start < played.stop <= len(played.head_tilt)
        assert (played.stop - played.start) / GRID_HZ <= 5.0
    assert min(seen.values()) > 0 and min(hands.values()) > 0


def test_performances_of_one_sign_are_more_alike_than_those_of_two():
    def path(sign, clip):
        """Where the leading hand goes while it signs, relative to its beginning: 20 places."""
        played = performance.perform(
            performance.invent(sign), performance.invent_person(clip), random.Random(clip)
        )
        raised = np.abs(played.wrists - played.wrists[:1]).sum(axis=(1, 2)) > 60
        steps = np.flatnonzero(raised)
        moments = steps[np.linspace(0, len(steps) - 1, 20).astype(int)]
        hands = played.wrists[moments][:, :, :2] * ([[-1, 1]], [[1, 1]])[0]
        return hands.reshape(-1)

    same, different = [], []
    for sign in range(12):
        first, second = path(sign, 1), path(sign, 2)
        same.append(np.abs(first - second).mean())
        different.append(np.abs(first - path(sign + 100, 2)).mean())
    assert np.median(same) < 0.8 * np.median(different)


def test_the_picture_changes_when_the_told_hands_move(monkeypatch):
    monkeypatch.setattr(film.vary, "SCALE", (1.0, 1.0))
    monkeypatch.setattr(film.vary, "SWAY_PX", (0.0, 0.0))
    monkeypatch.setattr(film.vary, "SHAKY_SHARE", 0)
    monkeypatch.setattr(film.vary, "PASSER_BY_SHARE", 0)
    frames, hands = film.film("sign 3", "person 3", "clip 3", 32, SIZE)
    wrists = hands.reshape(32, 2, 10)[:, :, :2]
    moves = np.abs(np.diff(wrists, axis=0)).sum(axis=(1, 2))
    changes = np.abs(np.diff(frames.astype(int), axis=0)).mean(axis=(1, 2, 3))
    assert np.corrcoef(moves, changes)[0, 1] > 0.7


def test_slow_cameras_repeat_frames(monkeypatch):
    monkeypatch.setattr(film.vary, "FRAME_RATES", {5: 1})
    frames, _ = film.film("sign 4", "person 4", "clip 4", 32, SIZE)
    repeated = [np.array_equal(a, b) for a, b in zip(frames, frames[1:], strict=False)]
    assert 4 < sum(repeated) < 31
