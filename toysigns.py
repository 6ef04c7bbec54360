"""The embedded data set: drawn signers who perform eight signs that differ in motion only.

    python toysigns.py
    python toysigns.py --dataset toysigns-tiny --clips-per-sign 2 1 1

It writes what ChaLearn delivers, zipped videos and label lists, so that the next stage,
prepare_chalearn.py, is exercised for real.

writes  data_set/<dataset>/{train,val,test}.zip   train/001/M_00001.avi colour, K_00001.avi depth
        data_set/<dataset>/{train,val,test}.txt   train/001/M_00001.avi train/001/K_00001.avi 3
        data_set/<dataset>/class.csv              the names of the signs, in label order

Left and right are those of the picture, which is not mirrored: swipe_left goes to the left of the
picture, which is the signer's own right. One hand does the sign, either one; clap takes both.
Face the camera, arms hanging, then raise the hand to the chest, do the sign, lower the hand:

    1 no_gesture   stand still, or keep the hand where it is for a while, or scratch the head
    2 wave         move the hand from side to side, three or four times, a good half second each
    3 swipe_left   raise the hand at the right of the picture, wait, move it to the left, wait
    4 swipe_right  the other way round
    5 swipe_up     raise the hand to the belly, wait, move it up to the head, wait
    6 swipe_down   raise the hand to the head, wait, move it down to the belly, wait
    7 circle       draw a circle in the air, once and a bit, either way round, in two seconds
    8 clap         both hands in front of the chest: together and apart, as slowly as a wave

A single picture tells little: all signs use the same place and the same time, the other hand is
often raised as well, and a swipe played backwards is the opposite swipe. The whole gesture stays
in the central 200×200 pixels.

Signers of train, val and test are different people. What varies, from clip to clip:

    num_frames         42 .. 48 frames, 10 per second
    active_seconds     2.5 .. 2.9 s with the hand raised
    raise_seconds      0.45 .. 0.6 s to raise it, and to lower it
    start_share        0.35 .. 0.65 of the spare time passes before
    swipe_seconds      1.1 .. 1.4 s
    swing_seconds      0.58 .. 0.7 s for each swing of wave and clap
    num_swings         3 .. 4 swings
    turn_seconds       1.8 .. 2.2 s for each turn of a circle
    num_turns          1.1 .. 1.4 turns
    swipe_px           42 .. 54 px, half the way
    wave_px            30 .. 40 px, half the way
    radius_px          34 .. 44 px, of circles
    circle_aspect      0.9 .. 1.1 height by width
    clap_px            44 .. 60 px, half the distance of the hands
    centre_x_px        4 .. 18 px from the chest towards the side of the hand
    centre_y_px        8 .. 26 px below the shoulders
    centre_z_px        10 .. 28 px in front of the chest
    tilt_degrees       -7 .. 7 degrees, of swipes and waves
    bow_px             -6 .. 6 px, their bend
    wobble_px          0.5 .. 1.5 px, of all paths
    hold_x_px          -32 .. 52 px, place of an idle raised hand
    hold_y_px          -44 .. 62 px
    sway_px            0.5 .. 2.0 px, of the body
    head_tilt_degrees  1.0 .. 5.0 degrees
    camera_offset_px   -5 .. 5 px, x and y
    camera_scale       0.95 .. 1.05 of the size
    noise_std          1.5 .. 3.5 gray levels
    brightness         -18 .. 14 gray levels
    gain               0.85 .. 1.1 of the light
    slow_light         0.0 .. 0.07 of the light, slow changes
    flicker            0.0 .. 0.01 of the light, from frame to frame

and the background (plain, gradient, shelves, blocks, texture) and which hand is used. From
signer to signer: skin (8 tones), hair (6 colours, 5 styles), shirt (any colour that the hands
stand out from, 5 patterns, sleeves), trousers, glasses, beard, preferred hand (of three in four
the right one), and

    shoulder_px        31 .. 38 px, half the width
    hip_px             25 .. 33 px, half the width
    torso_px           96 .. 110 px
    neck_px            9 .. 14 px
    head_width_px      17.5 .. 21 px, half
    head_aspect        1.2 .. 1.32 height by width
    upper_arm_px       49 .. 55 px
    forearm_px         47 .. 53 px
    arm_radius_px      7.0 .. 9.5 px
    hand_px            10.0 .. 11.5 px, half the palm
    speed              0.9 .. 1.1 of the usual
    amplitude          0.95 .. 1.05 of the usual
"""

from common import command_line  # isort: split

import argparse
import zipfile

from cluster import connection
from common import disk, stage
from common.class_list import DRAWN, Sign, write_class_file
from common.command_line import COUNT, SEED, quote
from common.dataset import OPTIONS, SPLITS, Dataset
from toy import gesture, scene
from toy.film import render_clip
from toy.plan import plan_split

VERSION = 1  # of what is drawn; files of another version are refused
CLIPS_PER_SIGN = (60, 8, 12)  # train, val, test
EXPECTED_CLIP_BYTES = 200_000
ZIP_DATE = (1980, 1, 1, 0, 0, 0)
WORK_DIR, LOCK_FILE = ".toysigns", ".toysigns.lock"


