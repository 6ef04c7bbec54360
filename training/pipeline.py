"""What all pipelines share: the stages from videos to flow, the closing table, the command line."""

import time

import frame
import opticalflow
import prepare_chalearn
import toysigns
from cluster import connection
from common import dataset as data
from common.command_line import add_flags, make_parser, number_of, quote
from common.presets import PRESETS
from training import start
from training.options import add_arguments, from_arguments
from training.run import run_dir
from training.schedule import expected_minutes

GUESSING = (
    "The network is no better than guessing. What helps, most first: more clips of each sign (ten "
    "and more), clips whose signer and place are those of the live demo, signs that differ more, "
    "{training}. Then the same command with --restart."
)
LONGER = "longer training (--epochs-all)", "training of everything (without --top-only)"
LONG_MINUTES = 180
VIDEO_STAGES = ("toysigns", "prepare_chalearn", "frame", "opticalflow")


def announce(dataset, architecture, num_clips, options):
    """Says what will be trained and about how long that takes, before anything else is done.

    The progress bar of the training knows the time left on this very machine.

    Args:
        dataset: `Dataset`; its preset holds the schedule.
        architecture: `training.run.Architecture`.
        num_clips: expected number of training clips.
        options: `TrainingOptions`.

    Raises:
        ValueError: there are no epochs, or this machine cannot train as `options` say.
    """
    preset = dataset.preset
    words = number_of(num_clips, "training clip")
    print(f"{dataset.name}, preset {preset.name}: {words}.", flush=True)
    start.check_schedule(preset)
    folder = run_dir(dataset, architecture.name, options.run, options.seed)
    is_trained = all((folder / f"{stream}.keras").is_file() for stream in options.streams)
    if is_trained and not options.restart:
        return
    start.check_installed(options, preset)
    minutes = expected_minutes(architecture, preset, num_clips) * len(options.streams)
    print(f"Without a GPU, training takes about {_duration(minutes)}.", flush=True)
    if preset.name == "full" and minutes > LONG_MINUTES:
        print("With `--preset laptop` it takes minutes: smaller frames, a narrower network.")


class Stages:
    """Runs stages one after the other and prints a closing table.

    Args:
        names: of all stages, in their order.
        first: the one to begin with; those before it are passed over.
    """

    def __init__(self, names, first):
        self._wanted = names[names.index(first) :]
        self._rows = []
        self.exit_status = 0

    def run(self, name, function, *arguments, **settings):
        """Calls `function`; returns its `Report`, or None where the stage is not wanted."""
        if name not in self._wanted:
            return None
        print(f"--- {name}", flush=True)
        started = time.monotonic()
        report = function(*arguments, **settings)
        self.exit_status = max(self.exit_status, report.exit_status)
        self._rows.append((name, time.monotonic() - started, report))
        return report

    def finish(self, run_dir, example, is_guessing=False, top_only=False):
        """Prints the closing table, where everything is and the next commands.

        Args:
            run_dir: the folder of the trained run.
            example: path of a video for the next command.
            is_guessing: whether the network is no better than guessing.
            top_only: whether only its top was trained.

        Returns:
            The exit status.
        """
        print(f"\n{'stage':18}{'seconds':>8}{'new':>7}{'skipped':>9}{'failed':>8}  output")
        for name, seconds, report in self._rows:
            numbers = f"{report.done:7d}{report.skipped:9d}{len(report.failed):8d}"
            print(f"{name:18}{seconds:8.1f}{numbers}  {report.output}")
        print(f"{'sum':18}{sum(seconds for _, seconds, _ in self._rows):8.1f}")
        print(f"model: {run_dir}")
        names = ("curves.png", "confusion.png")
        pictures = [str(run_dir / name) for name in names if (run_dir / name).is_file()]
        print(f"pictures: {', '.join(pictures)}")
        print(f"Next: python predict.py --model {quote(run_dir)} {quote(example)}")
        if is_guessing:
            print(GUESSING.format(training=LONGER[top_only]))
        else:
            print(f"      python livedemo.py --model {quote(run_dir)}")
        return self.exit_status


def run_video_stages(stages, dataset, workers):
    """Draws or sorts the videos where that is due, then makes frames and flow of them.

    Args:
        stages: `Stages`.
        dataset: `Dataset`.
        workers: number of processes, by default one per core.
    """
    if _is_drawn(dataset) and not dataset.stored:
        how = toysigns.made_with(dataset)  # a small one stays a small one
        stages.run("toysigns", toysigns.make_dataset, dataset, workers=workers, **how)
    if prepare_chalearn.is_for(dataset) and not dataset.stored:
        stages.run("prepare_chalearn", prepare_chalearn.prepare, dataset, workers=workers)
    stages.run("frame", frame.extract_frames, dataset, workers=workers)
    stages.run("opticalflow", opticalflow.extract_flow, dataset, workers=workers)


def num_training_clips(dataset, val_fraction, min_signs=2):
    """The number of training clips that a data set has, or will have when its videos are there.

    Raises:
        FileNotFoundError: there are neither videos nor lists of them.
    """
    if dataset.stored:
        return len(data.split_train_val(dataset.stored_clips("rgb"), val_fraction)[0])
    if _is_drawn(dataset):
        return toysigns.num_training_clips(dataset)
    num_clips = prepare_chalearn.num_training_clips(dataset, val_fraction)
    if not prepare_chalearn.is_for(dataset) and min_signs > 1:
        _refuse_one_sign(dataset)
    return num_clips


def example_of(dataset):
    """The path of a clip for the next command: a video, else a folder of stored frames."""
    clips = dataset.stored_clips("rgb") if dataset.stored else dataset.videos()
    learned = {clip.label for clip in clips if clip.split == "train"}
    return [clip for clip in clips if clip.label in learned][-1].path


def run_command(argv, docstring, stage_names, options_class, run_pipeline, presets=PRESETS):
    """The command line of a pipeline; returns the exit status.

    Args:
        argv: as of `argparse`.
        docstring: of the script.
        stage_names: of all stages, in their order.
        options_class: `TrainingOptions` or a class that inherits from it.
        run_pipeline: function of (`Dataset`, `options_class`, name of the first stage).
        presets: that --preset chooses from.
    """
    parser = make_parser(docstring)
    first = stage_names[0]
    parser.add_argument("--from", dest="first", choices=stage_names, default=first, help="stage")
    add_arguments(parser, options_class, dataset="toysigns")
    add_flags(parser, connection.OPTIONS)
    args = parser.parse_args(argv)
    with connection.used(args.cluster):
        return run_pipeline(*from_arguments(args, options_class, presets), args.first)


def _refuse_one_sign(dataset):
    videos = dataset.videos()
    labels = {video.label for video in videos if video.split == "train"}
    unreadable = frame.unreadable_signs(videos)
    readable = labels - unreadable
    if len(readable) < 2:
        found = f"only {min(readable)}" if readable else "none"
        if unreadable:
            found += f"; no training video can be read of: {', '.join(sorted(unreadable))}"
        raise ValueError(
            f"A network needs at least 2 signs to tell apart, each a folder in "
            f"{dataset.video_dir / 'train'}. Found: {found}."
        )


def _duration(minutes):
    if minutes < 1.5:
        return "a minute"
    if minutes < 100:
        return f"{minutes:.0f} minutes"
    return f"{minutes / 60:.0f} hours" if minutes < 6000 else f"{minutes / 1440:.0f} days"


def _is_drawn(dataset):
    return dataset.name == "toysigns"
