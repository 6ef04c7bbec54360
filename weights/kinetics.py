"""The published Kinetics weights: downloaded once, from the first of two sources that delivers.

    kinetics.find("rgb", release_url, checkpoint_url)

writes  <cache>/<stream>_..._no_top.h5           Keras files of keras-kinetics-i3d, release v0.2
        <cache>/<stream>_imagenet/model.ckpt.*   DeepMind's own checkpoints, where those do not come
        <cache>/.<stream>_imagenet.part/         what has come of a checkpoint so far

Both are I3D trained on ImageNet and Kinetics-400, and both publishers give no SHA-256. So a file is
accepted that opens and has every layer in its shape, with finite numbers; its own SHA-256 is
recorded then, and compared ever after.
"""

import shutil
import sys

from common import disk
from common.network_input import STREAMS
from i3d.shapes import CHANNELS_OF_STREAM, KINETICS_NUM_CLASSES, weight_shapes
from weights import download, files, fit

FILE_NAME = "{}_inception_i3d_imagenet_and_kinetics_tf_dim_ordering_tf_kernels_no_top.h5"
TOP_FILE_NAME = FILE_NAME.replace("_no_top", "")
CHECKPOINT_DIR = "{}_imagenet"
INDEX_NAME = "model.ckpt.index"
CHECKPOINT_NAMES = (INDEX_NAME, "model.ckpt.data-00000-of-00001")  # the small one first


def cache_dir():
    """The user's folder for downloaded weights."""
    return disk.user_dir("XDG_CACHE_HOME", ".cache") / "i3d"


def find(stream, release_url, checkpoint_url, with_top=False):
    """The file with a stream's weights: one that is there already, else a downloaded one.

    Args:
        stream: "rgb" or "flow".
        release_url, checkpoint_url: folders of the sources. The second is asked where the first
            does not answer, does not have the file, or delivers something else.
        with_top: with the head of 400 classes, which checkpoints always have.

    Returns:
        `Path` of a Keras file, or of the index of a checkpoint.

    Raises:
        FileNotFoundError: neither delivers; the message says what may be put where by hand.
        ValueError: what is there already is damaged, or not what was downloaded first.
    """
    path = cache_dir() / (TOP_FILE_NAME if with_top else FILE_NAME).format(stream)
    if not path.is_file() and not _lacking(_checkpoint_dir(stream)):
        return _checkpoint(stream, checkpoint_url)
    is_there = path.is_file()
    try:
        return _keras_file(path, stream, with_top, release_url)
    except (download.UnreachableError, ValueError) as error:
        if is_there:
            raise
        first = error
    print(f"{first}\nTrying {checkpoint_url} instead.", file=sys.stderr, flush=True)
    try:
        return _checkpoint(stream, checkpoint_url)
    except (download.UnreachableError, ValueError) as second:
        tried = ((release_url, first), (checkpoint_url, second))
        raise FileNotFoundError(_neither(stream, path.name, tried)) from second


def _keras_file(path, stream, with_top, base_url):
    def check(file):
        _check(file, stream, KINETICS_NUM_CLASSES if with_top else None)

    return download.fetch(f"{base_url}/{path.name}", path, check, files.HDF5_START)


def _checkpoint(stream, base_url):
    """The index of a checkpoint: its folder appears when both files are there and accepted."""
    folder = _checkpoint_dir(stream)
    url = f"{base_url}/{folder.name}"
    with download.alone(folder):
        if not folder.is_dir():
            _download_checkpoint(stream, url, folder)
    if lacking := _lacking(folder):
        raise download.UnreachableError(
            f"{folder} has no {' and no '.join(lacking)}: put it there, or delete the folder"
        )
    for name in CHECKPOINT_NAMES:  # where they were put there by hand, they are checked now
        download.fetch(
            f"{url}/{name}", folder / name, lambda _: _check(folder / INDEX_NAME, stream)
        )
    return folder / INDEX_NAME


def _download_checkpoint(stream, url, folder):
    partial = folder.with_name(f".{folder.name}.part")
    for name in CHECKPOINT_NAMES:
        check = _check_index if name == INDEX_NAME else _check_later
        download.fetch(f"{url}/{name}", partial / name, check)
    try:
        _check(partial / INDEX_NAME, stream)
    except ValueError as error:
        shutil.rmtree(partial)
        raise ValueError(f"{error} {url} serves that; nothing is kept.") from error
    partial.replace(folder)


def _check_index(file):
    if not file.read_bytes().endswith(files.TENSORFLOW_INDEX_END):
        raise ValueError(f"{file} is not the index of a TensorFlow checkpoint.")


def _check_later(_):
    """Numbers say nothing without their index: `_check` judges both together."""


def _check(file, stream, num_classes=KINETICS_NUM_CLASSES):
    expected = weight_shapes(CHANNELS_OF_STREAM[stream], 1.0, num_classes)
    fit.fitting_layers(files.read(file), expected)


def _checkpoint_dir(stream):
    return cache_dir() / CHECKPOINT_DIR.format(stream)


def _lacking(folder):
    return [name for name in CHECKPOINT_NAMES if not (folder / name).is_file()]


def _neither(stream, name, tried):
    """What both sources said, as (url, error), and what may be put where by hand."""
    (release_url, _), (checkpoint_url, _) = tried
    keras_files = [f"{release_url}/{name.replace(stream, each, 1)}" for each in STREAMS]
    folders = [CHECKPOINT_DIR.format(each) for each in STREAMS]
    of_folders = (
        f"    {' and '.join(f'{checkpoint_url}/{folder}/{each}' for each in CHECKPOINT_NAMES)}\n"
        f"    into {cache_dir() / folder}"
        for folder in folders
    )
    return "\n".join(
        [
            f"The Kinetics weights of the {stream} stream are not there, and neither source "
            "delivers them:",
            *(f"  {url}: {error}" for url, error in tried),
            "Download by other means",
            f"    {' and '.join(keras_files)}\n    into {cache_dir()}",
            "or",
            *of_folders,
            "or start from random weights with `--weights none`.",
        ]
    )
