"""A run's networks as OpenVINO models, kept on disk so that the next start needs no Keras.

    model/<run>/openvino/<stream>-<digest>/
        whole.xml whole.bin             the network; or
        frame.xml frame.bin             what it does with every frame by itself, and
        rest.xml rest.bin               what it makes of the features of all frames
        contents.json                   SHA-256 of these files
        <part>-<digest>.compiled        compiled by one version of OpenVINO for one processor

`<digest>` is of the `.keras` file, so a retrained network is converted anew. Where the run's folder
cannot be written, the user's cache folder takes its place. `model/<run>/int8/` has the same layout.
"""

import contextlib
import hashlib
import json
import os
import shutil
import sys
from pathlib import Path

import disk
import network_input
import run_folder

FORMAT = 1  # one more whenever `convert` makes other models
CONTENTS_FILE = "contents.json"
PER_FRAME = "per_frame"  # the layer that maps every frame to features
WHOLE, FRAME, REST = "whole", "frame", "rest"
DIGEST_SIZE = hashlib.sha256().digest_size
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


def compiled_parts(run, stream):
    """A stream's network, ready to run; converted and compiled where it is not on disk.

    Args:
        run: `run_folder.Run`.
        stream: "rgb" or "flow".

    Returns:
        {part: `openvino.CompiledModel`} with the part "whole" or the parts "frame" and "rest".
        All take and give float32 and have a batch size of one.

    Raises:
        ConversionError: OpenVINO is missing or cannot take this network.
        ValueError: the `.keras` file is unsafe, damaged or does not fit run.json.
    """
    import_openvino()
    name = folder_name(run, stream)
    run_digest = _digest(str(run.folder.resolve()).encode())[:16]
    places = [run.folder / "openvino" / name, cache_dir() / run_digest / name]
    for place in places:
        parts = load_parts(place, run, stream)
        if parts:
            return parts
    print(f"openvino: converting {stream}, once per network ...", file=sys.stderr, flush=True)
    model = run_folder.open_network(
        run.model_file(stream), input_shape(run, stream), len(run.signs)
    )
    models = convert(model)
    for place in places:
        with contextlib.suppress(OSError):
            store(models, place)
            parts = load_parts(place, run, stream)
            if parts:
                return parts
    return {name: compile_model(model) for name, model in models.items()}


def cache_dir():
    """The user's folder for networks of runs that cannot be written to."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "i3d" / "openvino"


def input_shape(run, stream):
    """`(num_frames, height, width, channels)` of one input."""
    return run.preset.num_frames, *run.preset.input_size, network_input.CHANNELS[stream]


def folder_name(run, stream):
    """`<stream>-<digest>`: of the bytes of the `.keras` file and the way it is converted."""
    content = run.model_file(stream).read_bytes()
    return f"{stream}-{hashlib.sha256(content + bytes([FORMAT])).hexdigest()[:16]}"


def int8_dir(run, stream):
    """Where export.py puts the stream's 8-bit network."""
    return run.folder / "int8" / folder_name(run, stream)


def keras_parts(model):
    """{part: `keras.Model`}: the network, or its two parts where it has a layer `PER_FRAME`."""
    if [layer.name for layer in model.layers[1:2]] != [PER_FRAME]:  # what comes first needs all
        return {WHOLE: model}
    keras = run_folder.import_keras()
    per_frame = model.get_layer(PER_FRAME)
    return {FRAME: per_frame.network, REST: keras.Model(per_frame.output, model.output)}


def convert(model):
    """Converts a Keras network.

    Args:
        model: `keras.Model` from `(batch, num_frames, height, width, channels)` to probabilities.

    Returns:
        {part: `openvino.Model`}, see `compiled_parts`.

    Raises:
        ConversionError: OpenVINO does not know something in it.
    """
    parts = keras_parts(model)
    return {name: to_openvino(plain_layers(part)) for name, part in parts.items()}


def plain_layers(model):
    """The same network in the form that other runtimes read best.

    Keras' own layers take the place of those that are made for training, and recurrent layers are
    written out step by step, for OpenVINO does not know TensorFlow's loops.
    """
    keras = run_folder.import_keras()

    def plain(layer):
        kind, config = type(layer), layer.get_config()
        if "unroll" in config:
            config["unroll"] = True
        return (kind.__base__ if kind.__module__ == "fast_layers" else kind).from_config(config)

    copy = keras.models.clone_model(model, clone_function=plain)
    copy.set_weights(model.get_weights())
    return copy


