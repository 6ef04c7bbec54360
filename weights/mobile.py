"""Finds the weights of an extractor: downloaded, a file, or none. Does not import Keras."""

from pathlib import Path

from common import disk
from weights import download, files

# Where keras.applications publishes weights without top, by width where there are several.
KERAS_URL = "https://storage.googleapis.com/tensorflow/keras-applications"
FILES = {
    "mobilenet": {
        1.0: "mobilenet/mobilenet_1_0_224_tf_no_top.h5",
        0.75: "mobilenet/mobilenet_7_5_224_tf_no_top.h5",
        0.5: "mobilenet/mobilenet_5_0_224_tf_no_top.h5",
        0.25: "mobilenet/mobilenet_2_5_224_tf_no_top.h5",
    },
    "mobilenet_v3_small": {
        1.0: "mobilenet_v3/weights_mobilenet_v3_small_224_1.0_float_no_top_v2.h5",
        0.75: "mobilenet_v3/weights_mobilenet_v3_small_224_0.75_float_no_top_v2.h5",
    },
    "inception_v3": {None: "inception_v3/inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5"},
}
EXTRACTORS = tuple(FILES)


def find_weights(weights, extractor, width_multiplier=1.0, base_url=KERAS_URL):
    """The file that `--weights` means for an extractor; those of ImageNet are downloaded once.

    Args:
        weights: "imagenet", "none", or the path of a Keras weight file without top (`.h5`).
        extractor: one of `EXTRACTORS`.
        width_multiplier: of the extractor; ImageNet weights exist for some widths only.
        base_url: folder of the published files.

    Returns:
        `Path` of an existing file, or None for "none".

    Raises:
        FileNotFoundError: it is not there; the message says where to get it and where to put it.
        ValueError: unknown extractor, no weights for this width, or a file of another kind.
    """
    if extractor not in FILES:
        raise ValueError(f"--extractor is one of {', '.join(EXTRACTORS)}. Received: {extractor}")
    if weights == "none":
        return None
    if weights == "imagenet":
        return _published(extractor, width_multiplier, base_url)
    path = Path(weights)
    if not path.is_file():
        raise FileNotFoundError(
            f"No file {path}. --weights is imagenet, none, or a Keras weight file of {extractor} "
            "without its top."
        )
    _check(path)
    return path


def keras_dir():
    """The folder that Keras keeps downloaded weights in."""
    return disk.user_dir("KERAS_HOME", ".keras") / "models"


def _published(extractor, width_multiplier, base_url):
    of_widths = FILES[extractor]
    name = of_widths.get(None) or of_widths.get(width_multiplier)
    if name is None:
        widths = ", ".join(f"{width:g}" for width in of_widths)
        raise ValueError(
            f"ImageNet weights of {extractor} exist for width {widths}. Received: "
            f"{width_multiplier:g}. Take another --extractor, or `--weights none`."
        )
    url, path = f"{base_url}/{name}", keras_dir() / Path(name).name
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return download.fetch(url, path, _check, files.HDF5_START)
    except download.UnreachableError as error:
        raise FileNotFoundError(
            f"The ImageNet weights of {extractor} are not there, and cannot be downloaded now "
            f"({error}). Put {url} into {path.parent}, or train from random weights with "
            "`--weights none`."
        ) from error


def _check(path):
    with path.open("rb") as file:
        if file.read(len(files.HDF5_START)) != files.HDF5_START:
            raise ValueError(f"{path} is no HDF5 file, as which Keras keeps weights.")
