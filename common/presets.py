"""Presets: every number that depends on the size of an experiment."""

import dataclasses

from common.command_line import (
    COUNT,
    COUNT_OR_0,
    LEARNING_RATE,
    REQUIRED,
    SHARE_BELOW_1,
    Option,
    check,
    option,
)


@dataclasses.dataclass(frozen=True)
class Preset:
    """Every number that depends on the size of the experiment.

    `frame_size` is what is stored and `input_size` what the network sees, both (height, width).
    With `subtract_mean` the RGB network looks at what differs from the clip's mean picture, which
    training from random weights needs and published weights do not know. With `cosine` the
    learning rate of the second phase falls towards zero. The epochs are for `epochs_for_clips`
    training clips; `training.schedule.phases` gives fewer clips more. 0: whatever their number.
    With fewer than `min_clips_all` training clips there is no second phase. The top of I3D sees
    each clip up to `top_views` times as another camera would have seen it, besides as it is.
    """

    name: str
    num_frames: int
    seconds: float
    frame_size: tuple[int, int]
    input_size: tuple[int, int]
    width_multiplier: float
    subtract_mean: bool
    dropout: float = option(
        REQUIRED, "share of features that is dropped before the top", SHARE_BELOW_1
    )
    batch_norm_momentum: float
    batch_size: int = option(REQUIRED, "clips per step", COUNT)
    epochs_top: int = option(
        REQUIRED, "epochs of the first phase: only the new top; I3D's is solved in one", COUNT_OR_0
    )
    epochs_all: int = option(REQUIRED, "epochs of the second phase: everything", COUNT_OR_0)
    learning_rate_top: float = option(REQUIRED, "of Adam in the first phase", LEARNING_RATE)
    learning_rate_all: float = option(REQUIRED, "of Adam in the second phase", LEARNING_RATE)
    cosine: bool
    weights: str
    epochs_for_clips: int = 0
    min_clips_all: int = 0
    top_views: int = 0

    __post_init__ = check


PRESETS = {
    "full": Preset(
        name="full",
        num_frames=40,
        seconds=5.0,
        frame_size=(240, 320),
        input_size=(224, 224),
        width_multiplier=1.0,
        subtract_mean=False,
        dropout=0.5,
        batch_norm_momentum=0.99,
        batch_size=4,
        epochs_top=1,
        epochs_all=17,
        learning_rate_top=1e-3,
        learning_rate_all=1e-4,
        cosine=False,
        weights="kinetics",
        top_views=2,
    ),
    "laptop": Preset(
        name="laptop",
        num_frames=32,
        seconds=5.0,
        frame_size=(70, 92),
        input_size=(56, 56),
        width_multiplier=0.25,
        subtract_mean=True,
        dropout=0.3,
        batch_norm_momentum=0.9,
        batch_size=8,
        epochs_top=1,
        epochs_all=3,
        learning_rate_top=1e-3,
        learning_rate_all=1e-3,
        cosine=True,
        weights="signs",
        min_clips_all=1000,
        top_views=16,
    ),
}

# Changes of `laptop` where I3D begins with random weights, which takes longer.
FROM_RANDOM = {"epochs_all": 7, "epochs_for_clips": 480, "min_clips_all": 0, "top_views": 0}

# The schedule of the LSTM: with published weights it is trained on features computed once, then, in
# `laptop` or where --epochs-all says so, with its extractor; from random weights there is only this
# second phase, as long as the first where it has no epochs of its own.
MOBILE_LSTM_PRESETS = {
    "full": dataclasses.replace(
        PRESETS["full"],
        batch_size=16,
        epochs_top=20,
        epochs_all=0,
        weights="imagenet",
    ),
    "laptop": dataclasses.replace(
        PRESETS["laptop"],
        dropout=0.1,
        batch_size=4,
        epochs_top=20,
        weights="none",
        **{**FROM_RANDOM, "epochs_all": 5},
    ),
}

# The nearest clip has no schedule, and sees all that is stored of a frame.
NEAREST_PRESETS = {
    name: dataclasses.replace(
        preset, input_size=preset.frame_size, epochs_top=0, epochs_all=0, epochs_for_clips=0
    )
    for name, preset in PRESETS.items()
}

PRESET = Option(
    None,
    "frames, sizes and training schedule",
    choices=sorted(PRESETS),
    of_default="laptop for toysigns, else full",
)
