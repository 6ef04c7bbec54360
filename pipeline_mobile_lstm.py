"""The whole way: from videos to a recogniser, with MobileNet and an LSTM.

    python pipeline_mobile_lstm.py
    python pipeline_mobile_lstm.py --dataset my_signs --weights imagenet

Frames and flow are those of pipeline_i3d.py: the second pipeline starts from what the first left.
"""

from common import command_line  # isort: split

import dataclasses

import evaluate
import feature
import train_mobile_lstm
from common.presets import MOBILE_LSTM_PRESETS
from training import pipeline
from training.run import run_dir

STAGES = (*pipeline.VIDEO_STAGES, "feature", "train_mobile_lstm", "evaluate")


def run_pipeline(dataset, options, first=STAGES[0]):
    """Runs the stages from `first` on; `options` are those of the training. The exit status."""
    stages = pipeline.Stages(STAGES, first)
    num_clips = pipeline.num_training_clips(dataset, options.val_fraction)
    architecture = train_mobile_lstm.check_weights(dataset, options)
    pipeline.announce(dataset, architecture, num_clips, options)
    pipeline.run_video_stages(stages, dataset, options.workers)
    if dataset.preset.epochs_top:
        stages.run("feature", feature.extract_streams, dataset, options, options.extractor)
    resuming = dataclasses.replace(options, resume=True)
    stages.run("train_mobile_lstm", train_mobile_lstm.train, dataset, resuming)
    run = run_dir(dataset, "mobile_lstm", options.run, options.seed)
    stages.run("evaluate", evaluate.evaluate_if_new, run, dataset.stored)
    return stages.finish(run, pipeline.example_of(dataset), evaluate.is_guessing(run))


def main(argv=None):
    options_class = train_mobile_lstm.MobileLSTMOptions
    return pipeline.run_command(
        argv, __doc__, STAGES, options_class, run_pipeline, MOBILE_LSTM_PRESETS
    )


if __name__ == "__main__":
    command_line.run(main)
