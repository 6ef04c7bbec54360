"""Finds I3D weights, downloads the published ones, and loads them into a network.

    python i3d_weights.py download
    python i3d_weights.py inspect FILE
    python i3d_weights.py convert FILE OUT.h5

The published files are those of github.com/dlpbc/keras-kinetics-i3d, release v0.2: I3D trained on
ImageNet and Kinetics. Where they do not come, DeepMind's own checkpoints are downloaded, of
github.com/google-deepmind/kinetics-i3d. FILE is one of these, a PyTorch checkpoint with I3D
anywhere in it, the same as .safetensors, or a network or run of this project. Importing this module
does not import Keras.
"""

from common import command_line  # isort: split

import re
from pathlib import Path

from common.network_input import STREAMS
from i3d.shapes import (
    CHANNELS_OF_STREAM,
    DISCRIMINANT,
    EVEN_OUT,
    OTHER_STREAM,
    STEM_CONVOLUTION,
    TOP_CONVOLUTION,
    differences,
    weight_shapes,
)
from weights import files, fit, kinetics
from weights.kinetics import FILE_NAME

RELEASE_URL = "https://github.com/dlpbc/keras-kinetics-i3d/releases/download/v0.2"
CHECKPOINT_URL = (
    "https://raw.githubusercontent.com/google-deepmind/kinetics-i3d/master/data/checkpoints"
)
FILE_HELP = (
    "a file: Keras .h5, TensorFlow checkpoint, PyTorch state dict or checkpoint, .safetensors, "
    ".keras; a folder with one for each stream, such as a run's; kinetics; or signs"
)
SIGNS = "signs"  # what a small network has learned from drawn people, see pretrain.py
SIGNS_DIR = Path(__file__).parent / "weights" / "laptop"
RUNS = Path("model")
# Beside weights in a folder, but not to be named as weights.
COMPANIONS = (".meta", ".sha256", ".txt", ".md", ".json", ".npy")


def find_weights(weights, stream, from_other_stream=False, with_top=False, base_url=None):
    """The file that `--weights` means for one stream; published ones are downloaded.

    Args:
        weights: "kinetics"; "signs", those of drawn people that come with the project; or the path
            of a file, or of a folder that holds the published files, one file or checkpoint with
            the stream's name in its own, or a run of this project.
        stream: "rgb" or "flow".
        from_other_stream: where a folder has no weights of `stream`, take the other's.
        with_top: of "kinetics", the files with the head of 400 classes.
        base_url: folder of the published files, by default `RELEASE_URL`; what does not come from
            there is asked of `CHECKPOINT_URL`.

    Returns:
        `Path` of an existing file.

    Raises:
        FileNotFoundError: it is not there; the message says where to get it and where to put it.
        ValueError: a published file is damaged or not what was downloaded first; or a folder
            holds several that could be meant.
    """
    if weights == "kinetics":
        return kinetics.find(stream, base_url or RELEASE_URL, CHECKPOINT_URL, with_top)
    path = SIGNS_DIR if weights == SIGNS else Path(weights)
    if not path.exists() and (RUNS / path / "run.json").is_file():
        path = RUNS / path  # the bare name of a run
    if not path.is_dir():
        return files.checkpoint_index(path)
    for wanted in (stream, OTHER_STREAM[stream])[: 2 if from_other_stream else 1]:
        if found := _in_folder(path, wanted):
            return found
    raise FileNotFoundError(
        f"No weights of the {stream} stream in {path}. Expected is {stream}.keras of a run, or one "
        f"file or checkpoint with `{stream}` in its name; or name the file itself."
    )


