"""A trained model's folder: what is in it, which is the newest, and opening it safely.

    model/<run>/
        rgb.keras flow.keras        the best network of each stream
        run.json                    everything that is needed to use them
        history.csv curves.png      loss and accuracy after every epoch
        evaluation.json confusion.png
        checkpoint/                 the last epoch of each stream, to go on from
        openvino/ int8/ export/     the networks for other engines (converted_files.py, export.py)

Nothing here imports Keras before a model is opened.
"""

import dataclasses
import datetime
import importlib
import importlib.metadata
import json
import os
import sys
import zipfile
from pathlib import Path

import dataset as data
import disk

STREAMS = ("rgb", "flow")
ARCHITECTURES = ("i3d", "mobile_lstm")
# Modules whose import registers layers that a .keras file may name.
LAYER_MODULES = ("model_i3d", "fast_layers", "model_mobile", "model_lstm")
SAFE_CLASSES = frozenset(
    "Functional InputLayer Activation AveragePooling3D BatchNormalization Concatenate Conv3D "
    "Dropout GlobalAveragePooling3D MaxPooling3D "
    "Add AveragePooling2D Conv2D Dense DepthwiseConv2D GlobalAveragePooling1D "
    "GlobalAveragePooling2D LSTM MaxPooling2D Multiply ReLU Rescaling Resizing ZeroPadding2D "
    "Constant GlorotUniform Ones Orthogonal Zeros DTypePolicy".split()
)


@dataclasses.dataclass
class Run:
    """The content of run.json and the folder that it lies in.

    `signs` is in the order of the networks' outputs; `fusion_weight` is the share of the RGB stream
    in the fused probabilities; `flow` is the parameters.json of the flow folder; `data` tells the
    clips that the model was trained on.
    """

    folder: Path
    architecture: str
    dataset: str
    preset: data.Preset
    signs: list
    flow: dict
    data: dict
    options: dict
    fusion_weight: float = 0.5
    date: str = ""
    versions: dict = dataclasses.field(default_factory=dict)

    @property
    def labels(self):
        return [sign.label for sign in self.signs]

    @property
    def streams(self):
        """The streams whose network is there."""
        return [stream for stream in STREAMS if self.model_file(stream).is_file()]

    def model_file(self, stream):
        return self.folder / f"{stream}.keras"

    def newest_checkpoint(self, stream):
        """(number of finished epochs, path), or (0, None)."""
        paths = sorted((self.folder / "checkpoint").glob(f"{stream}-*.keras"))
        return (int(paths[-1].stem.split("-")[1]), paths[-1]) if paths else (0, None)

    def write(self):
        """Writes run.json."""
        content = dataclasses.asdict(self)
        del content["folder"]
        content["streams"] = self.streams
        self.folder.mkdir(parents=True, exist_ok=True)
        disk.write_atomically(
            self.folder / "run.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        )

    @classmethod
    def read(cls, folder):
        """Reads `folder`/run.json.

        Raises:
            FileNotFoundError: there is none; the message names the runs that there are.
            ValueError: it is malformed.
        """
        folder = Path(folder)
        path = folder / "run.json"
        if not path.is_file():
            known = [run.folder.as_posix() for run in all_runs(folder.parent)]
            there = f"There are: {', '.join(known)}." if known else _how_to_train()
            raise FileNotFoundError(f"No trained model in {folder} (no run.json). {there}")
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            content.pop("streams")
            preset = content.pop("preset")
            sizes = {key: tuple(preset[key]) for key in ("frame_size", "input_size")}
            signs = [data.Sign(**sign) for sign in content.pop("signs")]
            return cls(folder, preset=data.Preset(**{**preset, **sizes}), signs=signs, **content)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is not a run.json of this project: {error!r}") from error


def now():
    """The date for run.json, ISO 8601 in UTC."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


def versions():
    """Versions of the packages that made a model."""
    found = {}
    for package in ("keras", "tensorflow", "numpy", "opencv-contrib-python", "openvino"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def all_runs(model_dir=Path("model")):
    """The readable runs below `model_dir`, oldest first."""
    runs = []
    for path in sorted(Path(model_dir).glob("*/run.json")):
        try:
            runs.append(Run.read(path.parent))
        except ValueError:
            continue
    return sorted(runs, key=lambda run: run.date)


def newest(model_dir=Path("model")):
    """The folder of the newest run that has a network.

    Raises:
        FileNotFoundError: there is none.
    """
    runs = [run for run in all_runs(model_dir) if run.streams]
    if not runs:
        raise FileNotFoundError(f"No trained model in {model_dir}. {_how_to_train()}")
    return runs[-1].folder


def check_model_file(path):
    """Refuses a `.keras` file that names anything but the layers this project is made of.

    Reads its config.json and runs nothing.

    Raises:
        ValueError: the file is damaged or names something else; the message says what.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            config = json.loads(archive.read("config.json"))
            archive.getinfo("model.weights.h5")
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is not a whole .keras file: {error}") from error
    unsafe = sorted(set(_unsafe_names(config)))
    if unsafe:
        raise ValueError(
            f"{path} is refused: it would load {', '.join(unsafe)}, which no model of this project "
            "contains. Only open models from people you trust."
        )


def open_network(path, expected_shape, num_classes):
    """Loads a stream's network, without its optimizer, after checking that it is safe and fits.

    Args:
        path: `.keras` file.
        expected_shape: of one input, `(num_frames, height, width, channels)`.
        num_classes: number of outputs.

    Returns:
        `keras.Model`.

    Raises:
        ValueError: the file is unsafe, damaged or does not fit run.json.
    """
    check_model_file(path)
    model = load_model(path, compile=False)
    shapes = model.input_shape[1:], model.output_shape[1:]
    if shapes != (tuple(expected_shape), (num_classes,)):
        raise ValueError(
            f"{path} maps clips of {shapes[0]} to {shapes[1]}, but run.json beside it says "
            f"{tuple(expected_shape)} to {(num_classes,)}."
        )
    return model


def load_model(path, compile=True):
    """`keras.saving.load_model` that knows the project's own layers."""
    keras = import_keras()
    for module in LAYER_MODULES:
        importlib.import_module(module)
    return keras.saving.load_model(path, compile=compile)


def import_keras():
    """Imports Keras without the notes that TensorFlow writes to the terminal when it starts.

    Returns:
        The module `keras`.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # On by default only on processors with AVX-512; without it AVX2 trains at half the speed.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    sys.stderr.flush()
    terminal, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        return importlib.import_module("keras")
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
        os.close(nowhere)


def _how_to_train():
    return "Train one: `python pipeline_i3d.py --dataset toysigns`."


def _unsafe_names(node):
    """Yields what a Keras config would import apart from `SAFE_CLASSES` and our own layers."""
    if isinstance(node, list):
        for item in node:
            yield from _unsafe_names(item)
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        # The optimizer and the metrics are never loaded from a foreign file.
        if key != "compile_config":
            yield from _unsafe_names(value)
    name = node.get("class_name")
    if name is None:
        return
    module, registered = node.get("module"), node.get("registered_name")
    data_only = module is None and name == "__keras_tensor__"
    ours = module in LAYER_MODULES and str(registered).startswith("signs>")
    from_keras = str(module).split(".")[0] == "keras" and name in SAFE_CLASSES
    if not (data_only or ours or from_keras):
        yield f"{module}.{name}"
