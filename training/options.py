"""Every option of a training, declared once: flags, checks, run.json and docstrings come from here.

The scripts of the architectures add their own in a class that inherits from `TrainingOptions`.
"""

import dataclasses

from common import dataset as data
from common import stage
from common.command_line import (
    COUNT,
    SEED,
    SHARE_TO_HALF,
    add_flags,
    check,
    documented,
    folder_name,
    from_flags,
    make_parser,
    option,
    options_of,
    quote,
)
from common.network_input import STREAMS
from common.presets import PRESETS, Preset
from feeding.augmentation import AUGMENTATIONS


def number_of_gpus(text):
    """An `argparse` type: 1, or "all"."""
    return text if text == "all" else int(text)


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """What whatever makes a run can be told."""

    run: str | None = option(
        None,
        "folder below model/",
        folder_name,
        metavar="NAME",
        of_default="from data set, preset, architecture and seed",
    )
    stream: str = option("both", "what to train", choices=(*STREAMS, "both"))

    __post_init__ = check

    @property
    def streams(self):
        """("rgb", "flow"), or one of them."""
        return STREAMS if self.stream == "both" else (self.stream,)


@documented
@dataclasses.dataclass(frozen=True)
class TrainingOptions(RunOptions):
    """What every training can be told. The schedule is the preset's, see `common/presets.py`."""

    weights: str | dict | None = option(
        "none", "where the network's weights come from", is_recorded=True
    )
    seed: int = option(0, "of weights, order, augmentation and dropout", SEED, is_recorded=True)
    val_fraction: float = option(
        data.VAL_FRACTION,
        "share of training clips used for validation where there is no val folder; 0: none",
        SHARE_TO_HALF,
        metavar="F",
    )
    augment: str = option(
        "weak",
        "change training clips a little: where the crop lies, when it begins, how bright it is; "
        "strong: as another camera would have seen another performance",
        choices=AUGMENTATIONS,
        is_recorded=True,
    )
    flip: bool = option(
        False, "mirror half of the training clips: signs must survive it", is_recorded=True
    )
    patience: int = option(
        60, "end after N epochs without a better one", COUNT, metavar="N", is_recorded=True
    )
    mixed_precision: str | None = option(
        None,
        "train in 16 bits, for GPUs: float16, or bfloat16 on Ampere and later; weights stay "
        "float32, and so does the network that is saved for use",
        choices=("float16", "bfloat16"),
        nargs="?",
        const="float16",
        is_recorded=True,
    )
    gradient_accumulation: int = option(
        1,
        "batches whose mean gradient is one step of the optimizer, where memory is small",
        COUNT,
        metavar="N",
        is_recorded=True,
    )
    gpus: int | str = option(
        1,
        "all: split batches among all GPUs of this machine; of the clips, up to one less than "
        "there are GPUs are left out of an epoch for that",
        number_of_gpus,
        choices=(1, "all"),
    )
    tensorboard: bool = option(
        False, "also write model/<run>/tensorboard/, for `tensorboard --logdir model`"
    )
    resume: bool = option(
        False, "go on with an unfinished run; a pipeline does so by itself, and needs no flag"
    )
    restart: bool = option(False, "delete the run and train it anew")
    workers: int | None = stage.OPTIONS["workers"].field()

    def recorded(self):
        """{name: value} of the options that run.json tells."""
        values = {
            name: getattr(self, name)
            for name, declared in options_of(type(self)).items()
            if declared.is_recorded
        }
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in values.items()
        }


def add_arguments(parser, options_class, **defaults):
    """Adds the flags of data set, options and schedule to an `argparse` parser.

    Args:
        parser: `argparse` parser.
        options_class: `TrainingOptions` or a class that inherits from it.
        defaults: of this script, by name.
    """
    add_flags(parser, {**data.OPTIONS, **options_of(options_class)}, **defaults)
    schedule = {
        name: dataclasses.replace(declared, default=None, of_default="the preset's")
        for name, declared in options_of(Preset).items()
    }
    add_flags(parser, schedule)


def from_arguments(args, options_class, presets=PRESETS):
    """(`Dataset` with its schedule, `options_class`) from parsed flags."""
    dataset = data.Dataset(args.dataset, args.preset, presets=presets, stored=args.stored)
    given = {name: getattr(args, name) for name in options_of(Preset)}
    given = {name: value for name, value in given.items() if value is not None}
    if "epochs_top" in given or "epochs_all" in given:
        given["epochs_for_clips"] = 0
    if "epochs_all" in given:
        given["min_clips_all"] = 0
    dataset.preset = dataclasses.replace(dataset.preset, **given)
    return dataset, from_flags(options_class, args)


def run_command(argv, docstring, options_class, train, presets=PRESETS):
    """The command line of a training script: trains, and says what comes next.

    Args:
        argv: as of `argparse`.
        docstring: of the script.
        options_class: `TrainingOptions` or a class that inherits from it.
        train: function of (`Dataset`, `options_class`) that returns a `stage.Report`.
        presets: that --preset chooses from.
    """
    parser = make_parser(docstring)
    add_arguments(parser, options_class)
    run = train(*from_arguments(parser.parse_args(argv), options_class, presets)).output
    print(f"Next: python evaluate.py --model {quote(run)}")
