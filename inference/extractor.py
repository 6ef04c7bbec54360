"""What makes features of frames or clips, so that a new top trains on them in seconds."""

import concurrent.futures
import functools
import queue
import threading

import numpy as np

import i3d_weights
from common import network_input
from common.slow_imports import import_keras
from nearest import descriptor
from weights import mobile

HOG_HOF = "hog_hof"  # no network: nearest/descriptor.py
EXTRACTORS = (*mobile.EXTRACTORS, "i3d", HOG_HOF)
CLIPS_PER_BATCH = 4


def find_weights(preset, stream, extractor, weights):
    """The weight file of an extractor, or None for random weights.

    Raises:
        FileNotFoundError, ValueError: it is not there, or is of another kind.
    """
    if extractor == HOG_HOF:
        return None
    if extractor == "i3d":
        if weights == "none":
            return None
        path = i3d_weights.find_weights(weights, stream)
        i3d_weights.check_weights(path, stream, preset.width_multiplier)
        return path
    return mobile.find_weights(weights, extractor, preset.width_multiplier)


def refuse_unasked_random(extractor, weights, preset):
    """Raises ValueError where features would be those of random weights that nobody asked for.

    Args:
        extractor: one of `EXTRACTORS`.
        weights: as asked for; None: the preset's.
        preset: `presets.Preset`.
    """
    if extractor == "i3d" and weights is None and preset.weights == "none":
        raise ValueError(
            f"--preset {preset.name} has random weights, and what a random I3D sees tells signs no "
            "better than guessing. Name trained ones (--weights PATH), or ask for random ones all "
            "the same: --weights none."
        )


def build_network(preset, stream, extractor, weights, seed=0):
    """The network that makes features of a stream: of a frame, or with "i3d" of a clip.

    Returns:
        `keras.Model` from `(batch, height, width, channels)` to `(batch, features)`, or from
        `(batch, num_frames, height, width, channels)` to `(batch, 1, features)`.
    """
    keras = import_keras()
    path = find_weights(preset, stream, extractor, weights)
    keras.utils.set_random_seed(seed)
    channels = network_input.CHANNELS[stream]
    if extractor != "i3d":
        import model_mobile

        return model_mobile.build_extractor(
            extractor, *preset.input_size, channels, preset.width_multiplier, path
        )
    import model_i3d

    model = model_i3d.build_i3d(
        preset.num_frames,
        *preset.input_size,
        channels,
        width_multiplier=preset.width_multiplier,
        subtract_mean=preset.subtract_mean and stream == "rgb",
    )
    if path:
        i3d_weights.load_weights(model, path, with_top=False)
    averaged = keras.layers.GlobalAveragePooling3D(keepdims=True)(model.output)
    features = keras.layers.Reshape((1, model.output_shape[-1]))(averaged)
    return keras.Model(model.input, features)


class Descriptor:
    """HOG or HOF in the place of a network.

    Args:
        stream: "rgb" or "flow".
    """

    def __init__(self, stream):
        self._stream = stream

    def open(self):
        """There is nothing to open."""

    def features(self, clip):
        """Float32 `(num_frames, features)` of a clip of `network_input`."""
        return descriptor.describe(self._stream, clip)[:, 0]


class ClipBatches:
    """A network for clips that several threads ask for: what has gathered is computed at once.

    Args:
        settings: of `build_network`, which is called once, when the first clip comes.
    """

    def __init__(self, *settings):
        self._settings = settings
        self._network = None
        self._waiting = queue.SimpleQueue()
        self._computing = threading.Lock()

    def __reduce__(self):
        """Another process, which it is sent to, builds the network once for all clips."""
        return _of_this_process, self._settings

    def open(self):
        """Builds the network where that has not happened yet.

        Raises:
            ValueError: the weights do not fit.
        """
        self._network = self._network or build_network(*self._settings)

    def features(self, clip):
        """Features of one clip.

        Args:
            clip: float32 `(num_frames, height, width, channels)` of `network_input`.

        Returns:
            float32 `(num_frames, features)`, or `(1, features)` of I3D.
        """
        answer = concurrent.futures.Future()
        self._waiting.put((clip, answer))
        with self._computing:
            while not answer.done():
                self._compute([self._waiting.get() for _ in range(self._num_gathered())])
        return answer.result()

    def _num_gathered(self):
        return min(self._waiting.qsize(), CLIPS_PER_BATCH)

    def _compute(self, gathered):
        try:
            self.open()
            clips = np.stack([clip for clip, _ in gathered])
            features = clip_features(self._network, clips)
        except BaseException as error:
            for _, answer in gathered:
                answer.set_exception(error)
            return
        for (_, answer), values in zip(gathered, features, strict=True):
            answer.set_result(values)


@functools.lru_cache(maxsize=2)
def _of_this_process(*settings):
    return ClipBatches(*settings)


def clip_features(network, clips):
    """What a network of `build_network` says of a batch of clips, all their frames at once.

    Args:
        network: `keras.Model`.
        clips: float32 `(batch, num_frames, height, width, channels)`.

    Returns:
        float32 `(batch, num_frames, features)`, or `(batch, 1, features)` of I3D.
    """
    is_per_frame = len(network.input_shape) == 4
    inputs = clips.reshape(-1, *clips.shape[2:]) if is_per_frame else clips
    features = np.asarray(network.predict_on_batch(inputs))
    return features.reshape(len(clips), -1, features.shape[-1])
