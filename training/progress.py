"""What a person sees while a stream trains: a progress bar over all its epochs."""

import keras

from common import stage

BAR = "{desc}: {percentage:3.0f}%|{bar}| {elapsed} < {remaining}{postfix}"
SMOOTHING = 0.05  # of the time left: validation comes once an epoch


def bar(stream, num_steps):
    """A `tqdm` over the training steps of a stream, see `stage.progress`."""
    return stage.progress(num_steps, stream, "step", bar_format=BAR, smoothing=SMOOTHING)


class Progress(keras.callbacks.Callback):
    """Moves a stream's bar, and writes the newest accuracies behind it.

    Args:
        bar: a `tqdm` over training steps.
        stream: "rgb" or "flow".
        num_epochs: of the whole training.
    """

    def __init__(self, bar, stream, num_epochs):
        super().__init__()
        self._bar, self._stream, self._num_epochs = bar, stream, num_epochs

    def on_epoch_begin(self, epoch, logs=None):
        words = f"{self._stream}, epoch {epoch + 1} of {self._num_epochs}"
        self._bar.set_description_str(words, refresh=False)

    def on_train_batch_end(self, batch, logs=None):
        self._bar.update()

    def on_epoch_end(self, epoch, logs=None):
        words = f"accuracy {logs['accuracy']:.2f}"
        if "val_accuracy" in logs:
            words += f", validation {logs['val_accuracy']:.2f}"
        self._bar.set_postfix_str(words, refresh=False)
