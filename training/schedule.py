"""The schedule of a training: phases of epochs, how many there are, how long they take."""

import dataclasses
import math

# Of one clip in one epoch of one stream, on two cores of a laptop without a GPU.
SECONDS_PER_CLIP = {
    ("i3d", "laptop"): 0.025,
    ("i3d", "full"): 5.0,
    ("mobile_lstm", "laptop"): 0.035,
    ("mobile_lstm", "full"): 2.2,
}
SECONDS_PER_EPOCH, SECONDS_PER_STREAM = 0.7, 15  # besides, whatever the clips
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

    epochs_all = preset.epochs_all if num_clips >= preset.min_clips_all else 0
    return [
        Phase("top", scaled(preset.epochs_top), preset.learning_rate_top),
        Phase("all", scaled(epochs_all), preset.learning_rate_all, preset.cosine),
    ]


def expected_minutes(architecture, preset, num_clips):
    """About how long a stream trains on two cores without a GPU: a rule of thumb.

    Args:
        architecture: `training.run.Architecture`; epochs on stored features count for nothing.
        preset: `presets.Preset`.
        num_clips: number of training clips.
    """
    schedule = phases(preset, num_clips)
    epochs = sum(phase.epochs for phase in schedule if not architecture.reads_features(phase))
    seconds = SECONDS_PER_CLIP[architecture.name, preset.name] * num_clips + SECONDS_PER_EPOCH
    return (SECONDS_PER_STREAM + epochs * seconds) / 60 if epochs else 0
