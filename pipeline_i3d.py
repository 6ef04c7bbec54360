"""The whole way: from videos to a recogniser, with the two-stream I3D.

    python pipeline_i3d.py
    python pipeline_i3d.py --dataset my_signs --preset laptop
    python pipeline_i3d.py --dataset chalearn --from opticalflow

Finished work is skipped; an interrupted pipeline goes on where it stopped.
"""

import argparse
import functools

import dataset as data
import evaluate
import feature
import frame
import opticalflow
import prepare_chalearn
import stage
import toysigns
import train_i3d
import training

STAGES = "toysigns prepare_chalearn frame opticalflow feature train_i3d evaluate".split()


def run_pipeline(dataset, first=STAGES[0], workers=None, **settings):
    """Runs the stages from `first` on, with `settings` of training; returns the exit status."""
    stages = stage.Stages(STAGES[STAGES.index(first) :])
    is_drawn = dataset.name == "toysigns"
    num_clips = (
        toysigns.num_training_clips(dataset)
        if is_drawn
        else prepare_chalearn.num_training_clips(dataset, settings["val_fraction"])
    )
    train_i3d.announce_duration(dataset, num_clips, **settings)
    if is_drawn:
        stages.run("toysigns", toysigns.make_dataset, dataset, workers=workers)
    if prepare_chalearn.is_for(dataset):
        stages.run("prepare_chalearn", prepare_chalearn.prepare, dataset, workers=workers)
    stages.run("frame", frame.extract_frames, dataset, workers=workers)
    stages.run("opticalflow", opticalflow.extract_flow, dataset, workers=workers)
    if settings["top_only"]:
        extract = functools.partial(feature.extract_streams, extractor="i3d", workers=workers)
        stages.run("feature", extract, dataset, **settings)
    stages.run("train_i3d", train_i3d.train, dataset, **{**settings, "resume": True})
    run = training.run_dir(dataset, "i3d", settings["run_name"], settings["seed"])
    stages.run("evaluate", evaluate.evaluate_if_new, run)
    return stages.finish(run, dataset.videos()[-1].path)


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    data.add_arguments(parser, default="toysigns")
    parser.add_argument("--from", dest="first", choices=STAGES, default=STAGES[0], help="stage")
    train_i3d.add_arguments(parser)
    args = parser.parse_args(argv)
    dataset, settings = train_i3d.from_arguments(args)
    return run_pipeline(dataset, args.first, **settings)


if __name__ == "__main__":
    stage.command_line(main)
