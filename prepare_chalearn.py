"""Stage 1 of 5: sort ChaLearn's zipped videos into one folder per sign.

    python prepare_chalearn.py --dataset chalearn
    python prepare_chalearn.py --dataset chalearn-020 --source data_set/chalearn
    python prepare_chalearn.py --dataset toysigns

reads   <source>/train.txt val.txt test.txt     label lists: colour file, depth file, label;
                                                ChaLearn's own come with the project
        <source>/train.zip val.zip test.zip     train/001/M_00001.avi colour, K_00001.avi depth;
                                                or folders of unzipped videos, train/001/...
        data_set/<dataset>/class.csv            the signs to take (all, where it is missing)
writes  data_set/<dataset>/<split>/<class>/M_00001.avi
        data_set/<dataset>-depth/<split>/<class>/K_00001.avi     with --depth
        data_set/<dataset>/class.csv                             where it is missing

<source> is data_set/<dataset>/, or for a subset such as chalearn-020 also data_set/chalearn/.
ChaLearn's own names (train_list.txt, IsoGD_phase_1.zip, valid/...) are known too. Videos are taken
out of a zip one by one. Videos of your own in data_set/<name>/train/<sign>/ need no preparation.
"""

from common import command_line  # isort: split

import argparse
import dataclasses
import functools
from pathlib import Path

from chalearn import label_list, video_source
from chalearn.sorting_plan import Plan
from cluster import connection
from common import class_list, stage
from common import dataset as data
from common.command_line import SHARE_TO_HALF

TRANSFERS = ("copy", "move", "link")
CHALEARN_PAGE = "https://chalearnlap.cvc.uab.cat/dataset/21/description/"


def prepare(
    dataset,
    source=None,
    class_file=None,
    depth=False,
    transfer="copy",
    val_fraction=0.0,
    workers=None,
    rebuild=False,
):
    """Sorts the listed videos into `data_set/<dataset>`; those that are there are skipped.

    Args:
        dataset: `dataset.Dataset`.
        source: folder with label lists, and zips or folders of videos; see the module.
        class_file: class.csv of the signs to take, by default the data set's own.
        depth: also prepare the depth videos, as the data set `<dataset>-depth`.
        transfer: what happens to videos that are unzipped already, one of `TRANSFERS`.
        val_fraction: share of the training videos, 0 to 0.5, that become validation videos where
            no list names any: sign by sign, by a hash of their names.
        workers: see `stage.run`.
        rebuild: delete the prepared videos first.

    Returns:
        `stage.Report`, colour and depth added up.

    Raises:
        FileNotFoundError: there are no lists; the message says where they come from.
        ValueError: lists, class file or what is in the folder do not fit; nothing was done.
    """
    source = _find_source(dataset, source)
    lists = _lists_in(dataset, source)
    signs, allowed = label_list.choose_signs(dataset, source, class_file)
    rows, notes = label_list.read_lists(lists, allowed)
    signs = signs or label_list.signs_of(dataset, rows)
    sources = video_source.open_sources(source, lists)
    notes += _left_out(rows, signs, sources)
    rows = [row for row in rows if row.label in {sign.label for sign in signs}]
    faults = _faults(source, sources)
    if not rows:
        raise ValueError(f"No row of the lists in {source} has a sign of the class list.")
    if val_fraction:
        rows = _split_off_val(rows, lists, val_fraction)
        sources["val"] = sources["train"]
    plans = [Plan(dataset, rows, sources, "colour", faults)]
    if depth:
        depth_set = data.Dataset(f"{dataset.name}-depth", dataset.preset.name, dataset.root)
        plans.append(Plan(depth_set, rows, sources, "depth"))
    for plan in plans:
        notes += plan.check(source, rebuild)
    for note in notes:
        print(note)
    for plan in plans:
        plan.remove_outdated(rebuild)
    return _added_up([_run(plan, signs, transfer, workers) for plan in plans])


