"""i3d/top.py: the linear layer that is solved for features of a frozen network."""

import numpy as np
import pytest

from i3d import top


@pytest.fixture
def clouds():
    """Features of three classes of which the second is rare, and the classes."""
    random = np.random.default_rng(0)
    classes = np.repeat([0, 1, 2], [40, 4, 40])
    features = 3 * random.normal(size=(3, 16))[classes] + random.normal(size=(84, 16))
    return features.astype(np.float32), classes


def test_what_can_be_told_apart_is(clouds):
    features, classes = clouds
    weights, biases = top.solve(features, classes, 3)
    assert (weights.shape, biases.shape, weights.dtype) == ((16, 3), (3,), np.float32)
    loss, accuracy = top.judge(weights, biases, features, classes)
    assert accuracy == 1 and 0 < loss < 0.05
    again = top.solve(features, classes, 3)
    assert np.array_equal(weights, again[0]) and np.array_equal(biases, again[1])


def test_scale_and_offset_of_features_do_not_matter(clouds):
    features, classes = clouds
    expected = top.probabilities(features, *top.solve(features, classes, 3))
    other = 0.01 * features - 7
    found = top.probabilities(other, *top.solve(other, classes, 3))
    assert np.abs(found - expected).max() < 1e-3


def test_a_feature_that_never_changes_and_a_class_without_clips_do_no_harm(clouds):
    features, classes = clouds
    features[:, 3] = 5
    weights, biases = top.solve(features, classes, 4)
    assert np.isfinite(weights).all() and np.isfinite(biases).all()
    assert top.probabilities(features, weights, biases)[:, 3].max() < 0.02
    same = np.ones((6, 16), np.float32)
    assert np.isfinite(top.solve(same, np.array([0, 1] * 3), 2)[0]).all()


def test_class_weights_count_clips_of_rare_classes_more():
    features = np.zeros((10, 2), np.float32)  # which say nothing
    classes = np.array([0] * 9 + [1])
    plain, balanced = (
        top.probabilities(features, *top.solve(features, classes, 2, weight))[0]
        for weight in (None, {0: 10 / 18, 1: 5.0})
    )
    assert plain == pytest.approx([0.9, 0.1], abs=0.01)
    assert balanced == pytest.approx([0.5, 0.5], abs=0.01)


def test_the_solution_is_where_the_gradient_is_zero(clouds):
    """The problem is convex: any other solver ends there, too."""
    features, classes = clouds
    weights, biases = (np.float64(part) for part in top.solve(features, classes, 3))
    deviation = features.std(0) + top.SMALL_DEVIATION * features.std()
    errors = top.probabilities(features, weights, biases) - np.eye(3)[classes]
    inputs = (features - features.mean(0)) / deviation
    gradient = inputs.T @ errors / len(classes) + top.PENALTY * weights * deviation[:, None]
    assert np.abs(gradient).max() < 1e-3


def test_only_directions_count_where_these_are_given(clouds):
    features, classes = clouds
    directions = np.linalg.qr(np.random.default_rng(1).normal(size=(16, 5)))[0]
    weights, biases = top.solve(features, classes, 3, directions=directions)
    assert (weights.shape, biases.shape, weights.dtype) == ((16, 3), (3,), np.float32)
    within = directions @ directions.T
    assert weights == pytest.approx(within @ weights, abs=1e-4)
    aside = features + 9 * np.random.default_rng(2).normal(size=features.shape) @ (
        np.eye(16) - within
    )
    found = top.probabilities(aside, weights, biases)
    assert found == pytest.approx(top.probabilities(features, weights, biases), abs=1e-3)


def test_a_direction_in_which_features_deviate_more_counts_more(clouds):
    features, classes = clouds
    directions = np.linalg.qr(np.random.default_rng(1).normal(size=(16, 5)))[0]
    plain, longer, one_longer = (
        top.solve(features, classes, 3, directions=directions * by)[0]
        for by in (1, 3, np.array([3, 1, 1, 1, 1]))
    )
    np.testing.assert_allclose(longer, plain, rtol=1e-3, atol=1e-4)
    along = [np.linalg.norm(directions[:, 0] @ weights) for weights in (plain, one_longer)]
    assert along[1] > 1.5 * along[0]
