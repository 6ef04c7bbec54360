"""Stage 1 for any other data set: sorts videos that a table lists into one folder per sign.

    python prepare_table.py --dataset my_signs --table labels.csv --videos DIR
    python prepare_table.py --dataset lsa64 --names "{label}_{signer}_{}" --videos DIR

reads   the table: CSV, TSV, semicolons, spaces, JSON or JSON lines, a row per clip; or the names
        of the videos, see --names
        DIR: videos, or folders of frames, in folders of any depth
writes  data_set/<dataset>/<split>/<class>/<video>.*     links, copies, or cuts by start and end
        data_set/<dataset>/class.csv                     the signs, where it is missing
        data_set/<dataset>/clip.csv                      who signs, where the table says so

What the columns mean is guessed from names and content and told; --video-column and its kind name
them. A wrong row is told with its line, and the others are done. The tables of WLASL, AUTSL, Jester
and others work as they are, see docs/tables.md.
"""

from common import command_line  # isort: split

from pathlib import Path

from cluster import connection
from common import class_list, disk, stage
from common import dataset as data
from common.command_line import POSITIVE, number_of
from tables import columns, names, reading, videos
from tables.plan import Plan

UNITS = ("frames", "seconds")


def prepare(dataset, table, found, named=None, workers=None, rebuild=False, **how):
    """Sorts the videos of a table into `data_set/<dataset>`; those that are there are skipped.

    Args:
        dataset: `dataset.Dataset`.
        table: `reading.Table`.
        found: `videos.Videos`.
        named: {role: column}, see `columns.ROLES`; the others are guessed.
        workers: see `stage.run`.
        rebuild: make the clips anew that are there.
        how: `unit` of start and end, one of `UNITS`, by default as the columns are called;
            `transfer`: "link" or "copy"; `fps` of folders of frames; `split_by`: "signer"
            keeps people apart.

    Returns:
        `stage.Report`; wrong rows have failed.

    Raises:
        ValueError: no column can be taken for video or label, or no row is right.
    """
    usual = {"unit": None, "transfer": "link", "fps": videos.DEFAULT_FPS, "split_by": None}
    plan = Plan(dataset, table, found, named or {}, {**usual, **how})
    print(plan.told())
    if not plan.names:
        raise ValueError(f"No row can be used. The first one: {plan.refused[0].source.reason}")
    for folder, name in plan.names.items():
        if folder != name:
            print(f"folder {folder}: sign {name}")
    if rebuild:
        for job in plan.jobs:
            job.target.unlink(missing_ok=True)
    _remove_outdated(dataset, plan)
    jobs = plan.jobs + plan.refused
    report = stage.run("prepare", videos.write, jobs, dataset.video_dir, workers)
    _write_lists(dataset, plan)
    return report


def _remove_outdated(dataset, plan):
    """Deletes what an earlier table made here and this one does not; other clips stay.

    Where rows are wrong, only what has come into another split: their videos may come back.
    """
    wanted = {job.target for job in plan.jobs}
    moved = {(target.parent.name, target.name) for target in wanted}
    made = (path for path in dataset.video_dir.glob("*/*/*") if not path.name.startswith("."))
    earlier = [path for path in made if path not in wanted and disk.read_stamp(path) is not None]
    outdated = earlier
    if plan.refused:
        outdated = [path for path in earlier if (path.parent.name, path.name) in moved]
        if stay := sorted(set(earlier) - set(outdated)):
            place = stay[0].relative_to(dataset.video_dir)
            print(
                "Clips of an earlier table that stay, for some rows are wrong: "
                f"{len(stay)}, such as {place}"
            )
    for path in outdated:
        disk.remove_stamp(path)
        path.unlink()
    if outdated:
        place = outdated[0].relative_to(dataset.video_dir)
        words = number_of(len(outdated), "clip")
        print(f"{words} of an earlier table removed, such as {place}")


def _write_lists(dataset, plan):
    if not dataset.class_file.is_file():
        signs = [class_list.Sign(folder, name) for folder, name in sorted(plan.names.items())]
        class_list.write_class_file(dataset.class_file, signs)
    if plan.signers:
        class_list.write_signers(dataset.clip_file, plan.signers)
        people = {split: set() for split in data.SPLITS}
        for (split, _, _), signer in plan.signers.items():
            people[split].add(signer)
        told = ", ".join(f"{len(names)} in {split}" for split, names in people.items() if names)
        shared = people["train"] & (people["val"] | people["test"])
        print(f"people: {told}" + (f"; {len(shared)} of them in several" if shared else ""))


def _find_videos(folder):
    if folder is None or not folder.is_dir():
        raise FileNotFoundError(f"--videos is the folder of the videos. There is no {folder}")
    found = videos.Videos(folder)
    if not found.paths:
        raise FileNotFoundError(
            f"No video in {folder}. Accepted: {' '.join(sorted(data.VIDEO_SUFFIXES))}, and folders "
            "of pictures."
        )
    return found


def main(argv=None):
    parser = command_line.make_parser(__doc__)
    options = {"dataset": data.OPTIONS["dataset"], **stage.OPTIONS, **connection.OPTIONS}
    command_line.add_flags(parser, options)
    parser.add_argument("--table", type=Path, nargs="+", metavar="FILE", help="a row per clip")
    parser.add_argument(
        "--names",
        metavar="PATTERN",
        help='what names of videos say, such as "{label}_{signer}_{}"; enough without a table',
    )
    parser.add_argument(
        "--videos", type=Path, metavar="DIR", help="folder of the videos (default: the table's)"
    )
    for role in columns.ROLES:
        parser.add_argument(f"--{role}-column", metavar="NAME", help="default: guessed")
    parser.add_argument("--unit", choices=UNITS, help="of start and end (default: guessed)")
    parser.add_argument("--encoding", help="of the table (default: utf-8)")
    parser.add_argument(
        "--split-by", choices=["signer"], help="nobody is in two splits (default: as the table is)"
    )
    parser.add_argument("--copy", action="store_true", help="copy videos (default: link)")
    parser.add_argument(
        "--fps", type=POSITIVE, default=videos.DEFAULT_FPS, help="of folders of frames"
    )
    args = parser.parse_args(argv)
    dataset = data.Dataset(args.dataset)
    if not args.table and not args.names:
        parser.error("--table or --names says what is signed")
    named = {role: getattr(args, f"{role}_column") for role in columns.ROLES}
    named = {role: name for role, name in named.items() if name}
    found = _find_videos(args.videos or (args.table[0].parent if args.table else None))
    table = reading.read(args.table, args.encoding) if args.table else names.table_of(found)
    if args.names:
        column = named.get("video") or columns.of_videos(table, found.find)
        table = names.with_fields(table, column, args.names)
    with connection.used(args.cluster):
        report = prepare(
            dataset,
            table,
            found,
            named,
            args.workers,
            args.rebuild,
            unit=args.unit,
            transfer="copy" if args.copy else "link",
            fps=args.fps,
            split_by=args.split_by,
        )
    data.print_splits(dataset.videos(), "video")
    print(f"Next: python frame.py {dataset.flags()}")
    return report.exit_status


if __name__ == "__main__":
    command_line.run(main)