def is_for(dataset):
    """Whether there are label lists to prepare this data set from.

    Lists of another kind beside sign folders with videos are left alone, and told.
    """
    return _lists_of(dataset) is not None


def _lists_of(dataset):
    """(folder, lists, signs, labels) of the first folder with ChaLearn's lists, or None."""
    for folder in _default_sources(dataset):
        try:
            lists = _lists_in(dataset, folder)
            if not lists:
                continue
            signs, labels = label_list.choose_signs(dataset, folder)
            if not label_list.read_lists(lists, labels)[0]:
                raise ValueError(f"no row in {', '.join(path.name for path in lists.values())}.")
        except ValueError as error:
            if label_list.is_chalearn(dataset) or not dataset.has_videos():
                raise
            dataset.tell_once(
                f"Left alone: the lists in {folder}, which are not as ChaLearn's: "
                f"{str(error).splitlines()[0]}"
            )
            return None
        return folder, lists, signs, labels
    return None


def num_training_clips(dataset, val_fraction=data.VAL_FRACTION):
    """The number of training clips of a data set, also before it is prepared.

    Args:
        dataset: `Dataset`.
        val_fraction: of them that is kept for validation where there are only videos.

    Raises:
        FileNotFoundError: there are neither videos nor lists.
    """
    if found := _lists_of(dataset):
        _, lists, signs, labels = found
        chosen = {sign.label for sign in signs} if signs else labels
        rows, _ = label_list.read_lists(lists, labels)
        train = [row for row in rows if row.split == "train"]
        return sum(chosen is None or row.label in chosen for row in train)
    train, _ = data.split_train_val(dataset.videos(), val_fraction)
    return len(train)


def _default_sources(dataset):
    """The data set's own folder and, for a subset such as chalearn-020, that of the whole."""
    whole = dataset.video_dir.with_name(dataset.name.rpartition("-")[0] or dataset.name)
    return [dataset.video_dir, whole]


def _lists_in(dataset, folder):
    """{split: path} of the lists of a folder.

    Its own, else of ChaLearn those that come with the project, of the splits that it has videos of.
    """
    lists = label_list.find_lists(folder)
    if lists or not label_list.is_chalearn(dataset):
        return lists
    known = label_list.CHALEARN_LISTS.items()
    return {split: path for split, path in known if video_source.has_videos(folder, split)}


def _find_source(dataset, source):
    """The folder with the lists, or the reason why there is none."""
    if source is not None and not Path(source).is_dir():
        raise FileNotFoundError(f"--source is a folder with label lists. There is no {source}")
    folders = [Path(source)] if source is not None else _default_sources(dataset)
    for folder in folders:
        if _lists_in(dataset, folder):
            return folder
    if source is None:
        _refuse_prepared(dataset)
    missing = "No video" if label_list.is_chalearn(dataset) else "No label list"
    raise FileNotFoundError(
        f"{missing} in {folders[0]} (expected train.zip, val.zip, test.zip, or IsoGD_phase_1.zip, "
        "IsoGD_phase_2.zip, or folders train/, valid/, test/; lists of your own beside them, "
        "train.txt, val.txt, test.txt, or train_list.txt, valid_list.txt, test_list.txt, come "
        "before those of this project). ChaLearn IsoGD is given by its owners to those who "
        f"register: {CHALEARN_PAGE}. Put the files into {folders[0]} and start this command again, "
        "or name their folder with --source."
    )


def _refuse_prepared(dataset):
    """Says what a folder without lists is instead: a data set already, or a wrong name."""
    try:
        dataset.videos()
    except FileNotFoundError:
        if not label_list.is_chalearn(dataset):
            raise
        return
    raise ValueError(
        f"{dataset.video_dir} has a folder per sign and no label lists: it needs no preparation. "
        f"Next: `python frame.py {dataset.flags()}`."
    )


