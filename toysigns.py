"""The embedded data set: drawn signers who perform eight signs that differ in motion only.

    python toysigns.py

It writes what ChaLearn delivers, zipped videos and label lists, so that the next stage is
exercised for real.

writes  data_set/toysigns/{train,val,test}.zip   train/001/M_00001.avi colour, K_00001.avi depth
        data_set/toysigns/{train,val,test}.txt   train/001/M_00001.avi train/001/K_00001.avi 3
        data_set/toysigns/class.csv              the names of the signs, in label order
"""

import argparse
import dataclasses
import random
import zipfile

import cv2
import numpy as np

import disk
import gesture
import scene
import signer
import stage
from dataset import SPLITS, Dataset, Sign, write_class_file

VERSION = 1  # of what is drawn; files of another version are refused
CLIPS_PER_SIGN = (40, 8, 12)  # train, val, test
NUM_SIGNERS = (24, 6, 12)  # train, val, test; nobody is in two of them
CLIPS_PER_FOLDER = 200
FIRST_FOLDER = {"train": "train", "val": "valid", "test": "test"}  # as ChaLearn calls them
FOURCC = "XVID"
EXPECTED_CLIP_BYTES = 200_000
ZIP_DATE = (1980, 1, 1, 0, 0, 0)
WORK_DIR, LOCK_FILE = ".toysigns", ".toysigns.lock"


@dataclasses.dataclass(frozen=True)
class Plan:
    """One clip to render. `number` counts from 1 within its split, and `label` is 1 to 8."""

    split: str
    number: int
    label: int
    signer_seed: str
    clip_seed: str

    def member(self, kind):
        """The path in the zip and the list of the "M" (colour) or "K" (depth) video."""
        folder = (self.number - 1) // CLIPS_PER_FOLDER + 1
        return f"{FIRST_FOLDER[self.split]}/{folder:03d}/{self.file_name(kind)}"

    def file_name(self, kind):
        return f"{kind}_{self.number:05d}.avi"


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
    command = f"python toysigns.py --dataset {dataset.name}"
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


def plan_split(split, seed, clips_per_sign):
    """The clips of one split in their final order, shuffled over signs.

    Returns:
        list of `Plan`. Every sign is performed by the same signers, as far as numbers allow.
    """
    rng = random.Random(f"{seed} {split}")
    number = SPLITS.index(split)
    first = sum(NUM_SIGNERS[:number])
    signers = list(range(first, first + NUM_SIGNERS[number]))
    rng.shuffle(signers)
    clips = [
        (
            label,
            f"{seed} signer {signers[repeat % len(signers)]}",
            f"{seed} {split} {name} {repeat}",
        )
        for label, name in enumerate(gesture.SIGNS, start=1)
        for repeat in range(clips_per_sign)
    ]
    rng.shuffle(clips)
    return [Plan(split, number, *clip) for number, clip in enumerate(clips, start=1)]


def render_clip(sign, signer_seed, clip_seed):
    """Draws one clip.

    Args:
        sign: one of `gesture.SIGNS`.
        signer_seed: number or text; who performs.
        clip_seed: number or text; how it is performed, and where.

    Returns:
        colour, uint8 BGR `(num_frames, 240, 320, 3)`, and depth, uint8 `(num_frames, 240, 320)`,
        lighter where nearer; 40 to 50 frames, `gesture.FRAMES_PER_SECOND`.
    """
    person = signer.invent_signer(random.Random(signer_seed))
    rng = random.Random(clip_seed)
    motion = gesture.perform(sign, person, rng)
    joints = signer.arm_joints(person, motion.wrists)
    camera = scene.place_camera(len(joints), rng)
    wall = scene.paint_background(rng)
    drawing = np.empty_like(wall)
    size = (scene.WIDTH_PX, scene.HEIGHT_PX)
    colour = np.empty((len(joints), *size[::-1], 3), np.uint8)
    depth = np.empty((len(joints), *size[::-1]), np.uint8)
    depth[:] = scene.depth_wall()
    for frame, (arms, sway, tilt) in enumerate(
        zip(joints, motion.sway, motion.head_tilt, strict=True)
    ):
        np.copyto(drawing, wall)
        origin, zoom = camera.origin + camera.scale * sway, scene.SUPERSAMPLING
        canvas = scene.Canvas(drawing, zoom * origin, zoom * camera.scale)
        signer.draw_signer(canvas, person, arms, tilt)
        picture = cv2.resize(drawing, size, interpolation=cv2.INTER_AREA)
        colour[frame] = camera.develop(picture, frame)
        canvas = scene.Canvas(depth[frame], origin, camera.scale)
        signer.draw_depth(canvas, person, arms, tilt)
    return colour, depth


def render_files(plan, partial):
    """Writes the folder `partial` with a clip's M_ and K_ videos: the work of `stage.run`."""
    colour, depth = render_clip(gesture.SIGNS[plan.label - 1], plan.signer_seed, plan.clip_seed)
    partial.mkdir()
    _write_video(partial / plan.file_name("M"), colour)
    _write_video(partial / plan.file_name("K"), depth)


def signs():
    """The eight signs as `dataset.Sign`, in label order."""
    return [Sign(f"c{label:03d}", name, "toy") for label, name in enumerate(gesture.SIGNS, start=1)]


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
    return [folder / f"{split}.{suffix}" for split in SPLITS for suffix in ("zip", "txt")]


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
        packed = folder / f"{split}.zip"
        if packed.exists():
            continue
        rows = (f"{plan.member('M')} {plan.member('K')} {plan.label}\n" for plan in clips)
        disk.write_atomically(folder / f"{split}.txt", "".join(rows))
        with disk.partial_dir(folder) as partial_dir:
            _write_zip(partial_dir / packed.name, folder, clips)
            (partial_dir / packed.name).replace(packed)
    write_class_file(folder / "class.csv", signs())
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


def _write_video(path, frames):
    is_colour = frames.ndim == 4
    height, width = frames.shape[1:3]
    writer = cv2.VideoWriter(
        str(path),
        cv2.CAP_FFMPEG,
        cv2.VideoWriter_fourcc(*FOURCC),
        gesture.FRAMES_PER_SECOND,
        (width, height),
        [cv2.VIDEOWRITER_PROP_IS_COLOR, int(is_colour)],
    )
    if not writer.isOpened():
        raise OSError(f"This OpenCV cannot write {FOURCC} videos")
    for frame in frames:
        writer.write(frame)
    writer.release()


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--dataset",
        default="toysigns",
        metavar="NAME",
        help="folder below data_set/ (default: toysigns)",
    )
    parser.add_argument("--seed", type=int, default=0, help="same seed, same bytes (default: 0)")
    parser.add_argument(
        "--clips-per-sign",
        type=stage.positive_int,
        nargs=3,
        default=CLIPS_PER_SIGN,
        metavar=("TRAIN", "VAL", "TEST"),
        help="clips of each sign in each split (default: 40 8 12)",
    )
    stage.add_arguments(parser)
    options = parser.parse_args(argv)
    dataset = Dataset(options.dataset)
    report = make_dataset(
        dataset, options.seed, tuple(options.clips_per_sign), options.workers, options.rebuild
    )
    if not report.failed:
        print(
            f"Zips and label lists are in {dataset.video_dir}. "
            f"Next: python prepare_chalearn.py --dataset {dataset.name}"
        )
    return report.exit_status


if __name__ == "__main__":
    stage.command_line(main)
