"""The new top of a frozen network, solved instead of trained: logistic regression on its features.

    weights, biases = top.solve(features, classes, num_classes=3)

The frozen layers give the same features whatever the top is: they are computed once, and what is
best for them is one problem with one solution, which takes a second.
"""

import numpy as np

# Of the solver: steps of Adam over all clips at once, after which nothing moves any more.
NUM_STEPS, LEARNING_RATE, DECAY = 400, 0.05, (0.9, 0.999)
PENALTY = 1e-3  # half the factor on the squared weights of standardised features
SMALL_DEVIATION = 0.1  # of what features usually deviate: none counts as smaller than so


def solve(features, classes, num_classes, class_weight=None, directions=None):
    """The linear layer before a softmax that names the classes of features best.

    Args:
        features: float `(clips, features)`.
        classes: int `(clips,)`, from 0.
        num_classes: how many there are.
        class_weight: dict of class to the weight of its clips, or None.
        directions: float `(features, directions)`, in which alone features count, in which they
            deviate most where signs differ most, and are left so; None: all do, and count alike.

    Returns:
        float32 weights `(features, num_classes)` and biases `(num_classes,)`.
    """
    features = np.asarray(features, np.float64)
    axes = np.eye(features.shape[1]) if directions is None else directions
    features = features @ axes
    usual = features.std() or 1.0
    own = features.std(0) + SMALL_DEVIATION * usual
    mean, deviation = features.mean(0), own if directions is None else np.full_like(own, usual)
    inputs, wanted = (features - mean) / deviation, np.eye(num_classes)[classes]
    shares = np.array([(class_weight or {}).get(index, 1.0) for index in classes])[:, None]
    shares /= shares.sum()
    weights = np.zeros((features.shape[1], num_classes))
    biases = np.zeros(num_classes)
    update = _Adam(weights, biases)
    for _ in range(NUM_STEPS):
        errors = shares * (probabilities(inputs, weights, biases) - wanted)
        update(inputs.T @ errors + PENALTY * weights, errors.sum(0))
    weights /= deviation[:, None]
    biases -= mean @ weights
    return (axes @ weights).astype(np.float32), biases.astype(np.float32)


def probabilities(features, weights, biases):
    """Softmax of a linear layer, `(clips, num_classes)`."""
    scores = features @ weights + biases
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def judge(weights, biases, features, classes):
    """Mean cross entropy and share of right answers of a linear layer."""
    found = probabilities(features, weights, biases)
    right = np.maximum(found[np.arange(len(classes)), classes], 1e-7)
    return float(-np.log(right).mean()), float((found.argmax(1) == classes).mean())


class _Adam:
    """Changes arrays in place.

    Source: Kingma and Ba, "Adam: A Method for Stochastic Optimization" (2015), arXiv 1412.6980.
    """

    def __init__(self, *arrays):
        self._arrays = arrays
        self._means = [np.zeros_like(array) for array in arrays]
        self._squares = [np.zeros_like(array) for array in arrays]
        self._step = 0

    def __call__(self, *gradients):
        self._step += 1
        first, second = DECAY
        for array, mean, square, gradient in zip(
            self._arrays, self._means, self._squares, gradients, strict=True
        ):
            mean += (1 - first) * (gradient - mean)
            square += (1 - second) * (gradient**2 - square)
            size = np.sqrt(square / (1 - second**self._step)) + 1e-8
            array -= LEARNING_RATE * mean / (1 - first**self._step) / size
