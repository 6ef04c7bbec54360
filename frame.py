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

from cluster import connection
from common import dataset as data
from common import disk, stage
from common.command_line import number_of, some_of
from common.video import (
    BYTES_PER_PIXEL,
    HIGHEST_FPS,
    encode_image,
    open_video,
    pick_frames,
    pixel_aspect,
    read_clip,
    read_image,
    refuse_cover,
    sample_indices,
)

MAKE_ANEW = "Delete that folder, and run frame.py and opticalflow.py."
# The last two are handed on: people call them as `frame.read_clip`.
__all__ = ["extract_frames", "load_frames", "read_stored", "read_clip", "sample_indices"]


def load_frames(folder, num_frames=None):
    """The stored frames of one clip, uint8 BGR, `(num_frames, height, width, 3)`.

    Raises:
        ValueError: one is missing or damaged; the message says how to make them anew.
    """
    return np.stack([read_stored(path) for path in stored_pictures(folder, "frame", num_frames)])


def stored_pictures(folder, name, num_frames=None):
    """The paths of a clip's pictures, `<name>0000.jpg` and so on, in order.

    Raises:
        ValueError: there are none, one before the last is missing, or they are not `num_frames`.
    """
    paths = sorted(folder.glob(f"{name}*.jpg"))
    found = number_of(len(paths), "picture")
    if num_frames not in (None, len(paths)):
        raise ValueError(f"{folder} has {found} instead of {num_frames}. {MAKE_ANEW}")
    if not paths or paths[-1].name != f"{name}{len(paths) - 1:04d}.jpg":
        raise ValueError(f"{folder} has {found}, and one is missing. {MAKE_ANEW}")
    return paths


def read_stored(path, flags=cv2.IMREAD_COLOR):
    """`read_image` of a stored picture; the error says how to make it anew."""
    try:
        return read_image(path, flags)
    except ValueError as error:
        raise ValueError(f"{error} {MAKE_ANEW}") from error


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
    folder = dataset.frame_dir
    disk.claim(folder, dataset.frame_parameters(), command, rebuild)
    jobs = [
        stage.Job(video.path, folder / video.place(), str(video.path), disk.stamp_of(video.path))
        for video in videos
    ]
    if not dataset.stored:
        stage.remove_orphans("frame", folder, jobs)
    cut_one = functools.partial(cut_video, num_frames=preset.num_frames, height=height, width=width)
    size = int(preset.num_frames * height * width * BYTES_PER_PIXEL)
    return stage.run("frame", cut_one, jobs, folder, workers, bytes_per_job=size)


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
    try:
        frames, fps, _ = _read_header(path)
    except (OSError, ValueError):
        return None
    return frames / fps if frames > 0 and fps > 0 else None


def unreadable_signs(videos):
    """The signs of which not a single training video can be opened.

    Args:
        videos: list of `Clip`; of each sign they are opened up to the first that can be.

    Returns:
        A set of labels.
    """
    unreadable, readable = set(), set()
    for video in videos:
        if video.split == "train" and video.label not in readable:
            is_read = not isinstance(_header_or_reason(video.path), str)
            (readable if is_read else unreadable).add(video.label)
    return unreadable - readable


def print_remarks(dataset, videos):
    """Prints what is left out of a data set, and signs that cannot be learned or judged.

    Args:
        dataset: `Dataset`.
        videos: its list of `Clip`.
    """
    for kind, paths in dataset.left_out(videos).items():
        example = paths[0].relative_to(dataset.video_dir)
        print(f"left out: {len(paths)} x {kind}, such as {example}")
    labels = {split: {v.label for v in videos if v.split == split} for split in data.SPLITS}
    trained = labels["train"]
    unknown = (labels["val"] | labels["test"]) - trained
    unreadable = unreadable_signs(videos)
    _print_signs("of which no training video can be read", unreadable)
    _print_signs("in val or test only, not learned and left out of judging", unknown)
    for split in ("val", "test"):
        if labels[split]:
            _print_signs(f"in train, and not in {split}", trained - labels[split])
    if len(trained - unreadable) == 1:
        print(f"One sign only ({min(trained - unreadable)}): there is none to tell it from.")


