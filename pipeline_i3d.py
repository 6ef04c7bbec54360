"""The whole way: from videos to a recogniser, with the two-stream I3D.

    python pipeline_i3d.py
    python pipeline_i3d.py --dataset my_signs --preset laptop
    python pipeline_i3d.py --dataset chalearn --from opticalflow

Finished work is skipped; an interrupted pipeline goes on where it stopped.
"""

import argparse

import dataset as data
import evaluate
import frame
import opticalflow
import prepare_chalearn
import stage
import toysigns
import train_i3d
import training

STAGES = ("toysigns", "prepare_chalearn", "frame", "opticalflow", "train_i3d", "evaluate")


def run_pipeline(dataset, first=STAGES[0], workers=None, seed=0, **settings):
    """Runs the stages from `first` on; returns the exit status.

    Args:
        dataset: `dataset.Dataset`.
        first: one of `STAGES`.
        workers: number of processes of the data stages, by default one per core.
        seed: of training.
        settings: further arguments of `train_i3d.train`.
    """
    stages = stage.Stages(STAGES[STAGES.index(first) :])
    train_i3d.announce_duration(dataset, expected_clips(dataset), **settings)
    if dataset.name == "toysigns":
        stages.run("toysigns", toysigns.make_dataset, dataset, workers=workers)
    if prepare_chalearn.is_for(dataset):
        stages.run("prepare_chalearn", prepare_chalearn.prepare, dataset, workers=workers)
    stages.run("frame", frame.extract_frames, dataset, workers=workers)
    stages.run("opticalflow", opticalflow.extract_flow, dataset, workers=workers)
    stages.run("train_i3d", train_i3d.train, dataset, seed=seed, resume=True, **settings)
    run = training.run_dir(dataset, "i3d", seed=seed)
    stages.run("evaluate", evaluate.evaluate_if_new, run)
    stages.print()
    print(f"model: {run}\npictures: {run / 'curves.png'}, {run / 'confusion.png'}")
    print(
        f"Next: python predict.py --model {run.as_posix()} {dataset.videos()[-1].path.as_posix()}"
    )
    return stages.exit_status


def expected_clips(dataset):
    """Number of training clips, also before there are any."""
    if dataset.name == "toysigns":
        return len(toysigns.SIGNS) * toysigns.CLIPS_PER_SIGN[0]
    return sum(video.split == "train" for video in dataset.videos())


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    data.add_arguments(parser, default="toysigns")
    parser.add_argument("--from", dest="first", choices=STAGES, default=STAGES[0], help="stage")
    parser.add_argument("--workers", type=stage.positive_int, help="default: one per core")
    parser.add_argument("--seed", type=int, default=0, help="of training (default: 0)")
    parser.add_argument("--weights", help="kinetics, none or a file (default: the preset's)")
    parser.add_argument("--restart", action="store_true", help="train anew")
    args = vars(parser.parse_args(argv))
    dataset = data.Dataset(args.pop("dataset"), args.pop("preset"))
    return run_pipeline(dataset, **args)


if __name__ == "__main__":
    stage.command_line(main)
