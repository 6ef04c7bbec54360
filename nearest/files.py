"""The examples of a run on disk, and the two functions that answer with them.

model/<run>/rgb.npz flow.npz    see `Examples.to_arrays`
"""

import io
import zipfile

import numpy as np

from common import disk
from nearest import descriptor
from nearest.examples import Examples


def save(path, examples):
    """Writes examples to a `.npz` file, whole or not at all; the same ones leave it as it is."""
    file = io.BytesIO()
    np.savez(file, **examples.to_arrays())
    if not path.is_file() or path.read_bytes() != file.getvalue():
        disk.write_atomically(path, file.getvalue())


def load(path, num_classes=None):
    """`Examples` of a file.

    Args:
        path: of `save`.
        num_classes: that they must know.

    Raises:
        ValueError: the file is damaged, or knows another number of signs.
    """
    try:
        with np.load(path) as file:
            examples = Examples.from_arrays(dict(file))
    except (EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} holds no examples of this project: {error!r}") from error
    if num_classes not in (None, examples.num_classes):
        raise ValueError(
            f"{path} knows {examples.num_classes} signs, but run.json beside it lists "
            f"{num_classes}. Make it anew: train_nearest.py."
        )
    return examples


class Comparison:
    """What recognises a clip by examples, in two steps: frame by frame, then all of them.

    Args:
        stream: "rgb" or "flow".
        examples: `Examples`.
        height, width: of the pictures, in pixels.

    Attributes:
        without_same: whether an example that is the very same clip is left out, which is what
            judging the examples needs.
    """

    def __init__(self, stream, examples, height, width):
        self.examples = examples
        self.without_same = False
        self._stream, self._size = stream, (height, width)

    def describe(self, frames):
        """Frames `(batch, height, width, channels)` to float32 `(batch, numbers)`: all views."""
        rows = descriptor.describe(self._stream, frames, descriptor.VIEWS)
        return rows.reshape(len(frames), -1)

    def answer(self, features):
        """`describe` of all frames, `(clips, num_frames, numbers)`, to `(clips, num_classes)`."""
        nearest = np.stack([self.class_distances(clip) for clip in features])
        return self.examples.probabilities_at(nearest)

    def class_distances(self, features):
        """How far the nearest example of each sign is from one clip: float32 `(num_classes,)`."""
        distances = self.examples.distances(self._views(features), self.without_same)
        return self.examples.class_distances(distances)

    def as_example(self, features):
        """The rows by which a clip becomes an example: `(num_frames, row size)`."""
        return self._views(features)[0]

    def _views(self, features):
        views = features.reshape(len(features), len(descriptor.VIEWS), -1).transpose(1, 0, 2)
        return np.concatenate([views, descriptor.mirrored(self._stream, views[:1], *self._size)])
