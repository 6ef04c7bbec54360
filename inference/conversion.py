"""Converts trained networks from Keras to OpenVINO: of each, the parts of inference/clip.py.

inference/converted_files.py keeps them on disk.
"""

import sys

from common.slow_imports import import_keras
from inference.clip import FRAME, REST, WHOLE

# The plugin may choose bfloat16 by itself where the processor has it.
SETTINGS = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": "1"}


class ConversionError(ValueError):
    """OpenVINO is missing or cannot take a network; Keras can still compute it."""


def import_openvino():
    """Imports OpenVINO without the package that would report its use over the network.

    Returns:
        The module `openvino`.

    Raises:
        ConversionError: it is not installed.
    """
    sys.modules.setdefault("openvino_telemetry", None)
    try:
        import openvino
    except ImportError as error:
        raise ConversionError(f"OpenVINO cannot be imported ({error})") from error
    return openvino


def keras_parts(model):
    """{part: `keras.Model`}: the network, or its two parts where it has a layer `PER_FRAME`."""
    from model_lstm import PER_FRAME

    if [layer.name for layer in model.layers[1:2]] != [PER_FRAME]:  # what comes first needs all
        return {WHOLE: model}
    keras = import_keras()
    per_frame = model.get_layer(PER_FRAME)
    return {FRAME: per_frame.network, REST: keras.Model(per_frame.output, model.output)}


def convert(model, stepwise=False):
    """Converts a Keras network.

    Args:
        model: `keras.Model` from `(batch, num_frames, height, width, channels)` to probabilities.
        stepwise: also make the steps of an I3D that is worth them; where they cannot be made, the
            whole network does without.

    Returns:
        {part: `openvino.Model`}, see inference/clip.py, all with a batch size of one.

    Raises:
        ConversionError: OpenVINO does not know something in it.
    """
    parts = {name: plain_layers(part) for name, part in keras_parts(model).items()}
    models = {name: to_openvino(part) for name, part in parts.items()}
    return {**models, **_convert_steps(parts[WHOLE])} if stepwise and WHOLE in parts else models


def _convert_steps(model):
    """The steps of an I3D of plain layers as `openvino.Model`s; {} where there are none."""
    from inference import steps

    if not steps.is_worth_splitting(model):
        return {}
    try:
        return {name: to_openvino(part) for name, part in steps.split(model).items()}
    except ValueError as error:  # of Keras, and ConversionError
        print(f"openvino: answers will take longer, no steps: {error}", file=sys.stderr)
        return {}


def plain_layers(model):
    """The same network in the form that other runtimes read best.

    Keras' own layers take the place of those that are made for training, and recurrent layers are
    written out step by step, for OpenVINO does not know TensorFlow's loops.
    """
    keras = import_keras()
    from i3d import fast_layers

    def plain(layer):
        kind, config = type(layer), layer.get_config()
        if "unroll" in config:
            config["unroll"] = True
        is_fast = kind.__module__ == fast_layers.__name__
        return (kind.__base__ if is_fast else kind).from_config(config)

    copy = keras.models.clone_model(model, clone_function=plain)
    copy.set_weights(model.get_weights())
    return copy


def compile_model(model):
    """`openvino.Model` to `openvino.CompiledModel`, with `SETTINGS`."""
    return import_openvino().Core().compile_model(model, "CPU", SETTINGS)


def to_openvino(model):
    """Converts a Keras model for a batch size of one.

    Returns:
        `openvino.Model` with the inputs and outputs in the same order.

    Raises:
        ConversionError: OpenVINO does not know something in it.
    """
    openvino = import_openvino()
    keras = import_keras()
    shapes = [(1, *tensor.shape[1:]) for tensor in model.inputs]
    backend = keras.backend.backend()
    try:
        if backend == "tensorflow":
            converted = openvino.convert_model(_tensorflow_function(model, shapes))
            results = [converted.output(name).node for name in _output_names(model)]
            return openvino.Model(results, converted.get_parameters())
        if backend == "torch":
            return openvino.convert_model(_torch_trace(model, shapes), input=shapes)
    except Exception as error:  # whatever tracing and OpenVINO's readers raise
        reason = str(error).strip().partition("\n")[0]
        raise ConversionError(f"OpenVINO cannot convert the network ({reason})") from error
    raise ConversionError(f"OpenVINO cannot convert networks of the Keras backend {backend}")


def _output_names(model):
    return [f"output{number}" for number in range(len(model.outputs))]


def _tensorflow_function(model, shapes):
    import tensorflow

    def call(*inputs):
        outputs = model(inputs if len(inputs) > 1 else inputs[0], training=False)
        # OpenVINO keeps the names but not the order of outputs.
        return dict(zip(_output_names(model), tensorflow.nest.flatten(outputs), strict=True))

    signature = [tensorflow.TensorSpec(shape, tensorflow.float32) for shape in shapes]
    return tensorflow.function(call, input_signature=signature).get_concrete_function()


def _torch_trace(model, shapes):
    import torch

    inputs = [torch.zeros(shape) for shape in shapes]
    return torch.jit.trace(
        model.eval(), (inputs if len(inputs) > 1 else inputs[0],), check_trace=False
    )