def load_weights(model, path, with_top=True, from_other_stream=False):
    """Loads weights by layer name, all of them or none.

    A network for other classes than the file's keeps its own classification layer. One of
    `build_i3d(..., top="kinetics")` must find its head in the file.

    Args:
        model: a network of `model_i3d.build_i3d`.
        path: file of any format that `files.read` knows.
        with_top: load a classification layer of the same shape, too.
        from_other_stream: take weights of the other stream where the file holds those, with the
            input channels of the first convolution averaged (see `fit.change_stream`).

    Raises:
        FileNotFoundError: it is not there.
        ValueError: it is no such file, or layers or shapes differ, or values are not finite; the
            message lists what differs, and the network is unchanged.
    """
    expected = {
        layer.name: {weight.name: tuple(weight.shape) for weight in layer.weights}
        for layer in model.layers
        if layer.weights
    }
    stored = files.read(path)
    gives_logits = model.layers[-1].name == "logits"
    is_same_top = expected.get(TOP_CONVOLUTION) == stored.shapes().get(TOP_CONVOLUTION)
    if not gives_logits and not (with_top and is_same_top):
        expected.pop(TOP_CONVOLUTION, None)
    layers = fit.fitting_layers(stored, expected, from_other_stream)
    for layer in model.layers:
        if layer.name in layers:
            layer.set_weights([layers[layer.name][weight.name] for weight in layer.weights])


def directions(weights, stream):
    """In what features of a network with these weights signs differ.

    Args:
        weights, stream: as of `find_weights`.

    Returns:
        float32 `(features, directions)`, of `pretraining.discriminant`; None where it is not known.
    """
    layer = files.read(find_weights(weights, stream)).discriminant
    return layer and layer["kernel"]


def refuse_other_width(weights, preset):
    """Raises ValueError where these are Kinetics weights and the preset's network is narrower."""
    if weights == "kinetics" and preset.width_multiplier != 1:
        raise ValueError(
            f"The Kinetics weights are those of a network of width 1, that of --preset "
            f"{preset.name} is {preset.width_multiplier:g}. Use `--preset full`."
        )


def check_weights(path, stream, width_multiplier, from_other_stream=False):
    """Checks, without Keras, that a network of `stream` can begin with the weights in `path`.

    Raises:
        FileNotFoundError, ValueError: as in `load_weights`.
    """
    expected = weight_shapes(CHANNELS_OF_STREAM[stream], width_multiplier)
    fit.fitting_layers(files.read(path), expected, from_other_stream)


def convert(source, target, stream=None, other_stream=False):
    """Writes weights of any format as Keras-2 HDF5, laid out as the published files are.

    Args:
        source: "kinetics", a file, or with `stream` a folder.
        target: path that does not exist yet.
        other_stream: turn RGB's weights into weights for flow, or flow's into RGB's.

    Returns:
        `files.StoredWeights` of what was written.

    Raises:
        FileNotFoundError, FileExistsError: `source` is not there, or `target` is.
        ValueError: `source` is not a whole I3D.
    """
    target = Path(target)
    if target.exists():
        raise FileExistsError(f"{target} exists already. Delete it, or name another file.")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"No folder {target.parent} to write {target.name} into.")
    stored = _read_any(source, stream)
    expected = _own_shapes(stored)
    layers = fit.fitting_layers(stored, expected)
    if other_stream:
        layers = fit.change_stream(layers)
    written = {name: layers[name] for name in expected}
    if stored.discriminant and not other_stream:
        written[DISCRIMINANT] = stored.discriminant
    if stored.even_out:
        written[EVEN_OUT] = {}
    files.write_keras2(written, target)
    return files.read(target)


def describe(source, stream=None):
    """What `inspect` prints, as text lines, and the list of what is wrong with the weights."""
    stored = _read_any(source, stream)
    num_classes = stored.num_classes
    lines = [
        f"format       {stored.format}",
        f"stream       {stored.stream or 'unknown'}",
        f"width        {stored.width_multiplier:g}",
        f"head         {f'{num_classes} classes' if num_classes else 'none'}",
        f"layers       {len(stored.layers)} with weights",
        f"parameters   {stored.num_parameters:,}",
    ]
    if stored.discriminant:
        num_directions = stored.discriminant["bias"].size
        lines.append(f"compared     in {num_directions} directions in which signs differ")
    if stored.even_out:
        lines.append("sees         every clip in the same contrast or amount of motion")
    if stored.beside:
        beside = [f"{name} {tuple(shape)}" for name, shape in stored.beside.items()]
        lines.append(f"left out     {', '.join(fit.shorten(beside))}")
    lines += [f"sha256       {files.sha256(path)}  {path.name}" for path in stored.paths]
    if stored.stream is None:
        return lines, [f"no convolution {STEM_CONVOLUTION} of 2 or 3 channels"]
    return lines, differences(stored.layers, _own_shapes(stored))


