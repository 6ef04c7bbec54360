"""What makes the rows of clips comparable, as it is found out from the known ones.

`Looks` is how frames look, with what all examples have in common taken out. `Changes` is how frames
differ from the mean of their own clip: person and place are no part of that. `Whole` is for what a
network says of a whole clip.
"""

import numpy as np

from nearest.warping import warped_distances

DIRECTIONS = 128  # that frames are compared in, of the hundreds that their rows have
FRAMES_TO_FIT = 512
ROUNDING = 1e-5  # of the largest variance: what is less is none
UNCERTAIN_UP_TO = 5  # signs, before `Whole` believes their mean by half
# A distance counts for so much where one of the clips is mirrored; the second of `Whole`.
MIRRORED, OTHER_HAND = 1.03, 1.1


class _Fitted:
    """What makes rows comparable, as it was found out from examples: `arrays` of `fit`."""

    compare = staticmethod(warped_distances)

    def __init__(self, arrays):
        self.arrays = arrays

    @staticmethod
    def told_apart(examples, classes, near):
        """Examples as they are compared with others: here, as they are. See `Whole`."""
        return examples


class Looks(_Fitted):
    """Rows in directions that vary as much as others: what is common says nothing (whitening).

    Args:
        arrays: {"mean", "directions"}, of `fit`.
    """

    name = "looks"

    @classmethod
    def fit(cls, rows, classes=None):
        """Of float rows `(num_clips, num_frames, size)` of examples, whatever their signs."""
        frames = unit(_some_frames(rows))
        mean = frames.mean(axis=0)
        variances, directions = _principal(frames - mean)
        # Of few examples, small variances are mostly chance: they are drawn to the mean.
        common = variances.sum() / frames.shape[1]
        scales = np.sqrt(variances + common)
        return cls({"mean": mean, "directions": np.float32(directions / scales[:, None])})

    def __call__(self, rows):
        """Float32 `(..., num_frames, size)` to `(..., num_frames, directions)`."""
        seen = unit(rows)
        seen -= self.arrays["mean"]
        return unit(seen @ self.arrays["directions"].T)


class Changes(_Fitted):
    """Roots of what differs from the clip's mean, each clip scaled to the same strength.

    Args:
        arrays: {"directions"}, of `fit`.
    """

    name = "changes"

    @classmethod
    def fit(cls, rows, classes=None):
        """Of float rows `(num_clips, num_frames, size)` of examples, whatever their signs."""
        clips = rows[:: max(1, len(rows) * rows.shape[1] // FRAMES_TO_FIT)]
        _, directions = _principal(_some_frames(cls._changes(np.float32(clips))))
        return cls({"directions": np.float32(directions)})

    def __call__(self, rows):
        """Float32 `(..., num_frames, size)` to `(..., num_frames, directions + 1)`."""
        changes = self._changes(rows)
        seen = changes @ self.arrays["directions"].T
        # How much is in none of these directions: little of examples, much of what they never do.
        rest = np.einsum("...i,...i->...", changes, changes) - np.einsum(
            "...i,...i->...", seen, seen
        )
        return np.concatenate([seen, np.sqrt(np.maximum(rest, 0))[..., None]], axis=-1)

    @staticmethod
    def _changes(rows):
        changes = rows - rows.mean(axis=-2, keepdims=True)
        sizes = np.abs(changes)
        strength = np.sqrt(sizes.sum(axis=-1).mean(axis=-1))
        roots = np.copysign(np.sqrt(sizes, out=sizes), changes, out=changes)
        roots /= strength[..., None, None] + np.float32(1e-6)
        return roots


class Whole(_Fitted):
    """A row for a whole clip, whose direction from the mean of all signs counts.

    An example has a second row, of the mirrored clip: what others do who sign with the other hand.
    The network makes numbers that count alike, and whose mean is 0 over all the signs that it has
    learned. Of few signs, another mean is mostly chance: it would be drawn to the examples, which
    then seem farther from each other than from what is none of their signs.

    Args:
        arrays: {"mean"}, of `fit`.
    """

    name = "whole"

    @classmethod
    def fit(cls, rows, classes):
        """Of float rows `(num_clips, 1 or 2, size)` of examples, and their signs."""
        clips = np.float32(rows)[:, 0]
        signs = np.unique(classes)
        of_signs = np.stack([clips[classes == sign].mean(axis=0) for sign in signs])
        certain = len(signs) / (len(signs) + UNCERTAIN_UP_TO)
        return cls({"mean": np.float32(certain * of_signs.mean(axis=0))})

    def __call__(self, rows):
        """Float32 `(..., size)` to the same."""
        return unit(rows - self.arrays["mean"])

    @staticmethod
    def compare(rows, examples):
        """As `warped_distances`, of the first row from whichever is nearer of an example's two."""
        distances = np.linalg.norm(examples - rows[0], axis=-1)
        distances[1:] *= OTHER_HAND
        return distances.min(axis=0)

    @staticmethod
    def told_apart(examples, classes, near):
        """Examples without the second rows of those whose mirror image is another sign.

        Args:
            examples: float32 `(1 or 2, num_clips, size)`, of `__call__`.
            classes: int `(num_clips,)`, their signs.
            near: the distance up to which a mirrored clip is one of another sign.

        Returns:
            the same shape; in the place of a second row that is left out, the first one.
        """
        if len(examples) == 1:
            return examples
        as_they_are, mirrored = examples
        distances = np.sqrt(np.maximum(2 - 2 * mirrored @ as_they_are.T, 0))
        distances[classes[:, None] == classes] = np.inf
        is_image = distances.min(axis=1, initial=np.inf) < near
        return np.stack([as_they_are, np.where(is_image[:, None], as_they_are, mirrored)])


KINDS = {kind.name: kind for kind in (Looks, Changes, Whole)}


def unit(rows):
    lengths = np.sqrt(np.einsum("...i,...i->...", rows, rows))
    return rows / (lengths[..., None] + np.float32(1e-6))


def _some_frames(rows):
    frames = rows.reshape(-1, rows.shape[-1])
    if len(frames) > FRAMES_TO_FIT:
        chosen = np.random.default_rng(0).choice(len(frames), FRAMES_TO_FIT, replace=False)
        frames = frames[np.sort(chosen)]
    return frames.astype(np.float32)


def _principal(frames):
    """(variances, directions `(number, size)`) of the strongest directions of frames.

    By the products of all frames with each other, or of all numbers, whichever are fewer: that
    takes half the time of a singular value decomposition.
    """
    is_wide = len(frames) < frames.shape[1]
    squares, axes = np.linalg.eigh(frames @ frames.T if is_wide else frames.T @ frames)
    squares, axes = squares[::-1][:DIRECTIONS], axes.T[::-1][:DIRECTIONS]
    is_real = squares > ROUNDING * max(squares[0], 1e-12)
    squares, axes = squares[is_real], axes[is_real]
    directions = axes @ frames / np.sqrt(squares)[:, None] if is_wide else axes
    return squares / len(frames), directions