def _left_out(rows, signs, sources):
    """What a person should know about rows, signs and files that are not used."""
    labels = {sign.label for sign in signs}
    listed = {row.label for row in rows}
    notes = []
    if outside := sum(row.label not in labels for row in rows):
        notes.append(f"{outside:,} rows have a sign that is not selected: left out")
    if labels - listed:
        notes.append(f"no row has the sign {', '.join(sorted(labels - listed)[:5])}")
    paths = [path for row in rows for path in (row.colour, row.depth)]
    for source in set(sources.values()):
        if names := source.repeated():
            notes.append(f"{source.path}: {len(names):,} names are there twice, as {names[0]}")
        if names := source.not_listed(paths):
            notes.append(f"{source.path}: {len(names):,} files are in no list, as {names[0]}")
    return sorted(notes)


def _split_off_val(rows, lists, val_fraction):
    """Turns some rows of train into rows of val, see `dataset.split_train_val`."""
    if "val" in lists or "train" not in lists:
        raise ValueError(
            "--val-fraction takes videos from train where there is no list for val. Lists: "
            + ", ".join(map(str, lists.values()))
        )
    clips = [data.Clip(row.split, row.label, row.name, Path(row.colour)) for row in rows]
    _, val = data.split_train_val(clips, val_fraction)
    moved = set(val)
    return [
        dataclasses.replace(row, split="val") if clip in moved else row
        for row, clip in zip(rows, clips, strict=True)
    ]


def _faults(source, sources):
    """(label, reason) of what always fails: members with unsafe paths, and zips without a list."""
    return [
        (f"{place.path}: {name!r}", "the path leads out of the zip: not taken")
        for place in set(sources.values())
        for name in place.unsafe
    ] + [
        (str(path), f"there is no {split}.txt beside it")
        for split, path in video_source.zips_without_list(source, sources).items()
    ]


def _run(plan, signs, transfer, workers):
    dataset = plan.dataset
    dataset.video_dir.mkdir(parents=True, exist_ok=True)
    if not dataset.class_file.is_file():
        class_list.write_class_file(dataset.class_file, signs)
    try:
        report = stage.run(
            "prepare" if plan.kind == "colour" else f"prepare {plan.kind}",
            functools.partial(video_source.fetch, transfer=transfer),
            plan.jobs,
            dataset.video_dir,
            workers=workers,
            bytes_per_job=plan.mean_bytes(),
        )
    finally:
        video_source.close_zips()
    if transfer == "move":
        plan.delete_moved()
    return report


def _added_up(reports):
    first, *others = reports
    for other in others:
        first.done += other.done
        first.skipped += other.skipped
        first.failed += other.failed
        first.warnings += other.warnings
        first.seconds += other.seconds
    return first


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options = {"dataset": data.OPTIONS["dataset"], **stage.OPTIONS, **connection.OPTIONS}
    command_line.add_flags(parser, options)
    parser.add_argument(
        "--source",
        metavar="DIR",
        help="folder with lists and zips or unzipped videos (default: data_set/NAME)",
    )
    parser.add_argument(
        "--class-file",
        metavar="FILE",
        help="class.csv of the signs to take (default: data_set/NAME/class.csv, else all signs)",
    )
    parser.add_argument("--depth", action="store_true", help="also prepare NAME-depth")
    transfer = parser.add_mutually_exclusive_group()
    for name, text in (("move", "move"), ("link", "hard-link")):
        transfer.add_argument(
            f"--{name}",
            action="store_const",
            dest="transfer",
            const=name,
            default="copy",
            help=f"{text} videos that are unzipped already (default: copy)",
        )
    parser.add_argument(
        "--val-fraction",
        type=SHARE_TO_HALF,
        default=0.0,
        metavar="F",
        help="without a val list, this share of train becomes val (default: 0)",
    )
    flags = vars(parser.parse_args(argv))
    dataset = data.Dataset(flags.pop("dataset"))
    with connection.used(flags.pop("cluster")):
        report = prepare(dataset, **flags)
    data.print_splits(dataset.videos(), "video")
    print(f"Next: python frame.py {dataset.flags()}")
    return report.exit_status


if __name__ == "__main__":
    command_line.run(main)
