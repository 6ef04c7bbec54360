"""What computes a run's networks: OpenVINO, its 8-bit form, or Keras.

    engine, reason, networks = open_networks(run, "auto")
    probabilities = networks["flow"](inputs)

OpenVINO starts without importing Keras once a network has been converted, see `conversion.py`.
"""

import threading

import numpy as np

import conversion
import run_folder

ENGINES = ("auto", "keras", "openvino", "int8")


def open_networks(run, engine="auto"):
    """Opens the networks of all streams of a run with one engine.

    Args:
        run: `run_folder.Run`.
        engine: "openvino"; "keras"; "int8", the 8-bit networks made by export.py; or "auto":
            "openvino" where it can be used, else "keras".

    Returns:
        (engine used, reason or "", {stream: `Network`}). The reason says why "auto" fell back.

    Raises:
        FileNotFoundError: "int8", and there are no 8-bit networks of this run.
        ValueError: unknown engine; a network that is unsafe, damaged or does not fit run.json; or
            "openvino" or "int8", and OpenVINO is missing or cannot take a network.
    """
    if engine not in ENGINES:
        raise ValueError(f"engine is one of {', '.join(ENGINES)}. Received: {engine}")
    for stream in run.streams:
        run_folder.check_model_file(run.model_file(stream))
    if engine != "auto":
        return engine, "", {stream: OPENERS[engine](run, stream) for stream in run.streams}
    try:
        networks = {stream: _open_openvino(run, stream) for stream in run.streams}
        return "openvino", "", networks
    except conversion.ConversionError as error:
        return "keras", str(error), {stream: _open_keras(run, stream) for stream in run.streams}


class Network:
    """One stream's network.

    A network with `per_frame` maps every frame to features by itself: `frame_features` can be
    called while frames arrive, and `of_features` does the rest.

    Args:
        parts: {part: function from a float32 batch to a float32 batch}, with the part "whole" or
            the parts "frame" and "rest".
    """

    def __init__(self, parts):
        self._parts = parts

    @property
    def per_frame(self):
        return conversion.FRAME in self._parts

    def __call__(self, inputs):
        """Float32 `(batch, num_frames, height, width, channels)` to float32 probabilities
        `(batch, num_classes)`."""
        if not self.per_frame:
            return self._parts[conversion.WHOLE](inputs)
        features = self.frame_features(inputs.reshape(-1, *inputs.shape[2:]))
        return self.of_features(features.reshape(*inputs.shape[:2], -1))

    def frame_features(self, frames):
        """Float32 `(number, height, width, channels)` to float32 `(number, features)`."""
        return self._parts[conversion.FRAME](frames)

    def of_features(self, features):
        """Float32 `(batch, num_frames, features)` to float32 `(batch, num_classes)`."""
        return self._parts[conversion.REST](features)


def compiled_network(parts):
    """`Network` of {part: `openvino.CompiledModel`}."""
    return Network({name: _openvino_function(part) for name, part in parts.items()})


def _open_keras(run, stream):
    shape = conversion.input_shape(run, stream)
    model = run_folder.open_network(run.model_file(stream), shape, len(run.signs))
    parts = conversion.keras_parts(model)
    return Network({name: _keras_function(part) for name, part in parts.items()})


def _keras_function(model):
    return lambda batch: np.asarray(model.predict_on_batch(batch))


def _open_openvino(run, stream):
    return compiled_network(conversion.compiled_parts(run, stream))


def _open_int8(run, stream):
    conversion.import_openvino()
    place = conversion.int8_dir(run, stream)
    parts = conversion.load_parts(place, run, stream)
    if not parts:
        raise FileNotFoundError(
            f"No 8-bit network for {run.model_file(stream)} in {place.parent}. Make it: "
            f"`python export.py --model {run.folder.as_posix()} --int8`."
        )
    return compiled_network(parts)


def _openvino_function(compiled):
    """One item after the other: no faster in batches, and memory for one is enough."""
    request = compiled.create_infer_request()
    lock = threading.Lock()

    def compute(batch):
        with lock:
            return np.concatenate([request.infer([item[None]])[0] for item in batch])

    return compute


OPENERS = {"keras": _open_keras, "openvino": _open_openvino, "int8": _open_int8}
