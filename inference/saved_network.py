"""Opens the networks of a run: `.keras` files, checked before anything in them is loaded."""

from common.slow_imports import import_keras
from weights.keras_file import check_model_file


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
    import model_i3d  # noqa: F401
    import model_lstm  # noqa: F401
    import model_mobile  # noqa: F401

    return keras.saving.load_model(path, compile=compile)