def store(models, place):
    """Writes {part: `openvino.Model`} to the folder `place`, which appears whole or not at all.

    What was there for other versions of the stream's network goes away.

    Raises:
        OSError: the folder cannot be written, or the disk is full.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    with disk.partial_dir(place.parent) as partial:
        write_parts(models, partial / place.name)
        put_in_place(partial / place.name, place)


def write_parts(models, folder):
    """Makes a folder of `<part>.xml` and `<part>.bin`, in the precision that the models have."""
    openvino = import_openvino()
    folder.mkdir(parents=True)
    for name, model in models.items():
        openvino.save_model(model, folder / f"{name}.xml", compress_to_fp16=False)
    digests = {path.name: _digest(path.read_bytes()) for path in sorted(folder.iterdir())}
    disk.write_atomically(folder / CONTENTS_FILE, json.dumps(digests, indent=1) + "\n")


def put_in_place(folder, place):
    """Moves a finished folder to `place`; those of the stream's earlier networks go away."""
    stream = place.name.partition("-")[0]
    for outdated in place.parent.glob(f"{stream}-*"):
        shutil.rmtree(outdated, ignore_errors=True)
    try:
        folder.rename(place)
    except OSError:
        if not place.is_dir():  # else another process was faster with the same content
            raise


def load_parts(place, run, stream):
    """The compiled parts in the folder `place`; None where they are missing, damaged or misfit."""
    try:
        digests = json.loads((place / CONTENTS_FILE).read_text(encoding="utf-8"))
        names = [name.removesuffix(".xml") for name in digests if name.endswith(".xml")]
        parts = {name: _load_part(place, name, digests) for name in names}
    except (OSError, ValueError, AttributeError, KeyError, RuntimeError):
        return None
    return parts if _fits(parts, input_shape(run, stream), len(run.signs)) else None


def _load_part(place, name, digests):
    """From the compiled file where there is one for this machine, else from the model."""
    openvino = import_openvino()
    compiled_file = place / f"{name}-{_machine_digest()}.compiled"
    with contextlib.suppress(OSError, ValueError, RuntimeError):
        return openvino.Core().import_model(_read_checked(compiled_file), "CPU", SETTINGS)
    for suffix in (".xml", ".bin"):
        if _digest((place / (name + suffix)).read_bytes()) != digests[name + suffix]:
            raise ValueError(f"{place / (name + suffix)} is damaged.")
    compiled = compile_model(openvino.Core().read_model(place / f"{name}.xml"))
    with contextlib.suppress(OSError, RuntimeError):
        content = compiled.export_model().getvalue()
        disk.write_atomically(compiled_file, hashlib.sha256(content).digest() + content)
    return compiled


def _read_checked(path):
    """The content of a file that begins with its SHA-256."""
    content = path.read_bytes()
    if hashlib.sha256(memoryview(content)[DIGEST_SIZE:]).digest() != content[:DIGEST_SIZE]:
        raise ValueError(f"{path} is damaged.")
    return content[DIGEST_SIZE:]


def _machine_digest():
    """Stands for what compiled code depends on: the version of OpenVINO and the processor."""
    openvino = import_openvino()
    processor = openvino.Core().get_property("CPU", "FULL_DEVICE_NAME")
    capabilities = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    facts = [openvino.get_version(), processor, *capabilities, json.dumps(SETTINGS)]
    return _digest("\n".join(facts).encode())[:16]


def _digest(content):
    return hashlib.sha256(content).hexdigest()


def compile_model(model):
    """`openvino.Model` to `openvino.CompiledModel`, with `SETTINGS`."""
    return import_openvino().Core().compile_model(model, "CPU", SETTINGS)


def _fits(parts, clip_shape, num_classes):
    """Whether the compiled parts, one after the other, map such clips to so many classes."""
    shapes = {
        name: (tuple(part.input(0).shape), tuple(part.output(0).shape))
        for name, part in parts.items()
    }
    answer = (1, num_classes)
    if set(shapes) == {WHOLE}:
        return shapes[WHOLE] == ((1, *clip_shape), answer)
    if set(shapes) != {FRAME, REST}:
        return False
    frame_input, features = shapes[FRAME]
    rest_input = (1, clip_shape[0], *features[1:])
    return frame_input == (1, *clip_shape[1:]) and shapes[REST] == (rest_input, answer)


def to_openvino(model):
    """Converts a Keras model of one input and one output, for a batch size of one.

    Returns:
        `openvino.Model`.

    Raises:
        ConversionError: OpenVINO does not know something in it.
    """
    openvino = import_openvino()
    keras = run_folder.import_keras()
    shape = (1, *model.input_shape[1:])
    backend = keras.backend.backend()
    try:
        if backend == "tensorflow":
            return openvino.convert_model(_tensorflow_function(model, shape))
        if backend == "torch":
            import torch

            traced = torch.jit.trace(model.eval(), torch.zeros(shape), check_trace=False)
            return openvino.convert_model(traced, input=[shape])
    except Exception as error:  # whatever tracing and OpenVINO's readers raise
        reason = str(error).strip().partition("\n")[0]
        raise ConversionError(f"OpenVINO cannot convert the network ({reason})") from error
    raise ConversionError(f"OpenVINO cannot convert networks of the Keras backend {backend}")


def _tensorflow_function(model, shape):
    import tensorflow

    function = tensorflow.function(
        lambda inputs: model(inputs, training=False),
        input_signature=[tensorflow.TensorSpec(shape, tensorflow.float32, name="inputs")],
    )
    return function.get_concrete_function()
