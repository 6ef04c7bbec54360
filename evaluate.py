"""Judge a trained run: accuracy per stream and fused, confusions, and the fusion weight.

    python evaluate.py --model model/<run>
    python evaluate.py --model model/<run> --split val
    python evaluate.py --compare model/<run> model/<run>

reads   model/<run>/, data_temp/<dataset>/<preset>/{frame,oflow}/<split>/
writes  model/<run>/  evaluation.json confusion.png, and the fusion weight into run.json

The fusion weight is chosen on the validation clips. What is reported comes from `test` where there
is such a split, else from the validation clips themselves.
"""

from common import command_line  # isort: split

import predict
from common import dataset as data
from common import disk, stage
from common.class_list import read_signers
from common.command_line import number_of, some_of
from evaluation import comparison, results
from evaluation.baseline import nearest_clips
from evaluation.confusion import confusion_matrix, most_confused, plot_confusion
from evaluation.metrics import metrics, of_new_people, score, score_nearest
from inference import run_folder
from training import start


def evaluate(run_dir=None, split=None, engine="auto", stored=False):
    """Scores a run on one split and writes what comes out into the run's folder.

    Args:
        run_dir: as in `predict.Recognizer`.
        split: "train", "val" or "test"; by default test where there is one, else val, else train.
        engine: see `predict.Recognizer`.
        stored: also judge clips whose videos are gone, see `Dataset`.

    Returns:
        {"split", "num_videos", "clips", "streams": {"rgb" | "flow" | "fused": {"top1", "top5",
        "macro_recall"}}, ...}, see `evaluation/results.py`.

    Raises:
        FileNotFoundError: no run, no stored clips, or none in this split.
        ValueError: the stored clips or signs do not fit the run.
    """
    run = run_folder.Run.read(run_folder.find(run_dir))
    clips = stored_splits(run, stored)
    split = split or _best_split(clips)
    if not clips[split]:
        there = ", ".join(name for name in clips if clips[name])
        raise FileNotFoundError(f"{run.dataset} has no clips in {split}. There are: {there}.")
    gone = run.data["val"] - len(clips["val"])
    if split == "val" and gone > 0:
        print(f"Validation clips of the training that are gone: {gone}.")
    recognizer = predict.Recognizer(run.folder, engine)
    print(f"engine: {predict.engine_text(recognizer)}")
    if run.architecture == run_folder.NEAREST and split == "train":
        for network in recognizer.networks.values():
            network.comparison.without_same = True
    if clips["val"] and len(recognizer.streams) == 2:
        run.fusion_weight = predict.choose_fusion_weight(*score(recognizer, clips["val"]))
        recognizer.run.fusion_weight = run.fusion_weight
        run.write()
    unknown = None
    if run.architecture == run_folder.NEAREST:
        streams, classes, unknown = score_nearest(recognizer, clips[split])
    else:
        streams, classes = score(recognizer, clips[split])
    scores = {**streams, "fused": recognizer.fuse(streams)}
    result = {
        "num_videos": len(classes),
        "clips": _digest_of_videos(run, clips[split]),
        "streams": {name: metrics(values, classes) for name, values in scores.items()},
    }
    signers = read_signers(run.clips_of().clip_file)
    if people := of_new_people(signers, clips["train"], clips[split], scores["fused"], classes):
        result["new_people"] = people
    if unknown:
        result["unknown"] = unknown
    elif split != "train":
        result["nearest"] = nearest_clips(run, clips["train"], clips[split], scores["fused"])
    picture = results.picture(run, split, clips)
    results.write(run, split, result)
    confusion = confusion_matrix(scores["fused"].argmax(axis=1), classes, len(run.signs))
    plot_confusion(confusion, run, split, picture)
    print_metrics(run, split, result)
    for count, true, predicted in most_confused(confusion):
        print(f"  {count} x {run.signs[true].name} taken for {run.signs[predicted].name}")
    print(f"picture: {picture}")
    return {"split": split, **result}


def evaluate_if_new(run_dir, stored=False):
    """`evaluate`, unless the same clips were judged already, by the networks that are there.

    Returns:
        `stage.Report`; its output is the run's folder.
    """
    run = run_folder.Run.read(run_dir)
    report = stage.Report("evaluate", run.folder)
    if not run.streams:
        raise FileNotFoundError(f"{run.folder} has no network yet. Its training is unfinished.")
    path = run.folder / results.FILE
    newest = max(run.model_file(stream).stat().st_mtime for stream in run.streams)
    clips = stored_splits(run, stored)
    split = _best_split(clips)
    judged = results.read(run)
    digest = _digest_of_videos(run, clips[split])
    is_known = split in judged and judged[split].get("clips", digest) == digest
    if is_known and path.stat().st_mtime >= newest:
        report.skipped = judged[split]["num_videos"]
        print_metrics(run, split, judged[split])
    else:
        report.done = evaluate(run_dir, stored=stored)["num_videos"]
    return report


def _digest_of_videos(run, clips):
    return start.digest_of_videos(clips, start.stamps_of(run.clips_of(), clips))


def _best_split(clips):
    """The split that tells most of those that have clips."""
    return results.best_split([name for name in clips if clips[name]])


