"""The whole way without training: from videos to a recogniser that compares clips.

    python pipeline_nearest.py --dataset my_signs --preset laptop

Frames and flow are those of the other pipelines. One clip of each sign is enough.
"""

from common import command_line  # isort: split

import evaluate
import feature
import train_nearest
from cluster import connection
from common import dataset as data
from common.command_line import number_of
from common.presets import NEAREST_PRESETS
from inference.run_folder import NEAREST
from training import pipeline
from training.run import run_dir

STAGES = (*pipeline.VIDEO_STAGES, "feature", "train_nearest", "evaluate")


def run_pipeline(dataset, options, first=STAGES[0]):
    """Runs the stages from `first` on; `options` are `NearestOptions`. The exit status."""
    stages = pipeline.Stages(STAGES, first)
    num_clips = pipeline.num_training_clips(dataset, options.val_fraction, min_signs=1)
    words = number_of(num_clips, "clip")
    print(f"{dataset.name}, preset {dataset.preset.name}: {words} to compare with.", flush=True)
    pipeline.run_video_stages(stages, dataset, options.workers)
    extractors = train_nearest.extractors(dataset.preset)
    stages.run("feature", feature.extract_streams, dataset, options, *extractors)
    stages.run("train_nearest", train_nearest.train, dataset, options)
    run = run_dir(dataset, NEAREST, options.run)
    stages.run("evaluate", evaluate.evaluate_if_new, run, dataset.stored)
    return stages.finish(run, pipeline.example_of(dataset))


def main(argv=None):
    parser = command_line.make_parser(__doc__)
    parser.add_argument("--from", dest="first", choices=STAGES, default=STAGES[0], help="stage")
    options_class = train_nearest.NearestOptions
    options = command_line.options_of(options_class)
    flags = {**data.OPTIONS, **options, **connection.OPTIONS}
    command_line.add_flags(parser, flags, dataset="toysigns")
    args = parser.parse_args(argv)
    dataset = data.Dataset(args.dataset, args.preset, presets=NEAREST_PRESETS, stored=args.stored)
    with connection.used(args.cluster):
        return run_pipeline(dataset, command_line.from_flags(options_class, args), args.first)


if __name__ == "__main__":
    command_line.run(main)
