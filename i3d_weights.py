"""Loads published I3D weights into a network of `model_i3d.py`.

The published files are Keras-2 HDF5 (one group per layer) of github.com/dlpbc/keras-kinetics-i3d,
release v0.2: I3D without its top, trained on ImageNet and Kinetics.
"""

import os
from pathlib import Path

import h5py
import numpy as np

RELEASE_URL = "https://github.com/dlpbc/keras-kinetics-i3d/releases/download/v0.2"
FILE_NAME = "{}_inception_i3d_imagenet_and_kinetics_tf_dim_ordering_tf_kernels_no_top.h5"
MAX_LISTED = 10


def find_weights(weights, stream):
    """The file that `--weights` means for one stream.

    Args:
        weights: "kinetics", or the path of a file, or of a folder that holds the published files.
        stream: "rgb" or "flow".

    Returns:
        `Path` of an existing file.

    Raises:
        FileNotFoundError: it is not there; the message says where to get it and where to put it.
    """
    name = FILE_NAME.format(stream)
    path = cache_dir() / name if weights == "kinetics" else Path(weights)
    if path.is_dir():
        path = path / name
    if path.is_file():
        return path
    if weights == "kinetics":
        raise FileNotFoundError(
            f"The Kinetics weights of the {stream} stream are not there. Download "
            f"{RELEASE_URL}/{name} into {cache_dir()}, or train from random weights with "
            "`--weights none`."
        )
    raise FileNotFoundError(f"No file {path} (--weights {weights}).")


def cache_dir():
    """The user's folder for downloaded weights."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "i3d"


def load_weights(model, path):
    """Loads weights by layer name.

    Layers of the model that the file lacks keep their values if they are the classification
    layer; a classification layer in the file is ignored if the model has another one or none.

    Args:
        model: a network of `model_i3d.build_i3d`.
        path: Keras-2 HDF5 file.

    Raises:
        ValueError: it is no such file, or layers or shapes differ, or values are not finite; the
            message lists what differs.
    """
    from model_i3d import TOP_CONVOLUTION

    stored = _read_hdf5(path)
    wanted = {layer.name: layer for layer in model.layers if layer.weights}
    if wanted.keys() != stored.keys():
        wanted.pop(TOP_CONVOLUTION, None)
        stored.pop(TOP_CONVOLUTION.removesuffix("_conv"), None)
        stored.pop(TOP_CONVOLUTION, None)
    problems = [f"missing layer {name}" for name in wanted.keys() - stored.keys()]
    problems += [f"unknown layer {name}" for name in stored.keys() - wanted.keys()]
    for name in wanted.keys() & stored.keys():
        have = [array.shape for array in stored[name]]
        want = [tuple(weight.shape) for weight in wanted[name].weights]
        if have != want:
            problems.append(f"{name} has shapes {have}, expected {want}")
        elif not all(np.isfinite(array).all() for array in stored[name]):
            problems.append(f"{name} holds values that are not finite")
    if problems:
        more = f" and {len(problems) - MAX_LISTED} more" if len(problems) > MAX_LISTED else ""
        raise ValueError(f"{path} does not fit: {'; '.join(sorted(problems)[:MAX_LISTED])}{more}.")
    for name, layer in wanted.items():
        layer.set_weights(stored[name])


def _read_hdf5(path):
    """{layer name: list of float32 arrays} of a Keras-2 weight file."""
    try:
        with h5py.File(path, "r") as file:
            root = file["model_weights"] if "model_weights" in file else file
            layers = {}
            for layer in map(_text, root.attrs["layer_names"]):
                names = map(_text, root[layer].attrs["weight_names"])
                layers[layer] = [np.asarray(root[layer][name], np.float32) for name in names]
    except (OSError, KeyError) as error:
        raise ValueError(f"{path} is not a whole Keras HDF5 weight file: {error}") from error
    return {layer: arrays for layer, arrays in layers.items() if arrays}


def _text(name):
    return name.decode() if isinstance(name, bytes) else str(name)
