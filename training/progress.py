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
        self._is_compiling = True  # in its first step, which says nothing of the time left

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch
        self._describe("compiling" if self._is_compiling else self._where())

    def on_train_batch_end(self, batch, logs=None):
        if self._is_compiling:
            self._is_compiling = False
            self._bar.unpause()
            self._describe(self._where())
        self._bar.update()

    def _where(self):
        return f"epoch {self._epoch + 1} of {self._num_epochs}"

    def _describe(self, words):
        self._bar.set_description_str(f"{self._stream}, {words}", refresh=False)

    def on_epoch_end(self, epoch, logs=None):
        words = f"accuracy {logs['accuracy']:.2f}"
        if "val_accuracy" in logs:
            words += f", validation {logs['val_accuracy']:.2f}"
        self._bar.set_postfix_str(words, refresh=False)
