"""What a network makes of one clip whose frames arrive one after the other.

    clip = clip_of(parts)
    clip.add(frame)         for every frame; what can be computed by then is computed
    clip.probabilities()    the rest

A network comes in parts (conversion.py makes them): the whole; or what it does with every frame by
itself and what it makes of all frames' features (model_lstm.py); or the whole and, for clips that
arrive, the steps of steps.py. Each part is a function of float32 arrays.
"""

import numpy as np

WHOLE = "whole"
FRAME, REST = "frame", "rest"
HEAD, STEP, TAIL = "head", "step", "tail"
# Frames that each takes: the fewest that the last of I3D's lower layers makes something of; the
# stride in time of its first layer; the last one.
STEP_FRAMES = {HEAD: 11, STEP: 2, TAIL: 1}


def clip_of(parts):
    """An empty clip.

    Args:
        parts: {part: function}, with "whole", or "frame" and "rest", or "whole" and all of
            `STEP_FRAMES`.

    Returns:
        `WholeClip` or one of its kinds.
    """
    if FRAME in parts:
        return FrameByFrameClip(parts)
    return StepwiseClip(parts) if STEP in parts else WholeClip(parts)


class WholeClip:
    """A clip that its network looks at when all frames are there.

    Frames are float32 `(height, width, channels)`, as `network_input` makes them.
    """

    def __init__(self, parts):
        self._parts = parts
        self._items = []  # what is kept of each frame

    def add(self, frame):
        self._items.append(frame)

    def slide(self, first=None):
        """Forgets the oldest frame; the frame `first`, if given, takes the place of the next."""
        del self._items[:1]
        if first is not None and self._items:
            self._items[0] = first

    def copy(self):
        """A clip of the same frames that stays as it is while this one goes on."""
        other = type(self)(self._parts)
        other._items = list(self._items)
        return other

    def probabilities(self):
        """Float32 `(num_classes,)`; all frames that the network takes have been added."""
        return self._parts[WHOLE](self._batch())[0]

    def _batch(self):
        return np.stack(self._items)[None]


class FrameByFrameClip(WholeClip):
    """A clip of which the features of each frame are kept."""

    def add(self, frame):
        super().add(self._features(frame))

    def slide(self, first=None):
        super().slide(None if first is None else self._features(first))

    def probabilities(self):
        return self._parts[REST](self._batch())[0]

    def features(self):
        """Of all frames so far: float32 `(num_frames, features)`."""
        return np.stack(self._items)

    def _features(self, frame):
        return self._parts[FRAME](frame[None])[0]


class StepwiseClip(WholeClip):
    """A clip whose lower layers keep up with its frames, until a frame is forgotten."""

    def __init__(self, parts):
        super().__init__(parts)
        self._features = []  # of the lower layers up to now, pieces of time
        self._states = []
        self._num_done = 0
        self._has_moved = False  # by a frame: what was computed holds no more

    def add(self, frame):
        super().add(frame)
        name = STEP if self._features else HEAD
        if not self._has_moved and len(self._items) == self._num_done + STEP_FRAMES[name]:
            features, *self._states = self._parts[name](self._new_frames(), *self._states)
            self._features.append(features)
            self._num_done += STEP_FRAMES[name]

    def slide(self, first=None):
        super().slide(first)
        self._features, self._states, self._has_moved = [], [], True

    def copy(self):
        other = super().copy()
        other._features, other._states = list(self._features), self._states
        other._num_done, other._has_moved = self._num_done, self._has_moved
        return other

    def probabilities(self):
        if self._has_moved:
            return super().probabilities()
        features = np.concatenate(self._features, axis=1)
        return self._parts[TAIL](self._new_frames(), *self._states, features)[0][0]

    def _new_frames(self):
        return np.stack(self._items[self._num_done :])[None]
