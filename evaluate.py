"""Judge a trained run: accuracy per stream and fused, confusions, and the fusion weight.

    python evaluate.py --model model/<run>
    python evaluate.py --model model/<run> --split val
    python evaluate.py --compare model/<run> model/<run>

reads   model/<run>/, data_temp/<dataset>/<preset>/{frame,oflow}/<split>/
writes  model/<run>/  evaluation.json confusion.png, and the fusion weight into run.json

The fusion weight is chosen on the validation clips. What is reported comes from `test` where there
is such a split, else from the validation clips themselves.
"""

import json

import predict
from common import command_line, disk, run_folder, stage
from common import dataset as data
from evaluation import comparison
from evaluation.confusion import confusion_matrix, most_confused, plot_confusion
from evaluation.metrics import choose_fusion_weight, metrics, score
from training import start


def evaluate(run_dir, split=None, engine="auto"):
    """Scores a run on one split and writes what comes out into the run's folder.

    Args:
        run_dir: folder of a trained run.
        split: "train", "val" or "test"; by default test where there is one, else val, else train.
        engine: see `predict.Recognizer`.

    Returns:
        The content of evaluation.json: {"split", "num_videos", "streams": {"rgb" | "flow" |
        "fused": {"top1", "top5", "macro_recall"}}}.

    Raises:
        FileNotFoundError: no run, no stored clips, or none in this split.
        ValueError: the stored clips or signs do not fit the run.
    """
    run = run_folder.Run.read(run_dir)
    clips = stored_splits(run)
    split = split or next(name for name in ("test", "val", "train") if clips[name])
    if not clips[split]:
        there = ", ".join(name for name in clips if clips[name])
        raise FileNotFoundError(f"{run.dataset} has no clips in {split}. There are: {there}.")
    recognizer = predict.Recognizer(run_dir, engine)
    print(f"engine: {predict.engine_text(recognizer)}")
    if clips["val"] and len(recognizer.streams) == 2:
        run.fusion_weight = choose_fusion_weight(*score(recognizer, clips["val"]))
        recognizer.run.fusion_weight = run.fusion_weight
        run.write()
    streams, classes = score(recognizer, clips[split])
    scores = {**streams, "fused": recognizer.fuse(streams)}
    result = {
        "split": split,
        "num_videos": len(classes),
        "streams": {name: metrics(values, classes) for name, values in scores.items()},
    }
    disk.write_atomically(run.folder / "evaluation.json", json.dumps(result, indent=1) + "\n")
    confusion = confusion_matrix(scores["fused"].argmax(axis=1), classes, len(run.signs))
    plot_confusion(confusion, run, split)
    print_metrics(result, run)
    for count, true, predicted in most_confused(confusion):
        print(f"  {count} x {run.signs[true].name} taken for {run.signs[predicted].name}")
    print(f"picture: {run.folder / 'confusion.png'}")
    return result


def evaluate_if_new(run_dir):
    """`evaluate`, unless the run has an evaluation that is newer than its networks.

    Returns:
        `stage.Report`; its output is the run's folder.
    """
    run = run_folder.Run.read(run_dir)
    report = stage.Report("evaluate", run.folder)
    if not run.streams:
        raise FileNotFoundError(f"{run.folder} has no network yet. Its training is unfinished.")
    path = run.folder / "evaluation.json"
    newest = max(run.model_file(stream).stat().st_mtime for stream in run.streams)
    if path.is_file() and path.stat().st_mtime >= newest:
        result = json.loads(path.read_text(encoding="utf-8"))
        report.skipped = result["num_videos"]
        print_metrics(result, run)
    else:
        report.done = evaluate(run_dir)["num_videos"]
    return report


def stored_splits(run):
    """{"train", "val", "test": clips that have frames and flow}, with the run's own val split.

    Raises:
        ValueError: frames or flow were made otherwise than those that the run was trained on, or
            there are clips of signs that it does not know.
    """
    dataset = data.Dataset(run.dataset, run.preset.name, run.folder.parent.parent)
    dataset.preset = run.preset
    stored = start.stored_clips(dataset, "flow" if "flow" in run.streams else "rgb")
    flow = disk.read_parameters(dataset.flow_dir)
    if "flow" in run.streams and flow != run.flow:
        raise ValueError(
            f"{run.folder} was trained on flow made with {run.flow}, but {dataset.flow_dir} was "
            f"made with {flow}. Train a new run."
        )
    unknown = sorted({clip.label for clip in stored} - set(run.labels))
    if unknown:
        raise ValueError(
            f"{run.folder} knows {len(run.signs)} signs, and not {', '.join(unknown[:5])}, of "
            f"which {dataset.frame_dir} has clips. Train a new run: "
            f"`python train_{run.architecture}.py {dataset.flags()} --restart`."
        )
    _refuse_changed_signs(run, dataset)
    train, val = data.split_train_val(stored, run.data["val_fraction"])
    test = [clip for clip in stored if clip.split == "test"]
    return {"train": train, "val": val, "test": test}


def _refuse_changed_signs(run, dataset):
    signs = dataset.signs(run.labels)
    for trained, listed in zip(run.signs, signs, strict=True):
        if trained != listed:
            raise ValueError(
                f"The class list has changed since {run.folder} was trained: it says {trained}, "
                f"{dataset.class_file} says {listed}. Put the list back, or train a new run: "
                f"`python train_{run.architecture}.py {dataset.flags()} --restart`."
            )


def print_metrics(result, run):
    """The content of evaluation.json as a table."""
    print(f"{run.folder}: {result['num_videos']} clips of {result['split']}")
    if result["split"] == "train":
        print("The network was trained on these clips: nothing is said about new ones.")
    print(f"{'stream':8}{'top-1':>8}{'top-5':>8}{'macro recall':>14}")
    for name, values in result["streams"].items():
        print(f"{name:8}{values['top1']:8.3f}{values['top5']:8.3f}{values['macro_recall']:14.3f}")
    if len(run.streams) == 2:
        print(f"fusion: {run.fusion_weight:.2f} rgb + {1 - run.fusion_weight:.2f} flow")


def main(argv=None):
    parser = command_line.make_parser(__doc__)
    command_line.add_flags(parser, predict.OPTIONS)
    parser.add_argument("--split", choices=data.SPLITS, help="default: test, else val")
    parser.add_argument(
        "--compare", nargs="+", metavar="RUN", help="print a table of these evaluated runs"
    )
    args = parser.parse_args(argv)
    if args.compare:
        comparison.compare(args.compare, args.engine)
        return
    evaluate(args.model or run_folder.newest(), args.split, args.engine)


if __name__ == "__main__":
    command_line.run(main, resumes=False)