def _in_folder(folder, stream):
    """The one file in a folder that can be meant for a stream, or None."""
    for name in (f"{stream}.keras", FILE_NAME.format(stream)):
        if (folder / name).is_file():
            return folder / name
    entries = [
        path
        for path in sorted(folder.iterdir())
        if not path.name.startswith(".") and path.suffix not in COMPANIONS
    ]
    indices = [path for path in entries if path.suffix == ".index"]
    named = [
        path
        for path in entries
        if re.search(rf"(^|[^a-z]){stream}([^a-z]|$)", path.name.lower())
        and ".data-" not in path.name
    ]
    candidates = named or (indices if len(indices) == 1 else [])
    if len(candidates) > 1:
        names = ", ".join(path.name for path in candidates)
        raise ValueError(
            f"{folder} holds several weights of the {stream} stream: {names}. Name one."
        )
    if candidates and candidates[0].is_dir():
        return _in_folder(candidates[0], stream)
    return candidates[0] if candidates else None


def _read_any(source, stream):
    if source != "kinetics" and not Path(source).is_dir():
        return files.read(source)
    if stream is None:
        raise ValueError(f"{source} stands for two streams: add `--stream rgb` or `--stream flow`.")
    return files.read(find_weights(source, stream))


def _own_shapes(stored):
    """What I3D of the stored stream, width and number of classes consists of."""
    channels = CHANNELS_OF_STREAM.get(stored.stream, 3)
    return weight_shapes(channels, stored.width_multiplier or 1.0, stored.num_classes)


def _print_description(source, stream, with_layers):
    lines, problems = describe(source, stream)
    print("\n".join(lines))
    if with_layers:
        for layer, weights in _read_any(source, stream).shapes().items():
            print(f"  {layer}: {', '.join(f'{name} {shape}' for name, shape in weights.items())}")
    print(f"complete     {'no' if problems else 'yes'}")
    for problem in fit.shorten(problems):
        print(f"  {problem}")
    return 1 if problems else 0


def _add_commands(commands):
    fetch = commands.add_parser(
        "download", help="fetch the published Kinetics weights, from GitHub"
    )
    fetch.add_argument("--with-top", action="store_true", help="those with 400 classes")
    inspect = commands.add_parser("inspect", help="say what a file holds")
    inspect.add_argument("file", help=FILE_HELP)
    inspect.add_argument("--layers", action="store_true", help="list all layers and shapes")
    change = commands.add_parser("convert", help="write weights as Keras-2 HDF5")
    change.add_argument("file", help=FILE_HELP)
    change.add_argument("out", help="HDF5 file to write, such as rgb.h5")
    change.add_argument(
        "--to-other-stream",
        action="store_true",
        help="RGB weights for flow, or flow weights for RGB: input channels averaged and scaled",
    )
    for command in (fetch, inspect, change):
        command.add_argument("--stream", choices=STREAMS, help="of a folder or of kinetics")


def main(argv=None):
    parser = command_line.make_parser(__doc__)
    _add_commands(parser.add_subparsers(dest="command", required=True))
    args = parser.parse_args(argv)
    if args.command == "inspect":
        return _print_description(args.file, args.stream, args.layers)
    if args.command == "convert":
        stored = convert(args.file, args.out, args.stream, args.to_other_stream)
        print(f"{args.out}: {stored.stream}, {stored.num_parameters:,} parameters")
        return 0
    for stream in STREAMS if args.stream is None else (args.stream,):
        print(find_weights("kinetics", stream, with_top=args.with_top))
    return 0


if __name__ == "__main__":
    command_line.run(main, goes_on="")
