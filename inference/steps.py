"""I3D in steps: what its network can compute of a clip while the clip's frames still arrive.

    steps = steps.split(network)
    features, *states = steps["head"](the first 11 frames)
    features, *states = steps["step"]([the next 2 frames, *states])         again and again
    probabilities = steps["tail"]([the last frame, *states, all features])

80 % of the network's arithmetic lies below its first pooling with a stride in time, where every
layer looks at most four of its inputs ahead. Each part hands the next one the inputs that a layer
has seen and still needs, so nothing is computed twice and the probabilities are those of the whole.
"""

import math
from typing import Any, NamedTuple

import keras
from keras import layers, ops

from i3d.shapes import STEM_CONVOLUTION
from inference.clip import HEAD, STEP, STEP_FRAMES, TAIL

LAST_LOWER_LAYER = "Mixed_3c"
MIN_PARAMETERS = 2_000_000  # smaller networks answer within hundredths of a second as a whole


def is_worth_splitting(model):
    """Whether a network `can_split` and is so large that its answer takes long."""
    return can_split(model) and model.count_params() >= MIN_PARAMETERS


def can_split(model):
    """Whether a network is an I3D that begins with its stem, for clips of a fit length."""
    if [layer.name for layer in model.layers[1:2]] != [STEM_CONVOLUTION]:
        return False
    of_steps = model.input_shape[1] - STEP_FRAMES[HEAD] - STEP_FRAMES[TAIL]
    return of_steps >= 0 and of_steps % STEP_FRAMES[STEP] == 0


def split(model):
    """Divides a network of `model_i3d.build_i3d`.

    Args:
        model: `keras.Model` that `can_split`, made by `conversion.plain_layers`.

    Returns:
        {"head" | "step" | "tail": `keras.Model`}, see above. Frames, states and features are
        float32 `(batch, time, height, width, channels)`; "step" takes as many states as it gives.
        They are there to be called or converted: TensorFlow 2.21 optimizes slices away that follow
        a padded convolution, so that their `predict` fails.
    """
    last = model.get_layer(LAST_LOWER_LAYER).output
    lower = _LowerLayers(keras.Model(model.input, last))
    num_frames = model.input_shape[1]
    of_head, of_step, of_tail = (STEP_FRAMES[name] for name in (HEAD, STEP, TAIL))
    head = _Part(lower, of_head, of_head)
    step = _Part(lower, of_step, of_head + of_step, head.state_shapes)
    tail = _Part(lower, of_tail, num_frames, step.state_shapes)
    lower.copy_weights()
    earlier = keras.Input((last.shape[1] - tail.features.shape[1], *last.shape[2:]))
    upper = keras.models.clone_model(keras.Model(last, model.output))
    upper.set_weights(keras.Model(last, model.output).get_weights())
    answer = upper(ops.concatenate([earlier, tail.features], axis=1))
    return {
        HEAD: keras.Model(head.inputs, [head.features, *head.states]),
        STEP: keras.Model(step.inputs, [step.features, *step.states]),
        TAIL: keras.Model([*tail.inputs, earlier], answer),
    }


class _Items(NamedTuple):
    """A layer's outputs along time: the new ones, how many there are up to now, and in the end."""

    new: Any  # `(batch, time, height, width, channels)`
    number: int
    total: int


class _LowerLayers:
    """Copies of the layers of the network `model` that can work on any piece of time."""

    def __init__(self, model):
        self.model = model
        self.copies = {layer.name: _any_time(layer) for layer in model.layers[1:]}

    def copy_weights(self):
        for layer in self.model.layers[1:]:
            self.copies[layer.name].set_weights(layer.get_weights())


