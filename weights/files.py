"""Reads I3D weights from every format that they are published in, recognised by content.

    stored = files.read("rgb_imagenet.pt")
    stored.layers["Conv3d_1a_7x7_conv"]["kernel"]      # float32 (7, 7, 7, 3, 64)

Keras-2 HDF5, TensorFlow-1 checkpoints of DeepMind's kinetics-i3d, PyTorch state dicts (wherever in
a checkpoint they are, behind any prefix), the same as safetensors, and this project's own `.keras`
files. Nothing that a file holds is run.
"""

import contextlib
import dataclasses
import hashlib
import io
import json
import zipfile
from pathlib import Path

import numpy as np

from common.slow_imports import import_keras
from i3d.shapes import (
    DISCRIMINANT,
    EVEN_OUT,
    STEM_CONVOLUTION,
    STEM_FILTERS,
    STREAM_OF_CHANNELS,
    TOP_CONVOLUTION,
)
from weights import safetensors_file, torch_file
from weights.keras_file import check_model_file
from weights.names import find_network, fold_gammas, from_tensorflow, from_torch

HDF5_START = b"\x89HDF\r\n\x1a\n"
ZIP_START = b"PK\x03\x04"
TENSORFLOW_INDEX_END = bytes.fromhex("57fb808b247547db")
LFS_START = b"version https://git-lfs."
TAR_MAGIC_OFFSET, TAR_MAGIC = 257, b"ustar"
# The order of a layer's arrays by the end of its name and their number.
KERAS3_ORDER = {
    ("conv", 1): ("kernel",),
    ("conv", 2): ("kernel", "bias"),
    ("bn", 3): ("beta", "moving_mean", "moving_variance"),
    ("bn", 4): ("gamma", "beta", "moving_mean", "moving_variance"),
}
MAX_VALUES = 10**8  # of one array: more than all of I3D has
KINDS = (
    "a Keras HDF5 weight file, a TensorFlow checkpoint, a PyTorch state dict, a safetensors file "
    "or a .keras file of this project"
)
# What h5py raises where a file is cut off or is something else.
HDF5_DAMAGE = (AttributeError, KeyError, OSError, RuntimeError, TypeError, ValueError)

# What TensorFlow's reader raises beside its own errors.
TENSORFLOW_DAMAGE = (LookupError, MemoryError, RuntimeError, TypeError, ValueError)


@dataclasses.dataclass
class StoredWeights:
    """`layers` is {Keras layer: {weight: float32 array}}; `paths` are the files that it is in.

    `beside` is {name: shape} of tensors that lie beside the network, such as another head's.
    `discriminant` is what makes features comparable, {"kernel", "bias"} of
    `pretraining.discriminant`, where the file has it. `even_out` tells whether the network has
    learned to see clips as `model_i3d.EvenOut` makes them.
    """

    format: str
    layers: dict
    paths: list
    beside: dict = dataclasses.field(default_factory=dict)
    discriminant: dict | None = None
    even_out: bool = False

    @property
    def stream(self):
        """Either "rgb" or "flow", or None where the first convolution is missing."""
        return STREAM_OF_CHANNELS.get(self._stem_shape()[3])

    @property
    def width_multiplier(self):
        return self._stem_shape()[4] / STEM_FILTERS

    @property
    def num_classes(self):
        """Of the classification layer, or None."""
        bias = self.layers.get(TOP_CONVOLUTION, {}).get("bias")
        return None if bias is None else bias.size

    @property
    def num_parameters(self):
        return sum(array.size for layer in self.layers.values() for array in layer.values())

    def shapes(self):
        """{layer: {weight: shape}}."""
        return {
            layer: {name: array.shape for name, array in weights.items()}
            for layer, weights in self.layers.items()
        }

    def _stem_shape(self):
        kernel = self.layers.get(STEM_CONVOLUTION, {}).get("kernel")
        return (0,) * 5 if kernel is None or kernel.ndim != 5 else kernel.shape


