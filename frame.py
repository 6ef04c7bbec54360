"""Stage 2 of 5: cut every video into a fixed number of JPEG frames.

    python frame.py --dataset toysigns
    python frame.py --dataset my_signs --info

reads   data_set/<dataset>/<split>/<class>/<video>.*
writes  data_temp/<dataset>/<preset>/frame/<split>/<class>/<video>/frame0000.jpg

A frame is resized until its shorter side is that of the stored frame (240 pixels in the preset
`full`) and cropped around its centre to the stored size (240x320). A picture that is narrower,
such as a phone video held upright, gets black bars left and right.
"""

from common import command_line  # isort: split

import collections
import concurrent.futures
import functools
import statistics
import warnings

import cv2
import numpy as np

from common import dataset as data
from common import disk, stage
from common.video import (
    BYTES_PER_PIXEL,
    encode_image,
    open_video,
    pick_frames,
    read_clip,
    read_image,
    sample_indices,
)

# The last two are handed on: people call them as `frame.read_clip`.
MAX_LISTED_SIGNS = 5
__all__ = ["extract_frames", "load_frames", "read_stored", "read_clip", "sample_indices"]


def load_frames(folder):
    """The stored frames of one clip, uint8 BGR, `(num_frames, height, width, 3)`."""
    return np.stack([read_stored(path) for path in sorted(folder.glob("frame*.jpg"))])


def read_stored(path, flags=cv2.IMREAD_COLOR):
    """`read_image` of a stored frame; the error says how to make it anew."""
    try:
        return read_image(path, flags)
    except ValueError as error:
        raise ValueError(f"{error} Delete its folder and run frame.py.") from error


def extract_frames(dataset, workers=None, rebuild=False):
    """Cuts every video of `dataset` into frames; finished videos are skipped.

    Returns:
        `stage.Report`.
    """
    videos = dataset.videos_to_cut()
    print_remarks(dataset, videos)
    preset = dataset.preset
    height, width = preset.frame_size
    command = f"python frame.py {dataset.flags()}"
    disk.claim(dataset.frame_dir, dataset.frame_parameters(), command, rebuild)
    jobs = [
        stage.Job(
            video.path,
            dataset.frame_dir / video.place(),
            str(video.path),
            disk.stamp_of(video.path),
        )
        for video in videos
    ]
    if not dataset.stored:
        stage.remove_orphans("frame", dataset.frame_dir, jobs)
    cut_one = functools.partial(cut_video, num_frames=preset.num_frames, height=height, width=width)
    size = int(preset.num_frames * height * width * BYTES_PER_PIXEL)
    return stage.run("frame", cut_one, jobs, dataset.frame_dir, workers, bytes_per_job=size)


def cut_video(source, partial, num_frames, height, width):
    """One job of the stage: the video `source` to the new folder `partial`."""
    files = [b""] * num_frames

    def encode(numbers, image):  # while it is in the processor's cache
        file = encode_image(".jpg", image)
        for number in numbers:
            files[number] = file

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pick_frames(source, num_frames, height, width, encode)
    partial.mkdir()
    for number, file in enumerate(files):
        (partial / f"frame{number:04d}.jpg").write_bytes(file)
    return "; ".join(str(warning.message) for warning in caught) or None


def seconds_of(path):
    """How long a video is, as its header says; None where it does not."""
    header = _read_header(path)
    return header[0] / header[1] if header else None


def print_remarks(dataset, videos):
    """Prints what is left out of a data set, and signs that cannot be learned or judged.

    Args:
        dataset: `Dataset`.
        videos: its list of `Clip`.
    """
    for kind, paths in dataset.left_out().items():
        print(f"left out: {len(paths)} {kind}, such as {paths[0].relative_to(dataset.video_dir)}")
    labels = {split: {v.label for v in videos if v.split == split} for split in data.SPLITS}
    trained = labels["train"]
    unknown = (labels["val"] | labels["test"]) - trained
    _print_signs("in val or test only: they are not learned, and left out of judging", unknown)
    for split in ("val", "test"):
        if labels[split]:
            _print_signs(f"in train, and not in {split}", trained - labels[split])
    if len(trained) == 1:
        print(f"One sign only ({min(trained)}): a network needs two to tell apart.")


def _print_signs(words, labels):
    if labels:
        more = ", ..." * (len(labels) > MAX_LISTED_SIGNS)
        shown = ", ".join(sorted(labels)[:MAX_LISTED_SIGNS])
        print(f"{len(labels)} sign{'s' * (len(labels) > 1)} {words}: {shown}{more}")


def describe_videos(dataset, workers=None):
    """Prints, per split, what the videos' headers say: number, duration, fps, size, frames."""
    videos = dataset.videos()
    with concurrent.futures.ThreadPoolExecutor(workers or stage.num_cores()) as executor:
        headers = list(executor.map(_read_header, [video.path for video in videos]))
    print(
        f"{'split':6}{'videos':>7}{'signs':>6}  seconds min/median/max  frames min/median/max  fps"
    )
    for split in data.SPLITS:
        there = [i for i, video in enumerate(videos) if video.split == split]
        rows = [headers[i] for i in there if headers[i]]
        if not rows:
            continue
        frames, fps, sizes = zip(*rows, strict=True)
        seconds = [count / rate for count, rate, _ in rows]
        print(
            f"{split:6}{len(there):7d}{len({videos[i].label for i in there}):6d}"
            f"  {_spread(seconds, '.1f'):22}  {_spread(frames, '.0f'):21}  "
            f"{statistics.median(fps):.1f}"
        )
        common = collections.Counter(sizes).most_common(3)
        print("      " + ", ".join(f"{count} of {size[0]}x{size[1]}" for size, count in common))
    print_remarks(dataset, videos)
    unreadable = [str(videos[i].path) for i, header in enumerate(headers) if not header]
    if unreadable:
        print(f"{len(unreadable)} cannot be opened: {', '.join(unreadable[:10])}")


def _read_header(path):
    """(frames, fps, (width, height)) as the header has them, or None."""
    try:
        with open_video(path) as video:
            frames, fps, width, height = (
                video.get(key)
                for key in (
                    cv2.CAP_PROP_FRAME_COUNT,
                    cv2.CAP_PROP_FPS,
                    cv2.CAP_PROP_FRAME_WIDTH,
                    cv2.CAP_PROP_FRAME_HEIGHT,
                )
            )
    except ValueError:
        return None
    return (frames, fps, (int(width), int(height))) if frames > 0 and fps > 0 else None


def _spread(values, form):
    values = (min(values), statistics.median(values), max(values))
    return " / ".join(format(value, form) for value in values)


def main(argv=None):
    parser = command_line.make_parser(__doc__)
    command_line.add_flags(parser, {**data.OPTIONS, **stage.OPTIONS})
    parser.add_argument("--info", action="store_true", help="only print a table of the videos")
    args = parser.parse_args(argv)
    dataset = data.Dataset(args.dataset, args.preset, stored=args.stored)
    if args.info:
        return describe_videos(dataset, args.workers)
    status = extract_frames(dataset, args.workers, args.rebuild).exit_status
    print(f"Next: python opticalflow.py {dataset.flags()}")
    return status


if __name__ == "__main__":
    command_line.run(main)