class _Part:
    """The lower layers, connected for the frames between two moments.

    Args:
        lower: `_LowerLayers`.
        num_new: number of new frames.
        num_frames: number of frames known with them.
        given: shapes of the states of the part before this one; None for the first part.
    """

    def __init__(self, lower, num_new, num_frames, given=None):
        self.states = []  # given to the next part
        self.state_shapes = []  # also of those without items, which are not given
        self._lower = lower
        self._is_first, self._given = given is None, iter(given or [])
        total, *frame_shape = lower.model.input_shape[1:]
        frames = keras.Input((num_new, *frame_shape))
        self.inputs = [frames]
        known = {lower.model.input.name: _Items(frames, num_frames, total)}
        for layer in lower.model.layers[1:]:
            sources = layer.input if isinstance(layer.input, list) else [layer.input]
            known[layer.output.name] = self._connect(
                layer, [known[source.name] for source in sources]
            )
        self.features = known[lower.model.output.name].new

    def _connect(self, layer, sources):
        if isinstance(layer, layers.Concatenate):
            return self._concatenate(layer, sources)
        size = _window(layer)[0][0]
        if size > 1:
            return self._look_along_time(layer, sources[0])
        return sources[0]._replace(new=self._lower.copies[layer.name](sources[0].new))

    def _look_along_time(self, layer, items):
        """A convolution or pooling over several items, with zeros around the clip."""
        size, stride = (sizes[0] for sizes in _window(layer))
        before, after = _same_padding(items.total, size, stride)
        total = math.ceil(items.total / stride)
        is_last = items.number == items.total
        number = total if is_last else (items.number + before - size) // stride + 1
        new = self._with_state(items.new)
        self._keep(new, items.number - max(stride * number - before, 0))
        edges = before if self._is_first else 0, after if is_last else 0
        copy = self._lower.copies[layer.name]
        if isinstance(layer, layers.Conv3D):
            outputs = copy(_pad(new, edges, *_spatial_padding(layer)))
        else:  # of values that a ReLU made, so zeros never are the maximum; its stride is 1
            new = _pad(new, edges, (0, 0), (0, 0))
            outputs = copy(ops.max_pool(new, (size, 1, 1), strides=1, padding="valid"))
        return _Items(outputs, number, total)

    def _concatenate(self, layer, sources):
        """Of branches of which some are ahead of the others."""
        number = min(items.number for items in sources)
        pieces = []
        for items in sources:
            new, ahead = self._with_state(items.new), items.number - number
            self._keep(new, ahead)
            pieces.append(new[:, : new.shape[1] - ahead])
        return _Items(self._lower.copies[layer.name](pieces), number, sources[0].total)

    def _with_state(self, new):
        """New items behind those that the part before this one kept."""
        shape = next(self._given, (0,))
        if not shape[0]:
            return new
        self.inputs.append(keras.Input(shape))
        return ops.concatenate([self.inputs[-1], new], axis=1)

    def _keep(self, items, number):
        """Gives the newest items to the next part."""
        self.state_shapes.append((number, *items.shape[2:]))
        if number:
            self.states.append(items[:, items.shape[1] - number :])


def _any_time(layer):
    """A copy that, where its layer looks along time, takes what it sees as it is given."""
    config = layer.get_config()
    size = _window(layer)[0]
    if isinstance(layer, layers.Conv3D) and size[0] > 1:
        config["padding"] = "valid"
    if isinstance(layer, layers.MaxPooling3D):
        config["pool_size"], config["strides"] = ((1, *sizes[1:]) for sizes in _window(layer))
    return type(layer).from_config(config)


def _window(layer):
    """(size, strides) of what a layer looks at, each (time, height, width)."""
    size = getattr(layer, "kernel_size", None) or getattr(layer, "pool_size", (1, 1, 1))
    return size, getattr(layer, "strides", (1, 1, 1))


def _same_padding(length, size, stride):
    """(before, after) of the padding "same" along one axis."""
    missing = max((math.ceil(length / stride) - 1) * stride + size - length, 0)
    return missing // 2, missing - missing // 2


def _spatial_padding(layer):
    """(before, after) of the padding "same" along height and width."""
    size, strides = _window(layer)
    lengths = layer.input.shape[2:4]
    return [_same_padding(*axis) for axis in zip(lengths, size[1:], strides[1:], strict=True)]


def _pad(items, *edges):
    """Zeros (before, after) along time, height and width."""
    return ops.pad(items, ((0, 0), *edges, (0, 0))) if any(map(any, edges)) else items
