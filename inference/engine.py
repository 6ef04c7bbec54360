"""What computes a run's networks: OpenVINO, its 8-bit form, or Keras.

    engine, reason, networks = open_networks(run, "auto")
    probabilities = networks["flow"](inputs)

OpenVINO starts without importing Keras once a network has been converted, see
`inference/converted_files.py`.
"""

import threading

import numpy as np

from common.command_line import quote
from inference import conversion, converted_files
from inference.clip import FRAME, REST, STEP_FRAMES, WHOLE, clip_of
from inference.run_folder import NEAREST
from inference.saved_network import open_network
from nearest import files
from nearest.comparison import SIGNS, Comparison
from weights.keras_file import check_model_file

ENGINES = ("auto", "keras", "openvino", "int8")


def open_networks(run, engine="auto", stepwise=False):
    """Opens the networks of all streams of a run with one engine.

    Args:
        run: `run_folder.Run`.
        engine: "openvino"; "keras"; "int8", the 8-bit networks made by export.py; or "auto":
            "openvino" where it can be used, else "keras".
        stepwise: OpenVINO computes what it can of an I3D while a clip's frames arrive.

    Returns:
        (engine used, reason or "", {stream: `Network`}). The reason says why "auto" fell back. What
        compares with examples is an engine of its own, "nearest", whichever is asked for.

    Raises:
        FileNotFoundError: "int8", and there are no 8-bit networks of this run.
        ValueError: unknown engine; a network that is unsafe, damaged or does not fit run.json; or
            "openvino" or "int8", and OpenVINO is missing or cannot take a network.
    """
    if engine not in ENGINES:
        raise ValueError(f"engine is one of {', '.join(ENGINES)}. Received: {engine}")
    if run.architecture == NEAREST:
        return NEAREST, "", {stream: _open_examples(run, stream) for stream in run.streams}
    for stream in run.streams:
        check_model_file(run.model_file(stream))
    if engine != "auto":
        return engine, "", _open(run, engine, stepwise)
    try:
        return "openvino", "", _open(run, "openvino", stepwise)
    except conversion.ConversionError as error:
        return "keras", str(error), _open(run, "keras", stepwise)


class Network:
    """One stream's network.

    Args:
        parts: {part: function}, see inference/clip.py.
    """

    def __init__(self, parts):
        self._parts = parts

    def __call__(self, inputs):
        """Float32 `(batch, num_frames, height, width, channels)` to float32 probabilities
        `(batch, num_classes)`."""
        if WHOLE in self._parts:
            return self._parts[WHOLE](inputs)
        features = self._parts[FRAME](inputs.reshape(-1, *inputs.shape[2:]))
        return self._parts[REST](features.reshape(*inputs.shape[:2], -1))

    def clip(self):
        """An empty clip, whose frames can be added one by one: `clip.WholeClip`."""
        return clip_of(self._parts)


class ExampleNetwork(Network):
    """What is asked like a network, and compares with examples instead.

    Args:
        comparison: `nearest.comparison.Comparison`.
    """

    def __init__(self, comparison):
        super().__init__({FRAME: comparison.describe, REST: comparison.answer})
        self.comparison = comparison


def compiled_network(parts):
    """`Network` of {part: `openvino.CompiledModel`}."""
    return Network({name: _openvino_function(name, part) for name, part in parts.items()})


def _open(run, engine, stepwise):
    settings = {"stepwise": stepwise} if engine == "openvino" else {}
    return {stream: OPENERS[engine](run, stream, **settings) for stream in run.streams}


def _open_examples(run, stream):
    path = run.model_file(stream)
    examples, weights = files.load(path, len(run.signs))
    comparison = comparison_of(stream, examples, run.preset.input_size)
    if comparison.weights != weights:
        raise ValueError(
            f"{path} was made with other weights than those of this project. Make it anew: "
            "train_nearest.py."
        )
    return ExampleNetwork(comparison)


def comparison_of(stream, examples, size):
    """`Comparison` with such examples, and the network that they ask for.

    Args:
        stream, examples: as of `Comparison`.
        size: (height, width) of the pictures.
    """
    if SIGNS not in examples:
        return Comparison(stream, examples, *size)
    from inference.extractor import SignsNetwork  # here, for it brings all that loads weights

    return Comparison(stream, examples, *size, SignsNetwork(stream))


def _open_keras(run, stream):
    shape = converted_files.input_shape(run, stream)
    model = open_network(run.model_file(stream), shape, len(run.signs))
    parts = conversion.keras_parts(model)
    return Network({name: _keras_function(part) for name, part in parts.items()})


def _keras_function(model):
    return lambda batch: np.asarray(model.predict_on_batch(batch))


def _open_openvino(run, stream, stepwise=False):
    return compiled_network(converted_files.compiled_parts(run, stream, stepwise))


def _open_int8(run, stream):
    conversion.import_openvino()
    place = converted_files.int8_dir(run, stream)
    parts = converted_files.load_parts(place, run, stream)
    if not parts:
        raise FileNotFoundError(
            f"No 8-bit network for {run.model_file(stream)} in {place.parent}. Make it: "
            f"`python export.py --model {quote(run.folder)} --int8`."
        )
    return compiled_network(parts)


def _openvino_function(name, compiled):
    """Items one after the other: no faster in batches, and memory for one is enough."""
    request = compiled.create_infer_request()
    lock = threading.Lock()

    def compute(batch):
        with lock:
            return np.concatenate([request.infer([item[None]])[0] for item in batch])

    def compute_step(*inputs):
        with lock:
            return list(request.infer(inputs).values())

    return compute_step if name in STEP_FRAMES else compute


OPENERS = {"keras": _open_keras, "openvino": _open_openvino, "int8": _open_int8}
