"""A run's networks as OpenVINO models, kept on disk so that the next start needs no Keras.

    model/<run>/openvino/<stream>-<digest>/
        <part>.xml <part>.bin           the parts of the network, see inference/clip.py
        contents.json                   SHA-256 of these files
        <part>-<digest>.compiled        compiled by one version of OpenVINO for one processor

`<digest>` is of the `.keras` file, so a retrained network is converted anew. Where the run's folder
cannot be written, the user's cache folder takes its place. `model/<run>/int8/` has the same layout.
"""

import contextlib
import hashlib
import json
import shutil
import sys

from common import disk, network_input
from common.command_line import telling
from inference import conversion, winograd
from inference.clip import FRAME, REST, STEP_FRAMES, TAIL, WHOLE
from inference.saved_network import open_network

# One more whenever other models are made: by conversion.py and winograd.py, and by conversion.py
# and export.py.
FORMAT, INT8_FORMAT = 3, 1
CONTENTS_FILE = "contents.json"
DIGEST_SIZE = hashlib.sha256().digest_size


def compiled_parts(run, stream, stepwise=False):
    """A stream's network, ready to run; converted and compiled where it is not on disk.

    Args:
        run: `run_folder.Run`.
        stream: "rgb" or "flow".
        stepwise: also compile the steps of a network that has them.

    Returns:
        {part: `openvino.CompiledModel`}, see clip.py. All take and give float32 and have a
        batch size of one.

    Raises:
        conversion.ConversionError: OpenVINO is missing or cannot take this network.
        ValueError: the `.keras` file is unsafe, damaged or does not fit run.json.
    """
    conversion.import_openvino()
    name = folder_name(run, stream)
    run_digest = _digest(str(run.folder.resolve()).encode())[:16]
    places = [run.folder / "openvino" / name, cache_dir() / run_digest / name]
    for place in places:
        parts = load_parts(place, run, stream, stepwise)
        if parts:
            return parts
    print(f"openvino: converting {stream}, once per network ...", file=sys.stderr, flush=True)
    with telling(f"openvino: still converting {stream} ..."):
        return _convert(run, stream, stepwise, places)


def _convert(run, stream, stepwise, places):
    """`compiled_parts` of a network that is in none of the places; kept where it can be."""
    model = open_network(run.model_file(stream), input_shape(run, stream), len(run.signs))
    models = conversion.convert(model, stepwise=True)
    for part in models.values():
        winograd.rewrite(part)
    for place in places:
        with contextlib.suppress(OSError):
            store(models, place)
            parts = load_parts(place, run, stream, stepwise)
            if parts:
                return parts
    return {
        name: conversion.compile_model(model)
        for name, model in models.items()
        if stepwise or name not in STEP_FRAMES
    }


def cache_dir():
    """The user's folder for networks of runs that cannot be written to."""
    return disk.user_dir("XDG_CACHE_HOME", ".cache") / "i3d" / "openvino"


def input_shape(run, stream):
    """`(num_frames, height, width, channels)` of one input."""
    return run.preset.num_frames, *run.preset.input_size, network_input.CHANNELS[stream]


def folder_name(run, stream, model_format=FORMAT):
    """`<stream>-<digest>`: of the bytes of the `.keras` file and the way it is converted."""
    content = run.model_file(stream).read_bytes()
    return f"{stream}-{hashlib.sha256(content + bytes([model_format])).hexdigest()[:16]}"


def int8_dir(run, stream):
    """Where export.py puts the stream's 8-bit network."""
    return run.folder / "int8" / folder_name(run, stream, INT8_FORMAT)


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
    openvino = conversion.import_openvino()
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


def load_parts(place, run, stream, stepwise=False):
    """The compiled parts in the folder `place`; None where they are missing, damaged or misfit."""
    try:
        digests = json.loads((place / CONTENTS_FILE).read_text(encoding="utf-8"))
        names = [name.removesuffix(".xml") for name in digests if name.endswith(".xml")]
        wanted = [name for name in names if stepwise or name not in STEP_FRAMES]
        parts = {name: _load_part(place, name, digests) for name in wanted}
    except (OSError, ValueError, AttributeError, KeyError, RuntimeError):
        return None
    return parts if _fits(parts, input_shape(run, stream), len(run.signs)) else None


def _load_part(place, name, digests):
    """From the compiled file where there is one for this machine, else from the model."""
    openvino = conversion.import_openvino()
    compiled_file = place / f"{name}-{_machine_digest()}.compiled"
    with contextlib.suppress(OSError, ValueError, RuntimeError):
        return openvino.Core().import_model(
            _read_checked(compiled_file), "CPU", conversion.SETTINGS
        )
    for suffix in (".xml", ".bin"):
        if _digest((place / (name + suffix)).read_bytes()) != digests[name + suffix]:
            raise ValueError(f"{place / (name + suffix)} is damaged.")
    compiled = conversion.compile_model(openvino.Core().read_model(place / f"{name}.xml"))
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
    openvino = conversion.import_openvino()
    processor = openvino.Core().get_property("CPU", "FULL_DEVICE_NAME")
    capabilities = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    facts = [openvino.get_version(), processor, *capabilities, json.dumps(conversion.SETTINGS)]
    return _digest("\n".join(facts).encode())[:16]


def _digest(content):
    return hashlib.sha256(content).hexdigest()


def _fits(parts, clip_shape, num_classes):
    """Whether the compiled parts, one after the other, map such clips to so many classes."""
    shapes = {
        name: (tuple(part.input(0).shape), tuple(part.output(0).shape))
        for name, part in parts.items()
    }
    answer = (1, num_classes)
    if FRAME in shapes and REST in shapes:
        frame_input, features = shapes[FRAME]
        rest_input = (1, clip_shape[0], *features[1:])
        return frame_input == (1, *clip_shape[1:]) and shapes[REST] == (rest_input, answer)
    steps = shapes.keys() & STEP_FRAMES.keys()
    steps_fit = all(
        shapes[name][0] == (1, STEP_FRAMES[name], *clip_shape[1:]) for name in steps
    ) and len(steps) in (0, len(STEP_FRAMES))
    steps_answer = shapes.get(TAIL, (None, answer))[1] == answer
    return steps_fit and steps_answer and shapes.get(WHOLE) == ((1, *clip_shape), answer)
