"""pretraining/discriminant.py: signs lie apart, what their clips differ by does not count."""

import numpy as np

from pretraining import discriminant

SIGNS, CLIPS, STEPS, SIZE = 150, 4, 3, 100


def drawn(signs, rng, telling):
    """Features whose signs differ in `telling` directions, and clips of a sign in others."""
    ways = np.linalg.qr(np.random.default_rng(7).normal(size=(SIZE, SIZE)))[0]
    own = np.zeros((signs, SIZE))
    own[:, :telling] = rng.normal(size=(signs, telling))
    rows = own[:, None] + 0.3 * rng.normal(size=(signs, CLIPS, SIZE))
    rows[:, :, telling:] += rng.normal(size=(signs, CLIPS, SIZE - telling))
    clips = (5 + rows @ ways).reshape(-1, 1, SIZE)
    steps = rng.normal(size=(len(clips), STEPS, SIZE))
    return clips + steps - steps.mean(axis=1, keepdims=True), np.repeat(np.arange(signs), CLIPS)


def nearest_share(rows, signs):
    rows = rows.reshape(len(rows), -1)
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = rows @ rows.T - 9 * np.eye(len(rows))
    return np.mean(signs[cosines.argmax(axis=1)] == signs)


def test_what_only_clips_differ_by_does_not_count(monkeypatch):
    monkeypatch.setattr(discriminant, "DIRECTIONS", 20)
    layer = discriminant.fit(*drawn(SIGNS, np.random.default_rng(0), 20))
    assert {name: array.dtype.name for name, array in layer.items()} == {
        "kernel": "float16",
        "bias": "float16",
    }
    features, signs = drawn(30, np.random.default_rng(1), 20)  # others, which it has not seen
    rows = discriminant.apply(layer, features)
    assert rows.shape == (len(features), 1, 20) and rows.dtype == np.float32
    assert nearest_share(features.mean(axis=1) - features.mean(axis=(0, 1)), signs) < 0.5
    assert nearest_share(rows, signs) > 0.95
    assert np.abs(rows.mean(axis=0)).max() < 0.5 * rows.std(axis=0).min()


def test_within_signs_all_directions_differ_alike():
    features, signs = drawn(SIGNS, np.random.default_rng(0), 20)
    rows = discriminant.apply(discriminant.fit(features, signs), features)[:, 0]
    apart = rows.reshape(SIGNS, CLIPS, -1)
    apart = (apart - apart.mean(axis=1, keepdims=True)).reshape(len(rows), -1)
    told = apart.std(axis=0)
    assert told.max() < 3 * told.min()


def test_too_few_signs_or_clips_tell_nothing():
    features, signs = drawn(SIGNS, np.random.default_rng(0), 20)
    of_few = signs < discriminant.DIRECTIONS
    assert discriminant.fit(features[of_few], signs[of_few]) is None
    assert discriminant.fit(features[::CLIPS], signs[::CLIPS]) is None
