"""What makes features of frames or clips, so that a new top trains on them in seconds."""

import concurrent.futures
import functools
import importlib.util
import queue
import shutil
import threading

import numpy as np

import i3d_weights
from common import network_input
from common.presets import PRESETS
from common.slow_imports import import_keras
from i3d import openvino_network
from inference.conversion import SETTINGS, import_openvino
from nearest import descriptor
from nearest.comparison import HOG_HOF, SIGNS
from weights import files as weight_files
from weights import mobile

EXTRACTORS = (*mobile.EXTRACTORS, "i3d", HOG_HOF, SIGNS)
CLIPS_PER_BATCH = 4
SIGNS_PRESET = PRESETS["laptop"]  # what the network of signs was trained on


def find_weights(preset, stream, extractor, weights):
    """The weight file of an extractor, or None for random weights.

    Raises:
        FileNotFoundError, ValueError: it is not there, or is of another kind.
    """
    if extractor == HOG_HOF:
        return None
    if extractor == SIGNS:
        _refuse_other_sizes(preset)
        if weights == "none":
            raise ValueError(f"--extractor {SIGNS} is a network that has learned: name --weights.")
        path = i3d_weights.find_weights(weights, stream)
        if weights != i3d_weights.SIGNS:  # of which a test knows that they fit
            i3d_weights.check_weights(path, stream, SIGNS_PRESET.width_multiplier)
        return path
    if extractor == "i3d":
        if weights == "none":
            return None
        i3d_weights.refuse_other_width(weights, preset)
        path = i3d_weights.find_weights(weights, stream)
        i3d_weights.check_weights(path, stream, preset.width_multiplier)
        return path
    return mobile.find_weights(weights, extractor, preset.width_multiplier)


def can_use_signs(preset):
    """Whether clips of a preset are what the network of signs knows, and OpenVINO is there."""
    return _sizes(preset) == _sizes(SIGNS_PRESET) and bool(importlib.util.find_spec("openvino"))


def _sizes(preset):
    return preset.num_frames, preset.frame_size


def _refuse_other_sizes(preset):
    if _sizes(preset) != _sizes(SIGNS_PRESET):
        raise ValueError(
            f"--extractor {SIGNS} knows clips of --preset {SIGNS_PRESET.name} only. Received: "
            f"{preset.name}."
        )


def build_network(preset, stream, extractor, weights, seed=0):
    """The network that makes features of a stream: of a frame, or with "i3d" of a clip.

    Returns:
        `keras.Model` to `(batch, features)` from `(batch, height, width, channels)`, or with "i3d"
        from `(batch, num_frames, height, width, channels)`.
    """
    path = find_weights(preset, stream, extractor, weights)
    keras = import_keras()
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
        even_out=bool(path) and weight_files.read(path).even_out,
    )
    if path:
        i3d_weights.load_weights(model, path, with_top=False)
    return model_i3d.trunk(model)


def maker(preset, stream, extractor, weights=None, seed=0):
    """What makes the features of a clip: `Descriptor`, `SignsNetwork` or `ClipBatches`.

    Args:
        preset: `presets.Preset`.
        stream: "rgb" or "flow".
        extractor: one of `EXTRACTORS`.
        weights: as of `find_weights`; of `SIGNS`, by default those that come with the project.
        seed: of random weights.
    """
    if extractor == HOG_HOF:
        return Descriptor(stream)
    if extractor == SIGNS:
        return SignsNetwork(stream, weights or i3d_weights.SIGNS)
    return ClipBatches(preset, stream, extractor, weights, seed)


def seen_size(preset, extractor):
    """(height, width) of what an extractor sees: a network's input, else the whole frame."""
    if extractor == SIGNS:
        return SIGNS_PRESET.input_size
    return preset.frame_size if extractor == HOG_HOF else preset.input_size


class Descriptor:
    """HOG or HOF in the place of a network.

    Args:
        stream: "rgb" or "flow".
    """

    def __init__(self, stream):
        self._stream = stream

    def open(self):
        """There is nothing to open."""

    def share(self, folder):
        """There is nothing to share."""

    def features(self, clip):
        """Float32 `(num_frames, features)` of a clip of `network_input`."""
        return descriptor.describe(self._stream, clip)[:, 0]


