"""The whole way: from videos to a recogniser, with MobileNet and an LSTM.

    python pipeline_mobile_lstm.py
    python pipeline_mobile_lstm.py --dataset my_signs --weights imagenet

Frames and flow are those of pipeline_i3d.py: the second pipeline starts from what the first left.
"""

import argparse

import dataset as data
import evaluate
import feature
import frame
import opticalflow
import prepare_chalearn
import stage
import toysigns
import train_mobile_lstm
import training

STAGES = "toysigns prepare_chalearn frame opticalflow feature train_mobile_lstm evaluate".split()


def run_pipeline(dataset, first=STAGES[0], workers=None, **settings):
    """`pipeline_i3d.run_pipeline` for this architecture; returns the exit status."""
    stages = stage.Stages(STAGES[STAGES.index(first) :])
    is_drawn = dataset.name == "toysigns"
    num_clips = (
        toysigns.num_training_clips(dataset)
        if is_drawn
        else prepare_chalearn.num_training_clips(dataset, settings["val_fraction"])
    )
    train_mobile_lstm.announce_duration(dataset, num_clips, **settings)
    if is_drawn:
        stages.run("toysigns", toysigns.make_dataset, dataset, workers=workers)
    if prepare_chalearn.is_for(dataset):
        stages.run("prepare_chalearn", prepare_chalearn.prepare, dataset, workers=workers)
    stages.run("frame", frame.extract_frames, dataset, workers=workers)
    stages.run("opticalflow", opticalflow.extract_flow, dataset, workers=workers)
    if dataset.preset.epochs_top:
        stages.run("feature", feature.extract_streams, dataset, workers=workers, **settings)
    train = train_mobile_lstm.train
    stages.run("train_mobile_lstm", train, dataset, **{**settings, "resume": True})
    run = training.run_dir(dataset, "mobile_lstm", settings["run_name"], settings["seed"])
    stages.run("evaluate", evaluate.evaluate_if_new, run)
    return stages.finish(run, dataset.videos()[-1].path)


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    data.add_arguments(parser, default="toysigns")
    parser.add_argument("--from", dest="first", choices=STAGES, default=STAGES[0], help="stage")
    train_mobile_lstm.add_arguments(parser)
    args = parser.parse_args(argv)
    dataset, settings = train_mobile_lstm.from_arguments(args)
    return run_pipeline(dataset, args.first, **settings)


if __name__ == "__main__":
    stage.command_line(main)
