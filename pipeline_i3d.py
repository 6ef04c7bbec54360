"""The whole way: from videos to a recogniser, with the two-stream I3D.

    python pipeline_i3d.py
    python pipeline_i3d.py --dataset my_signs --preset laptop
    python pipeline_i3d.py --dataset chalearn --from opticalflow

Finished work is skipped; an interrupted pipeline goes on where it stopped.
"""

from common import command_line  # isort: split

import dataclasses

import evaluate
import feature
import train_i3d
from training import pipeline
from training.run import run_dir

STAGES = (*pipeline.VIDEO_STAGES, "feature", "train_i3d", "evaluate")


def run_pipeline(dataset, options, first=STAGES[0]):
    """Runs the stages from `first` on; `options` are those of the training. The exit status."""
    stages = pipeline.Stages(STAGES, first)
    num_clips = pipeline.num_training_clips(dataset, options.val_fraction)
    architecture = train_i3d.check_weights(dataset, options)
    pipeline.announce(dataset, architecture, num_clips, options)
    pipeline.run_video_stages(stages, dataset, options.workers)
    if options.top_only:
        stages.run("feature", feature.extract_streams, dataset, options, "i3d")
    resuming = dataclasses.replace(options, resume=True)
    stages.run("train_i3d", train_i3d.train, dataset, resuming)
    run = run_dir(dataset, "i3d", options.run, options.seed)
    stages.run("evaluate", evaluate.evaluate_if_new, run, dataset.stored)
    is_guessing = evaluate.is_guessing(run)
    return stages.finish(run, pipeline.example_of(dataset), is_guessing, options.top_only)


def main(argv=None):
    options_class = train_i3d.I3DOptions
    return pipeline.run_command(argv, __doc__, STAGES, options_class, run_pipeline)


if __name__ == "__main__":
    command_line.run(main)