def make_dataset(dataset, seed=0, clips_per_sign=CLIPS_PER_SIGN, workers=None, rebuild=False):
    """Renders the data set and packs it; what is finished is skipped.

    Args:
        dataset: `dataset.Dataset`; its `video_dir` is written to.
        seed: whole number; the same seed makes the same bytes.
        clips_per_sign: numbers of clips of each sign in train, val and test.
        workers: number of processes, by default one per core.
        rebuild: make it anew, also where it was made with other parameters.

    Returns:
        `stage.Report`.

    Raises:
        ValueError: the folder holds other data, or was made with other parameters; or another
            process is at work there.
    """
    folder = dataset.video_dir
    parameters = {"seed": seed, "clips_per_sign": list(clips_per_sign), "version": VERSION}
    command = f"python toysigns.py --dataset {quote(dataset.name)}"
    _refuse_foreign(folder)
    busy = f"Another process renders {folder}. Wait for it, or stop it."
    with disk.lock(folder / LOCK_FILE, busy):
        if rebuild:
            for path in _packed_files(folder):
                path.unlink(missing_ok=True)
        disk.claim(folder / WORK_DIR, parameters, command, rebuild)
        plans = {
            split: plan_split(split, seed, clips)
            for split, clips in zip(SPLITS, clips_per_sign, strict=True)
        }
        report = _render(folder, plans, workers)
        if not report.failed:
            _pack(folder, plans)
    return report


def made_with(dataset):
    """`seed` and `clips_per_sign` of the clips that are there, else what they are by default."""
    there = disk.read_parameters(dataset.video_dir / WORK_DIR) or {}
    usual = {"seed": 0, "clips_per_sign": CLIPS_PER_SIGN}
    return {name: there.get(name, value) for name, value in usual.items()}


def num_training_clips(dataset):
    """The number of training clips that are there, or that `make_dataset` makes by default."""
    return len(gesture.SIGNS) * made_with(dataset)["clips_per_sign"][0]


def render_files(plan, partial):
    """Writes the folder `partial` with a clip's M_ and K_ videos: the work of `stage.run`."""
    colour, depth = render_clip(gesture.SIGNS[plan.label - 1], plan.signer_seed, plan.clip_seed)
    partial.mkdir()
    scene.write_video(partial / plan.file_name("M"), colour)
    scene.write_video(partial / plan.file_name("K"), depth)


def signs():
    """The eight signs as `dataset.Sign`, in label order."""
    return [Sign(f"c{label:03d}", name, DRAWN) for label, name in enumerate(gesture.SIGNS, start=1)]


def _refuse_foreign(folder):
    """Stops where `folder` holds anything that this script did not make."""
    if not folder.is_dir() or disk.read_parameters(folder / WORK_DIR) is not None:
        return
    allowed = {LOCK_FILE, WORK_DIR, "class.csv"}
    foreign = sorted(path.name for path in folder.iterdir() if path.name not in allowed)
    if foreign:
        raise ValueError(
            f"{folder} holds data that toysigns.py did not make ({', '.join(foreign[:3])}). "
            "Choose another --dataset name, or delete the folder."
        )


def _packed_files(folder):
    lists_and_zips = [f"{split}.{suffix}" for split in SPLITS for suffix in ("zip", "txt")]
    return [folder / name for name in ("class.csv", *lists_and_zips)]


def _render(folder, plans, workers):
    """Renders the clips of the splits that are not packed yet."""
    jobs = []
    for split, clips in plans.items():
        packed = folder / f"{split}.zip"
        for plan in clips:
            target = packed if packed.exists() else _clip_dir(folder, plan)
            jobs.append(stage.Job(plan, target, plan.member("M")))
    return stage.run(
        "toysigns", render_files, jobs, folder, workers, bytes_per_job=EXPECTED_CLIP_BYTES
    )


def _clip_dir(folder, plan):
    return folder / WORK_DIR / plan.split / f"{plan.number:05d}"


def _pack(folder, plans):
    """Packs the rendered clips and deletes them."""
    for split, clips in plans.items():
        packed, listed = folder / f"{split}.zip", folder / f"{split}.txt"
        if not listed.exists():
            rows = (f"{plan.member('M')} {plan.member('K')} {plan.label}\n" for plan in clips)
            disk.write_atomically(listed, "".join(rows))
        if packed.exists():
            continue
        with disk.partial_dir(folder) as partial_dir:
            _write_zip(partial_dir / packed.name, folder, clips)
            (partial_dir / packed.name).replace(packed)
    if not (folder / "class.csv").exists():
        with disk.partial_dir(folder) as partial_dir:
            write_class_file(partial_dir / "class.csv", signs())
            (partial_dir / "class.csv").replace(folder / "class.csv")
    for split in SPLITS:
        disk.remove(folder / WORK_DIR / split)


def _write_zip(path, folder, clips):
    """Stores the videos as they are, without the date of today: same clips, same bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for plan in clips:
            for kind in "MK":
                member = zipfile.ZipInfo(plan.member(kind), ZIP_DATE)
                video = _clip_dir(folder, plan) / plan.file_name(kind)
                archive.writestr(member, video.read_bytes())


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options = {"dataset": OPTIONS["dataset"], **stage.OPTIONS, **connection.OPTIONS}
    command_line.add_flags(parser, options, dataset="toysigns")
    parser.add_argument("--seed", type=SEED, default=0, help="same seed, same bytes (default: 0)")
    parser.add_argument(
        "--clips-per-sign",
        type=COUNT,
        nargs=3,
        default=CLIPS_PER_SIGN,
        metavar=("TRAIN", "VAL", "TEST"),
        help="clips of each sign in each split (default: 60 8 12)",
    )
    args = parser.parse_args(argv)
    dataset = Dataset(args.dataset)
    with connection.used(args.cluster):
        report = make_dataset(
            dataset, args.seed, tuple(args.clips_per_sign), args.workers, args.rebuild
        )
    if not report.failed:
        print(
            f"Zips and label lists are in {dataset.video_dir}. "
            f"Next: python prepare_chalearn.py --dataset {quote(dataset.name)}"
        )
    return report.exit_status


if __name__ == "__main__":
    command_line.run(main)
