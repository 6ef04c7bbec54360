"""What Keras trains on: one device, or all GPUs of this machine together."""

import contextlib

import keras


def gpu_names():
    """The GPUs that Keras computes on, such as "gpu:0"; empty where there is none."""
    if keras.backend.backend() == "torch":  # whose devices Keras does not list
        import torch

        if torch.backends.mps.is_available():
            return ["mps:0"]
        return [f"gpu:{number}" for number in range(torch.cuda.device_count())]
    try:
        return keras.distribution.list_devices("gpu")
    except RuntimeError:  # how JAX says that there is none
        return []


def check(options, batch_size):
    """Refuses what cannot be trained on several GPUs.

    Args:
        options: `TrainingOptions`.
        batch_size: clips per batch, of all devices together.

    Raises:
        ValueError: the message says what was found and what to do.
    """
    if options.gpus == 1:
        return
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            "--gpus all needs Keras on TensorFlow. Found: "
            f"KERAS_BACKEND={keras.backend.backend()}. Leave one of the two away."
        )
    names = gpu_names()
    if not names:
        raise ValueError(
            "--gpus all, but TensorFlow finds no GPU on this machine. Leave --gpus away, or "
            'install its GPU libraries: pip install "tensorflow[and-cuda]" (Linux).'
        )
    if batch_size % len(names):
        raise ValueError(
            f"{len(names)} GPUs share each batch equally: --batch-size must be a multiple of "
            f"{len(names)}. Found: {batch_size}."
        )
    if options.mixed_precision == "float16" or options.gradient_accumulation > 1:
        raise ValueError(
            "With --gpus all, Keras neither scales the loss of float16 right nor accumulates "
            "gradients. Use --mixed-precision bfloat16, and no --gradient-accumulation."
        )


@contextlib.contextmanager
def shared(gpus):
    """Inside, networks are built, opened and trained on one device, or on all GPUs.

    With several, each computes its equal part of every batch, and all keep the same weights.

    Args:
        gpus: 1, or "all", after `check`.

    Yields:
        int, the number of devices.
    """
    names = gpu_names() if gpus == "all" else []
    if len(names) < 2:
        yield 1
        return
    import tensorflow

    with tensorflow.distribute.MirroredStrategy(names).scope():
        yield len(names)


def synchronize(model, num_devices):
    """Lets batch normalisation see the whole batch that several devices share."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = num_devices > 1
        inner = getattr(layer, "network", layer)  # `model_lstm.PerFrame` holds one
        if isinstance(inner, keras.Model):
            synchronize(inner, num_devices)
