"""What recognises a clip by known ones: how frames look or move, and what has learned signing.

`hog_hof` tells best what the same person does in the same place, `signs`, a network that has
learned signing from drawn people (pretrain.py), what another person does. Whichever tells the signs
of a clip apart decides: the distances to its signs are compared by how much they stand out among
each other, which makes the two comparable whatever they measure (T-norm, as of Auckenthaler, Carey
and Lloyd-Thomas, "Score Normalization for Text-Independent Speaker Verification Systems", Digital
Signal Processing 10, 2000), and the network's count somewhat more.

None of the signs is what both take for none. What speaks for several signs alike speaks for none of
them: all that is known counts less, the less of it is the most probable sign's.
"""

import numpy as np

from common.network_input import CHANNELS, crop
from nearest import descriptor
from nearest.examples import Examples, shares
from nearest.kinds import Changes, Looks, Whole

HOG_HOF = "hog_hof"  # no network: nearest/descriptor.py
SIGNS = "signs"  # a small I3D that has learned signing from drawn people
SHARES = {HOG_HOF: 0.4, SIGNS: 0.6}  # of what tells the signs apart
ONE_SIGN = 0.3  # power of the most probable sign's share, by which what is known of a clip counts
SPREAD, SPREAD_SIGNS = 0.15, 3  # of distances: as if so many more signs had this standard deviation
TEMPERATURE = 0.35  # how gradually a sign is preferred, in standard deviations


class Comparison:
    """Known clips of one stream, and how near another one is to them.

    Args:
        stream: "rgb" or "flow".
        examples: {`HOG_HOF` and, where there is one, `SIGNS`: `Examples`}.
        height, width: of the pictures, in pixels.
        network: what makes the rows of `SIGNS`: it has `size`, the (height, width) in the middle of
            a picture that it sees, `open()`, `fingerprint()`, and, of float32 `(num_frames, height,
            width, channels)`, `features()` of a known clip and `view()` of another one.

    Attributes:
        without_same: whether an example that is the very same clip is left out, which is what
            judging the examples needs.
    """

    def __init__(self, stream, examples, height, width, network=None):
        self.examples = examples
        self.without_same = False
        self._stream, self._size, self._network = stream, (height, width), network

    def __len__(self):
        return len(self.examples[HOG_HOF])

    @property
    def is_refitted(self):
        """See `Examples.is_refitted`."""
        return self.examples[HOG_HOF].is_refitted

    @property
    def classes(self):
        """int `(len(self),)`: the sign of each known clip."""
        return self.examples[HOG_HOF].classes

    @property
    def weights(self):
        """SHA-256 of the network's weights; None without one."""
        return self._network and self._network.fingerprint()

    def describe(self, frames):
        """All that is compared of frames `(batch, height, width, channels)`: `(batch, numbers)`."""
        rows = descriptor.describe(self._stream, frames, descriptor.VIEWS)
        rows = rows.reshape(len(frames), -1)
        if self._network is None:
            return rows
        self._network.open()  # while frames still come, or the first answer would wait for it
        seen = crop(frames, *self._network.size).reshape(len(frames), -1)
        return np.concatenate([rows, seen], axis=1)

    def answer(self, features):
        """`describe` of all frames, `(clips, num_frames, numbers)`, to `(clips, num_classes)`."""
        return self.probabilities_at(np.stack([self.class_distances(clip) for clip in features]))

    def class_distances(self, features):
        """How far the nearest clip of each sign is: float32 `(len(examples), num_classes)`."""
        found = []
        for examples, views in zip(self.examples.values(), self._rows(features), strict=True):
            distances = examples.distances(views, self.without_same)
            found.append(examples.class_distances(distances))
        return np.stack(found)

    def probabilities_at(self, nearest):
        """Of clips at such distances, `(clips, len(examples), signs)`: float32 `(clips, signs)`."""
        if not nearest.size:
            return np.zeros((len(nearest), nearest.shape[-1]), np.float32)
        ways = list(zip(self.examples.values(), nearest.swapaxes(0, 1), strict=True))
        unknown = np.prod([way.unknown_at(distances) for way, distances in ways], axis=0)
        if len(ways) == 1:
            found = shares(nearest[:, 0], ways[0][0].temperature)
        else:
            told = (
                SHARES[name] * _standing_out(nearest[:, n]) for n, name in enumerate(self.examples)
            )
            found = shares(sum(told), TEMPERATURE)
        known = (1 - unknown) * found.max(axis=1) ** ONE_SIGN
        return (known[:, None] * found).astype(np.float32)

    def left_out(self):
        """What the others make of clips that are left out in turn.

        Returns:
            (float32 `(clips, num_classes)`, their classes), see `Examples.left_out`.
        """
        nearest, classes = zip(*(each.left_out() for each in self.examples.values()), strict=True)
        return self.probabilities_at(np.stack(nearest, axis=1)), classes[0]

    def with_clip(self, features, number, num_classes):
        """This and one clip more, of the sign of this number.

        Args:
            features: `describe` of all its frames.
        """
        rows = self._rows(features, is_known=True)
        pairs = zip(self.examples.items(), rows, strict=True)
        return self._with(
            {name: each.with_clip(views[0], number, num_classes) for (name, each), views in pairs}
        )

    def without_last(self, num_classes):
        """This without the newest clip."""
        pairs = self.examples.items()
        return self._with({name: each.without_last(num_classes) for name, each in pairs})

    def _with(self, examples):
        return Comparison(self._stream, examples, *self._size, self._network)

    def _rows(self, features, is_known=False):
        """For each of `examples`, the views of one clip: float `(views, rows, size)`."""
        if SIGNS not in self.examples:
            return [self._views(features)]
        height, width = self._network.size
        channels = CHANNELS[self._stream]
        seen = features[:, -height * width * channels :]
        clip = seen.reshape(-1, height, width, channels)
        rows = self._network.features(clip) if is_known else self._network.view(clip)
        return [self._views(features[:, : -seen.shape[1]]), rows[None]]

    def _views(self, rows):
        views = rows.reshape(len(rows), len(descriptor.VIEWS), -1).transpose(1, 0, 2)
        return np.concatenate([views, descriptor.mirrored(self._stream, views[:1], *self._size)])


def fit(stream, rows, classes, num_classes):
    """The examples of a `Comparison`.

    Args:
        stream: "rgb" or "flow".
        rows: {`HOG_HOF` and, where there is one, `SIGNS`: as of `Examples`}.
        classes, num_classes: as of `Examples`.
    """
    kinds = {HOG_HOF: (Changes,) if stream == "flow" else (Looks, Changes), SIGNS: (Whole,)}
    return {
        name: Examples(own, classes, num_classes, kinds[name], is_alone=len(rows) == 1)
        for name, own in rows.items()
    }


def _standing_out(nearest):
    """Distances of a clip from its signs, less their mean, in standard deviations.

    Of few signs these are mostly chance, so they are drawn to a usual one.

    Args:
        nearest: `(clips, signs)`, infinite where a sign has no example, which it stays.
    """
    has_example = np.isfinite(nearest)
    number = np.maximum(has_example.sum(axis=1, keepdims=True), 1)
    mean = np.where(has_example, nearest, 0).sum(axis=1, keepdims=True) / number
    squares = np.where(has_example, nearest - mean, 0) ** 2
    variance = squares.sum(axis=1, keepdims=True) + SPREAD_SIGNS * SPREAD**2
    return (nearest - mean) / np.sqrt(variance / (number + SPREAD_SIGNS))