def is_guessing(run_dir):
    """Whether what is known of a run is no better than guessing."""
    run = run_folder.Run.read(run_dir)
    judged = results.read(run)
    if not judged:
        return False
    return results.beside_chance(run, judged[results.best_split(judged)]) == results.GUESSING


def stored_splits(run, stored=False):
    """{"train", "val", "test": clips that have frames and flow}, with the run's own val split.

    Raises:
        ValueError: frames or flow were made otherwise than those that the run was trained on, or
            the class list has changed since.
    """
    dataset = run.clips_of(stored)
    stream = "flow" if "flow" in run.streams else "rgb"
    clips = start.stored_clips(dataset, [stream]).clips[stream]
    flow = disk.read_parameters(dataset.flow_dir)
    if "flow" in run.streams and flow != run.flow:
        raise ValueError(
            f"{run.folder} was trained on flow made with {run.flow}, but {dataset.flow_dir} was "
            f"made with {flow}. Train a new run."
        )
    clips = _of_known_signs(run, clips)
    _refuse_changed_signs(run, dataset)
    train, val = start.split_of_run(run, clips)
    test = [clip for clip in clips if clip.split == "test"]
    return {"train": train, "val": val, "test": test}


def _of_known_signs(run, clips):
    """The clips whose sign the run knows; the others are told."""
    known = [clip for clip in clips if clip.label in run.labels]
    unknown = sorted({clip.label for clip in clips} - set(run.labels))
    if unknown:
        run.clips_of().tell_once(
            f"Left out: {number_of(len(clips) - len(known), 'clip')} of "
            f"{number_of(len(unknown), 'sign')} that {run.folder.name} was not trained on: "
            f"{some_of(unknown)}"
        )
    return known


def _refuse_changed_signs(run, dataset):
    signs = dataset.signs(run.labels)
    for trained, listed in zip(run.signs, signs, strict=True):
        if trained != listed:
            raise ValueError(
                f"The class list has changed since {run.folder} was trained: it says {trained}, "
                f"{dataset.class_file} says {listed}. Put the list back, or train a new run: "
                f"`python train_{run.architecture}.py {dataset.flags()} --restart`."
            )


def print_metrics(run, split, result):
    """A split's result as a table: top-5 where there are more than five signs."""
    number, chance = result["num_videos"], results.chance(run)
    words = f"{number_of(number, 'clip')} of {split}, {number_of(len(run.signs), 'sign')}"
    print(f"{run.title}: {words}, chance {chance:.3f}")
    if split == "train" and run.architecture == run_folder.NEAREST:
        print("Each of these clips was compared with all others, not with itself.")
    elif split == "train":
        print("The network was trained on these clips: nothing is said about new ones.")
    columns = {"top1": "top-1", "top5": "top-5", "macro_recall": "macro recall"}
    if len(run.signs) <= 5:
        del columns["top5"]
    print(f"{'stream':8}" + "".join(f"{title:>14}" for title in columns.values()))
    for name, values in result["streams"].items():
        print(f"{name:8}" + "".join(f"{values[key]:14.3f}" for key in columns))
    if len(run.streams) == 2:
        print(f"fusion: {run.fusion_weight:.2f} rgb + {1 - run.fusion_weight:.2f} flow")
    if words := results.beside_chance(run, result):
        print(words)
    if people := result.get("new_people"):
        print(
            f"people of whom no clip was trained on: {people['top1']:.3f} of "
            f"{number_of(people['num_videos'], 'clip')} of {people['num_people']} "
            f"{'person' if people['num_people'] == 1 else 'people'}"
        )
    _print_unknown(result)
    _print_baseline(run, result)


def _print_unknown(result):
    if "unknown" not in result:
        return
    number, counts = result["num_videos"], result["unknown"]
    clips = number_of(number, "clip")
    print(
        f"none of these: said of {counts['lost']} of {clips} whose sign is known, and of "
        f"{counts['refused']} of {number} with their own sign taken away (ROC area "
        f"{counts['area']:.2f})"
    )


def _print_baseline(run, result):
    """The nearest clip beside the network, and what helps where the network is no better."""
    found = result.get("nearest")
    if not found:
        return
    print(
        f"nearest clip, without training: {found['top1']:.3f}; the network on the same "
        f"{number_of(found['num_videos'], 'clip')}: {found['network']:.3f}"
    )
    if found["network"] <= found["top1"] and found["network"] < 1:
        flags = run.clips_of().flags()
        print(
            "The network does not beat the nearest clip, which takes seconds: `python "
            f"pipeline_nearest.py {flags}`. What helps training: more clips of each sign, of more "
            "people, or --preset full with published weights."
        )


def main(argv=None):
    parser = command_line.make_parser(__doc__)
    command_line.add_flags(parser, {**predict.OPTIONS, "stored": data.OPTIONS["stored"]})
    parser.add_argument("--split", choices=data.SPLITS, help="default: test, else val")
    parser.add_argument(
        "--compare", nargs="+", metavar="RUN", help="print a table of these evaluated runs"
    )
    args = parser.parse_args(argv)
    if args.compare:
        comparison.compare(args.compare, args.engine, args.split)
        return
    evaluate(args.model, args.split, args.engine, args.stored)


if __name__ == "__main__":
    command_line.run(main, goes_on="")
