"""The schedule of a training: phases of epochs, and how many of them a number of clips gets."""

import dataclasses
import math

MAX_EPOCHS = 100  # of a phase that has more of them because there are few clips


@dataclasses.dataclass(frozen=True)
class Phase:
    """Consecutive epochs with the same trainable weights and a fresh optimizer.

    `part` is "top" or "all"; with `cosine` the learning rate falls towards zero along half a
    cosine.
    """

    part: str
    epochs: int
    learning_rate: float
    cosine: bool = False

    def learning_rate_at(self, epoch):
        """Of the phase's `epoch`, counted from 0."""
        if not self.cosine:
            return self.learning_rate
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * epoch / self.epochs))


def phases(preset, num_clips):
    """The schedule of a preset for a number of training clips: first the new top, then everything.

    A network learns by steps. Where an epoch has few of them because there are few clips, there are
    more epochs, so that their product stays.
    """
    times = max(1, preset.epochs_for_clips / max(num_clips, 1))

    def scaled(epochs):
        return max(epochs, min(MAX_EPOCHS, round(epochs * times)))

    return [
        Phase("top", scaled(preset.epochs_top), preset.learning_rate_top),
        Phase("all", scaled(preset.epochs_all), preset.learning_rate_all, preset.cosine),
    ]