def _print_signs(words, labels):
    if labels:
        print(f"{number_of(len(labels), 'sign')} {words}: {some_of(sorted(labels))}")


def describe_videos(dataset, workers=None):
    """Prints, per split, what the videos' headers say: number, duration, fps, size, frames.

    Videos that cannot be read are not counted; they are listed below with the reason. Of a data
    set that works with what is `stored` and has no video any more, only the number of clips.
    """
    videos = dataset.videos_to_cut()
    if not videos:
        return data.print_splits(dataset.stored_clips("rgb"), "clip")
    with concurrent.futures.ThreadPoolExecutor(workers or stage.num_cores()) as executor:
        headers = list(executor.map(_header_or_reason, [video.path for video in videos]))
    read = [pair for pair in zip(videos, headers, strict=True) if not isinstance(pair[1], str)]
    print(
        f"{'split':6}{'videos':>7}{'signs':>6}  seconds min/median/max  frames min/median/max  fps"
    )
    for split in data.SPLITS:
        rows = [(video.label, header) for video, header in read if video.split == split]
        if rows:
            _print_split(split, *zip(*rows, strict=True))
    print_remarks(dataset, videos)
    for video, header in zip(videos, headers, strict=True):
        if isinstance(header, str):
            print(f"cannot be read: {video.path}: {header}")


def _print_split(split, labels, headers):
    """Two lines of the table: `labels` and `headers` of the videos of one split."""
    line = f"{split:6}{len(labels):7d}{len(set(labels)):6d}"
    # Some recorders, such as browsers, write no length.
    told = [(frames, fps) for frames, fps, _ in headers if frames > 0 and fps > 0]
    if told:
        frames, fps = zip(*told, strict=True)
        seconds = [count / rate for count, rate in told]
        line += f"  {_spread(seconds, '.1f'):22}  {_spread(frames, '.0f'):21}  "
        line += f"{statistics.median(fps):.1f}"
    print(line)
    common = collections.Counter(size for _, _, size in headers).most_common(3)
    sizes = ", ".join(f"{count} of {width}x{height}" for (width, height), count in common)
    unknown = len(headers) - len(told)
    print(f"      {sizes}{f'; {unknown} without a length in the header' if unknown else ''}")


def _header_or_reason(path):
    """What `_read_header` gives, or in words why the video cannot be read."""
    try:
        return _read_header(path)
    except OSError as error:
        return error.strerror or str(error)
    except ValueError as error:
        return str(error)


def _read_header(path):
    """(frames, fps, (width, height)) as the header has them; a number may be missing or wrong.

    The width is that of the picture as it is shown, with square pixels.

    Raises:
        OSError, ValueError: as `open_video`; or it is a cover picture.
    """
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
        shown_width = round(width * pixel_aspect(video))
        if fps > HIGHEST_FPS:
            refuse_cover(sum(video.grab() for _ in range(2)), fps)
    return frames, fps, (shown_width, int(height))


def _spread(values, form):
    values = (min(values), statistics.median(values), max(values))
    return " / ".join(format(value, form) for value in values)


def main(argv=None):
    parser = command_line.make_parser(__doc__)
    command_line.add_flags(parser, {**data.OPTIONS, **stage.OPTIONS, **connection.OPTIONS})
    parser.add_argument("--info", action="store_true", help="only print a table of the videos")
    args = parser.parse_args(argv)
    dataset = data.Dataset(args.dataset, args.preset, stored=args.stored)
    if args.info:
        return describe_videos(dataset, args.workers)
    with connection.used(args.cluster):
        status = extract_frames(dataset, args.workers, args.rebuild).exit_status
    print(f"Next: python opticalflow.py {dataset.flags()}")
    return status


if __name__ == "__main__":
    command_line.run(main)
