"""A trained run for other runtimes, and in 8 bits for faster answers on a CPU.

    python export.py --model model/<run> --format onnx         or savedmodel, or openvino
    python export.py --model model/<run> --int8

reads   model/<run>/; with --int8 also data_temp/<dataset>/<preset>/{frame,oflow}/{train,val}/
writes  model/<run>/export/<stream>.onnx, <stream>-savedmodel/ or <stream>-openvino/
        model/<run>/int8/, which `predict.py --engine int8` uses

Whatever is written has been loaded again and answers as Keras does. The 8-bit networks are
calibrated on training clips and kept only if they lose at most one point of top-1 on the validation
clips. ONNX and --int8 need `pip install -r requirements-export.txt`.
"""

from common import command_line  # isort: split

import importlib
import importlib.util
import os
import sys
import warnings

import numpy as np

import evaluate
import opticalflow
import predict
from common import disk, network_input
from common.command_line import telling
from common.slow_imports import import_keras
from inference import conversion, converted_files, engine, run_folder
from inference.clip import FRAME, WHOLE
from inference.saved_network import open_network

TOLERANCE = 1e-4  # largest difference from Keras, in probability
NUM_COMPARED_CLIPS = 2
NUM_CALIBRATION_CLIPS = 24
MAX_LOSS = 0.01  # of top-1 on the validation clips
INSTALL = "Install it: `pip install -r requirements-export.txt`."
PACKAGES = {"onnx": ("onnx", "tf2onnx", "onnxruntime"), "int8": ("nncf",)}


def export(run_dir, file_format):
    """Exports all streams of a run, float32, any batch size (OpenVINO: one).

    Args:
        run_dir: folder of a trained run.
        file_format: a key of `FORMATS`.

    Returns:
        The paths that were written.

    Raises:
        FileNotFoundError: no run, or no network in it.
        ModuleNotFoundError: the format needs a package that is not installed.
        ValueError: a network is refused, or its export does not answer as Keras does; nothing of
            that stream is written then.
    """
    suffix, write, load = FORMATS[file_format]
    run = run_folder.Run.read(run_dir)
    streams = _streams(run)
    require(file_format)
    folder = run.folder / "export"
    folder.mkdir(exist_ok=True)
    paths = []
    for stream in streams:
        words = f"export: writing {stream} and comparing it with Keras ..."
        with disk.partial_dir(folder) as partial, telling(words):
            shape = converted_files.input_shape(run, stream)
            model = open_network(run.model_file(stream), shape, len(run.signs))
            path = partial / f"{stream}{suffix}"
            write(model, path)
            difference = compare(load(path), model)
            disk.remove(folder / path.name)
            os.replace(path, folder / path.name)
        paths.append(folder / path.name)
        print(f"{paths[-1]}: loaded again, differs from Keras by {difference:.0e}")
    return paths


def compare(loaded, model):
    """The largest difference in probability on random clips.

    Args:
        loaded: function from one clip `(1, num_frames, ...)` to `(1, num_classes)`.
        model: `keras.Model`.

    Raises:
        ValueError: it is above `TOLERANCE`.
    """
    random = np.random.default_rng(0)
    shape = (NUM_COMPARED_CLIPS, *model.input_shape[1:])
    clips = random.uniform(-1, 1, shape).astype(np.float32)
    answers = np.concatenate([np.asarray(loaded(clip[None])) for clip in clips])
    difference = np.abs(answers - model.predict_on_batch(clips)).max()
    if not difference <= TOLERANCE:  # also where it is no number
        raise ValueError(
            f"The exported network differs from Keras by {difference:.2g} in probability; at most "
            f"{TOLERANCE:g} is allowed. It is not written."
        )
    return difference


def export_int8(run_dir):
    """Quantises all streams of a run to 8 bits, for `predict.py --engine int8`.

    Args:
        run_dir: folder of a trained run.

    Returns:
        (top-1 on the validation clips before, after).

    Raises:
        FileNotFoundError: no run, or no stored clips.
        ModuleNotFoundError: NNCF is not installed.
        ValueError: there are no validation clips, or top-1 falls by more than `MAX_LOSS`; nothing
            is written then.
    """
    run = run_folder.Run.read(run_dir)
    _streams(run)
    require("int8")
    splits = evaluate.stored_splits(run)
    for split in ("train", "val"):
        if not splits[split]:
            raise ValueError(f"{run.folder}: no {split} clips. 8 bits need some to be judged.")
    recognizer = predict.Recognizer(run_dir, "openvino")
    before = _top1(recognizer, splits["val"])
    folder = run.folder / "int8"
    folder.mkdir(exist_ok=True)
    with disk.partial_dir(folder) as partial:
        for stream in run.streams:
            place = partial / converted_files.int8_dir(run, stream).name
            clips = _calibration_clips(run, stream, splits["train"])
            with telling(f"export: converting {stream} to 8 bits ..."):
                converted_files.write_parts(quantise(_converted(run, stream), clips), place)
            parts = converted_files.load_parts(place, run, stream)
            recognizer.networks[stream] = engine.compiled_network(parts)
        after = _top1(recognizer, splits["val"])
        _check_loss(before, after, len(splits["val"]))
        for stream in run.streams:
            name = converted_files.int8_dir(run, stream).name
            converted_files.put_in_place(partial / name, folder / name)
    print(f"{folder}: accepted. Use it: `python predict.py --engine int8 ...`")
    return before, after