def read(path):
    """The weights in a file.

    Args:
        path: file of any of `KINDS`; a TensorFlow checkpoint is named by its prefix, its `.index`
            or one of its `.data-...` files.

    Returns:
        `StoredWeights`.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: it is none of these, damaged, or would run code.
    """
    path = checkpoint_index(Path(path))
    with path.open("rb") as file:
        start = file.read(512)
        file.seek(max(0, path.stat().st_size - len(TENSORFLOW_INDEX_END)))
        end = file.read()
    if start.startswith(HDF5_START):
        layers = _read_hdf5(path)
        discriminant, even_out = layers.pop(DISCRIMINANT, None), EVEN_OUT in layers
        layers.pop(EVEN_OUT, None)
        return StoredWeights("Keras HDF5", layers, [path], {}, discriminant, even_out)
    if end == TENSORFLOW_INDEX_END:
        return _read_tensorflow(path)
    if start.startswith(ZIP_START) and _is_keras(path):
        layers, even_out = _read_keras(path)
        return StoredWeights("Keras 3, of this project", layers, [path], even_out=even_out)
    if start.startswith((ZIP_START, torch_file.LEGACY_START)):
        return _read_torch(path, "PyTorch state dict", torch_file)
    if safetensors_file.is_safetensors(start):
        return _read_torch(path, "safetensors", safetensors_file)
    raise ValueError(f"{path} is not {_what_it_is(start)}")


def checkpoint_index(path):
    """The `.index` of a TensorFlow checkpoint that is named by its prefix or its data; else `path`.

    Raises:
        FileNotFoundError: nothing is there.
    """
    prefix = path.with_name(path.name.rpartition(".data-")[0] or path.name)
    index = prefix.with_name(f"{prefix.name}.index")
    if index.is_file() and (prefix != path or not path.is_file()):
        return index
    if not path.is_file():
        raise FileNotFoundError(f"No file {path} (nor {index.name} beside it).")
    return path


