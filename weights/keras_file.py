"""Refuses `.keras` files that would load anything but the layers of this project's networks."""

import json
import zipfile

# The layers of `i3d/fast_layers.py` and the `model_*.py`, by the names that Keras finds them by.
OWN_LAYERS = frozenset(
    f"signs>{name}"
    for name in "EvenOut FastBatchNormalization FastConv3D FastMaxPooling3D PerFrame PrepareFrame "
    "SubtractMean".split()
)
SAFE_CLASSES = frozenset(
    "Functional InputLayer Activation AveragePooling3D BatchNormalization Concatenate Conv3D "
    "Dropout GlobalAveragePooling3D MaxPooling3D "
    "Add AveragePooling2D Conv2D Dense DepthwiseConv2D GlobalAveragePooling1D "
    "GlobalAveragePooling2D LSTM MaxPooling2D Multiply ReLU Rescaling Resizing ZeroPadding2D "
    "Constant GlorotUniform Ones Orthogonal Zeros DTypePolicy".split()
)


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
    ours = registered in OWN_LAYERS  # found by this name, whatever module the file names
    from_keras = str(module).split(".")[0] == "keras" and name in SAFE_CLASSES
    if not (data_only or ours or from_keras):
        yield f"{module}.{name}"