def quantise(models, clips):
    """Converts {part: `openvino.Model`} to 8 bits; the part after single frames stays float32.

    Args:
        models: see `conversion.convert`.
        clips: float32 `(number, num_frames, height, width, channels)`, or a list of clips.

    Returns:
        {part: `openvino.Model`}.
    """
    conversion.import_openvino()
    import nncf

    name = WHOLE if WHOLE in models else FRAME
    items = [item[None] for clip in clips for item in (clip if name != WHOLE else [clip])]
    quantised = nncf.quantize(models[name], nncf.Dataset(items), subset_size=len(items))
    return {**models, name: quantised}


def require(purpose):
    """Imports what a format or "int8" needs, without a word of theirs.

    Raises:
        ModuleNotFoundError: it is not installed; the message names the command.
    """
    packages = PACKAGES.get(purpose, ())
    for package in packages:  # before anything that takes seconds
        if importlib.util.find_spec(package) is None:
            raise ModuleNotFoundError(f"{purpose} needs {package}. {INSTALL}")
    conversion.import_openvino()  # before NNCF, which would report its use
    import_keras()  # before tf2onnx, which would let TensorFlow talk
    with warnings.catch_warnings(), telling(f"export: {purpose} is being imported ..."):
        warnings.simplefilter("ignore")
        for package in packages:
            try:
                importlib.import_module(package)
            except ImportError as error:
                raise ModuleNotFoundError(
                    f"{purpose} needs {package} ({error}). {INSTALL}"
                ) from error


def _streams(run):
    if run.architecture == run_folder.NEAREST:
        raise ValueError(f"{run.folder} compares clips: it has no network to export.")
    if not run.streams:
        raise FileNotFoundError(f"{run.folder} has no network yet. Its training is unfinished.")
    return run.streams


def _top1(recognizer, clips):
    """{stream or "fused": top-1}, printed by `_check_loss`."""
    streams, classes = evaluate.score(recognizer, clips)
    scores = {**streams, "fused": recognizer.fuse(streams)}
    return {
        name: float(np.mean(values.argmax(axis=1) == classes)) for name, values in scores.items()
    }


def _check_loss(before, after, num_clips):
    print(f"top-1 on {num_clips} validation clips:")
    for name in before:
        print(f"  {name:8} float32 {before[name]:.3f}  8 bits {after[name]:.3f}")
    if before["fused"] - after["fused"] > MAX_LOSS + 1e-9:
        raise ValueError(
            f"The 8-bit networks are refused: fused top-1 falls from {before['fused']:.3f} to "
            f"{after['fused']:.3f}, by more than {MAX_LOSS:.2f}. Nothing is written."
        )


def _calibration_clips(run, stream, clips):
    """Inputs of training clips, evenly picked among all signs."""
    dataset = run.clips_of()
    number = min(NUM_CALIBRATION_CLIPS, len(clips))
    picked = [sorted(clips)[index * len(clips) // number] for index in range(number)]
    return [
        network_input.stream_input(
            stream,
            opticalflow.load_clip(stream, dataset.stored_dir(stream) / clip.place()),
            *run.preset.input_size,
        )
        for clip in picked
    ]


def _converted(run, stream):
    shape = converted_files.input_shape(run, stream)
    model = open_network(run.model_file(stream), shape, len(run.signs))
    return conversion.convert(model)


def _write_savedmodel(model, path):
    conversion.plain_layers(model).export(path, format="tf_saved_model", verbose=False)


def _load_savedmodel(path):
    import tensorflow

    serve = tensorflow.saved_model.load(path).signatures["serving_default"]
    (name,) = serve.structured_input_signature[1]
    return lambda clip: next(iter(serve(**{name: tensorflow.constant(clip)}).values()))


def _write_onnx(model, path):
    keras = import_keras()
    signature = [keras.InputSpec(shape=model.input_shape, dtype="float32", name="clip")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of Keras' about NumPy
        conversion.plain_layers(model).export(
            path, format="onnx", verbose=False, input_signature=signature
        )


def _load_onnx(path):
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda clip: session.run(None, {name: clip})[0]


def _write_openvino(model, path):
    whole = conversion.to_openvino(conversion.plain_layers(model))
    converted_files.write_parts({WHOLE: whole}, path)


def _load_openvino(path):
    model = conversion.import_openvino().Core().read_model(path / f"{WHOLE}.xml")
    compiled = conversion.compile_model(model)
    return lambda clip: compiled(clip)[0]


# {format: (suffix of the output, function that writes a Keras model, function that loads it)}
FORMATS = {
    "savedmodel": ("-savedmodel", _write_savedmodel, _load_savedmodel),
    "onnx": (".onnx", _write_onnx, _load_onnx),
    "openvino": ("-openvino", _write_openvino, _load_openvino),
}


def main(argv=None):
    parser = command_line.make_parser(__doc__)
    command_line.add_flags(parser, {"model": run_folder.MODEL_OPTION})
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--format", choices=FORMATS, help="export float32 networks")
    what.add_argument("--int8", action="store_true", help="make 8-bit networks for predict.py")
    args = parser.parse_args(argv)
    run_dir = run_folder.find(args.model)
    try:
        export_int8(run_dir) if args.int8 else export(run_dir, args.format)
    except ModuleNotFoundError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    command_line.run(main, goes_on="")