def sha256(path):
    """Hexadecimal digest of a file's content."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(path):
    """What tells weights apart: the SHA-256 of their file, or "none" for random ones."""
    return sha256(path) if path else "none"


def write_keras2(layers, path):
    """Writes weights as the published files are laid out: Keras-2 HDF5, one group per layer.

    Args:
        layers: {layer: {weight: array}}.
        path: the file appears whole or not at all.
    """
    partial = path.with_name(f".partial-{path.name}")
    try:
        with _open_hdf5(partial, "w") as file:
            file.attrs["layer_names"] = [name.encode() for name in layers]
            for layer, weights in layers.items():
                group = file.create_group(layer)
                names = {name: f"{layer}/{name}:0" for name in weights}
                group.attrs["weight_names"] = [name.encode() for name in names.values()]
                for name, array in weights.items():
                    group[names[name]] = array
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _open_hdf5(path, mode):
    import h5py  # here, for most programs that name weights read none

    return h5py.File(path, mode)


def _read_hdf5(path):
    """The layers of a Keras-2 weight file, or of a whole model that Keras saved as HDF5."""
    try:
        with _open_hdf5(path, "r") as file:
            root = file["model_weights"] if "model_weights" in file else file
            if "layer_names" not in root.attrs and "layers" in root:
                return _keras3_layers(file)
            layers = {}
            for layer in map(_text, root.attrs["layer_names"]):
                names = map(_text, root[layer].attrs["weight_names"])
                arrays = {_last_part(name): _array(root[layer][name]) for name in names}
                layers[layer] = arrays
    except HDF5_DAMAGE as error:
        raise ValueError(f"{path} is not a whole Keras HDF5 weight file: {error}") from error
    fold_gammas(layers)
    return {layer: arrays for layer, arrays in layers.items() if arrays or layer == EVEN_OUT}


def _is_keras(path):
    try:
        with zipfile.ZipFile(path) as archive:
            return "model.weights.h5" in archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


def _read_keras(path):
    check_model_file(path)
    try:
        with zipfile.ZipFile(path) as archive:
            content = io.BytesIO(archive.read("model.weights.h5"))
            names = [
                layer["name"]
                for layer in json.loads(archive.read("config.json"))["config"]["layers"]
            ]
        with _open_hdf5(content, "r") as file:
            return _keras3_layers(file), EVEN_OUT in names
    except (*HDF5_DAMAGE, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is not a whole .keras file: {error}") from error


def _keras3_layers(file):
    """Keras 3 numbers a layer's arrays, and writes the layer's name beside them."""
    layers = {}
    for group in file["layers"].values():
        arrays = group["vars"]
        if len(arrays):
            layer = _text(arrays.attrs["name"])
            names = KERAS3_ORDER.get((layer.rpartition("_")[2], len(arrays)), sorted(arrays))
            layers[layer] = {
                name: _array(arrays[number])
                for number, name in zip(sorted(arrays), names, strict=True)
            }
    fold_gammas(layers)
    return layers


def _read_tensorflow(path):
    """A checkpoint is `<prefix>.index` and `<prefix>.data-<number>-of-<number>`."""
    import_keras()  # TensorFlow without its notes on the terminal
    import tensorflow

    prefix = path.with_name(path.name.removesuffix(".index"))
    paths = [path, *sorted(path.parent.glob(f"{prefix.name}.data-?????-of-?????"))]
    if len(paths) == 1:
        raise FileNotFoundError(f"{path} has its numbers in {prefix}.data-*, which is not there.")
    try:
        reader = tensorflow.train.load_checkpoint(str(prefix))
        shapes = reader.get_variable_to_shape_map()
        if any(np.prod(shape) > MAX_VALUES for shape in shapes.values()):
            raise ValueError("a variable is too large for I3D")
        variables = {name: reader.get_tensor(name) for name in sorted(shapes)}
        layers = from_tensorflow(variables)
    except (tensorflow.errors.OpError, *TENSORFLOW_DAMAGE) as error:
        raise ValueError(f"{path} is not a whole checkpoint of I3D: {error}") from error
    return StoredWeights("TensorFlow checkpoint", layers, paths)


def _read_torch(path, name_of_format, reader):
    """Tensors that are named as in PyTorch; those that are not the network's are not read."""
    shapes = reader.tensor_shapes(path)
    with _one_network(path):
        prefix, names, beside = find_network(shapes)
    tensors = reader.read_state_dict(path, names)
    with _one_network(path):
        layers = from_torch(tensors, prefix)
    return StoredWeights(name_of_format, layers, [path], {name: shapes[name] for name in beside})


@contextlib.contextmanager
def _one_network(path):
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path} is not the state dict of one I3D: {error}.") from error


def _what_it_is(start):
    """The end of a sentence that begins with "FILE is not"."""
    if start.lstrip()[:1] == b"<":
        found = "it is a web page; download the file itself"
    elif start.startswith(LFS_START):
        found = "it is what Git LFS keeps in the place of a file; download the file itself"
    elif start[TAR_MAGIC_OFFSET:].startswith(TAR_MAGIC) or start.startswith(b"\x1f\x8b"):
        found = "it is an archive; unpack it, or save it anew with a PyTorch of 2017 or later"
    elif start.startswith(b"\x80"):
        found = f"it is a pickle that PyTorch did not write. {torch_file.SAVE_ANEW}"
    else:
        found = "it is empty" if not start else f"it begins with {start[:8]}"
    return f"{KINDS}: {found}."


def _array(dataset):
    if dataset.size > MAX_VALUES:
        raise ValueError(f"{dataset.name} is too large for I3D")
    return np.asarray(dataset, np.float32)


def _last_part(name):
    """Of "Conv3d_1a_7x7_bn/beta:0", it is "beta"."""
    return name.rpartition("/")[2].partition(":")[0]


def _text(name):
    return name.decode() if isinstance(name, bytes) else str(name)