class SignsNetwork:
    """The small I3D that has learned signing, computed by OpenVINO.

    Args:
        stream: "rgb" or "flow".
        weights: as of `find_weights`; by default those that come with the project.

    Attributes:
        size: (height, width) of what it sees, in the middle of a stored frame.
        views: how many rows `features` makes of a clip.
    """

    size = SIGNS_PRESET.input_size
    views = 2

    def __init__(self, stream, weights=i3d_weights.SIGNS):
        self._stream, self._weights = stream, weights
        self._request = None
        self._lock = threading.Lock()

    def __reduce__(self):
        """In another process it is opened once, too."""
        return _signs_of_this_process, (self._stream, self._weights)

    def share(self, folder):
        """Copies the weights into a folder that others see."""
        shared = folder / f"{self._stream}.h5"
        shutil.copyfile(self._path(), shared)
        self._weights = str(shared)

    def fingerprint(self):
        """The SHA-256 of its weights."""
        return weight_files.fingerprint(self._path())

    def _path(self):
        return i3d_weights.find_weights(self._weights, self._stream)

    def open(self):
        """Reads the weights and compiles the network where that has not happened yet.

        Raises:
            ConversionError: OpenVINO is not installed.
        """
        with self._lock:
            if self._request is None:
                openvino = import_openvino()
                stored = weight_files.read(self._path())
                shape = SIGNS_PRESET.num_frames, *self.size
                less_mean = SIGNS_PRESET.subtract_mean and self._stream == "rgb"
                first = {"subtract_mean": less_mean, "even_out": stored.even_out}
                model = openvino_network.build(
                    openvino, stored.layers, *shape, **first, discriminant=stored.discriminant
                )
                compiled = openvino.Core().compile_model(model, "CPU", SETTINGS)
                self._request = compiled.create_infer_request()

    def features(self, clip):
        """A clip of `network_input` as it is, and as it is with the other hand: `(2, numbers)`."""
        mirrored = network_input.mirrored(self._stream, clip)
        return np.concatenate([self.view(clip), self.view(np.ascontiguousarray(mirrored))])

    def view(self, clip):
        """The first of `features`, in half the time: float32 `(1, numbers)`.

        There is one for each direction of weights with a discriminant, as those that come with the
        project; else one for each feature of each step.
        """
        self.open()
        with self._lock:  # requests of several threads have stood still for ever
            return self._request.infer([clip[None]])[0].reshape(1, -1).copy()


class ClipBatches:
    """A network for clips that several threads ask for: what has gathered is computed at once.

    Args:
        settings: of `build_network`, which is called once, when the first clip comes.
        shared: file with the network's weights, of `share`.
    """

    def __init__(self, *settings, shared=None):
        self._settings = settings
        self._shared = shared
        self._network = None
        self._waiting = queue.SimpleQueue()
        self._computing = threading.Lock()

    def __reduce__(self):
        """Another process, which it is sent to, builds the network once for all clips."""
        return _of_this_process, (self._settings, self._shared)

    def open(self):
        """Builds the network where that has not happened yet.

        Raises:
            ValueError: the weights do not fit.
        """
        if self._network is None:
            self._network = build_network(*self._settings)
            if self._shared:
                self._network.load_weights(self._shared)

    def share(self, folder):
        """Writes the weights into a folder that others see, who then compute with the very same.

        Published weights are then asked for on one machine only, and random ones are drawn once.
        """
        self.open()
        shared = folder / "network.weights.h5"
        self._network.save_weights(shared)
        *others, _, seed = self._settings
        self._settings, self._shared = (*others, "none", seed), shared

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
def _of_this_process(settings, shared):
    return ClipBatches(*settings, shared=shared)


@functools.lru_cache(maxsize=2)
def _signs_of_this_process(stream, weights):
    return SignsNetwork(stream, weights)


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
