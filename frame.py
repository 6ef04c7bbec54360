"""Stage 2 of 5: cut every video into a fixed number of JPEG frames.

    python frame.py --dataset toysigns
    python frame.py --dataset my_signs --info

reads   data_set/<dataset>/<split>/<class>/<video>.*
writes  data_temp/<dataset>/<preset>/frame/<split>/<class>/<video>/frame0000.jpg

A frame is resized until its shorter side is that of the stored frame (240 pixels in the preset
`full`) and cropped around its centre to the stored size (240x320). A picture that is narrower,
such as a phone video held upright, gets black bars left and right.
"""

import argparse
import collections
import concurrent.futures
import contextlib
import functools
import os
import re
import statistics
import warnings
from pathlib import Path

import cv2
import numpy as np

import dataset as data
import disk
import stage

JPEG_QUALITY = 95
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp"})
BYTES_PER_PIXEL = 0.2  # of a JPEG, to estimate the disk that is needed


def sample_indices(num_available, num_wanted):
    """Evenly picked indices: `floor(i * num_available / num_wanted)`; short clips repeat frames.

    Raises:
        ValueError: one of the numbers is below 1.
    """
    if num_available < 1 or num_wanted < 1:
        raise ValueError(f"Expected numbers above 0. Received: {num_available}, {num_wanted}")
    return [i * num_available // num_wanted for i in range(num_wanted)]


def sample_times(times, num_wanted):
    """Indices of the frames that are seen at `num_wanted` evenly spaced moments.

    At a constant frame rate the same as `sample_indices`, otherwise by time.

    Args:
        times: increasing time stamps of the available frames, any unit.
        num_wanted: number of moments.

    Returns:
        list of int: for each moment the last frame that has begun by then.
    """
    available = len(times)
    by_number = sample_indices(available, num_wanted)
    steps = np.diff(times)
    if available < 3 or np.any(steps <= 0):
        return by_number
    mean_step = (times[-1] - times[0]) / (available - 1)
    even = times[0] + mean_step * np.arange(available)
    if np.max(np.abs(np.asarray(times) - even)) < mean_step:
        return by_number
    # The last frame is shown for as long as a typical one.
    duration = times[-1] - times[0] + np.median(steps)
    moments = times[0] + duration * np.arange(num_wanted) / num_wanted
    return [int(i) for i in np.searchsorted(times, moments + 1e-6 * duration, side="right") - 1]


def read_clip(path, num_frames, height, width):
    """Reads evenly picked frames of a video, or of a folder of images in the order of their names,
    of which 2 comes before 10.

    Args:
        path: video file or folder.
        num_frames: number of frames to pick; a shorter clip repeats frames.
        height, width: of the result, in pixels; see `fit_frame`.

    Returns:
        uint8 BGR, `(num_frames, height, width, 3)`.

    Raises:
        FileNotFoundError: no such file, or a folder without images.
        ValueError: nothing in the file can be decoded.

    Warns:
        UserWarning: see `pick_frames`.
    """
    path = Path(path)
    if path.is_dir():
        return _read_folder(path, num_frames, height, width)
    clip = np.empty((num_frames, height, width, 3), np.uint8)
    pick_frames(path, num_frames, height, width, clip.__setitem__)
    return clip


def pick_frames(path, num_frames, height, width, take):
    """Decodes a video and hands over evenly picked frames, one by one.

    Frames are picked among those that really decode, whatever the file's header says. A rotation
    flag is respected. Only one frame is kept in memory.

    Args:
        path: video file.
        num_frames, height, width: as in `read_clip`.
        take: called with (numbers, frame): which of the picked frames it is, a list of int from 0
            to `num_frames - 1`, and uint8 BGR `(height, width, 3)`, which the next one overwrites.
            Where the header was wrong, all numbers come again; the later frame counts.

    Raises:
        FileNotFoundError: no such file.
        ValueError: nothing in the file can be decoded.

    Warns:
        UserWarning: fewer frames decode than the header says; those are used.
    """
    with open_video(path) as video:
        promised = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
        guess = sample_indices(promised, num_frames) if promised > 0 else []
        times = _decode(video, guess, height, width, take)
    if not times:
        raise ValueError("no frame could be decoded")
    picked = sample_times(times, num_frames)
    if picked != guess:
        with open_video(path) as video:
            _decode(video, picked, height, width, take, last=picked[-1])
    if len(times) < promised:
        warnings.warn(
            f"only {len(times)} of {promised} promised frames decode; they are used", stacklevel=2
        )


def fit_frame(image, height, width, out=None):
    """Resizes until the shorter side fits, then crops around the centre or adds black bars.

    Args:
        image: uint8, `(any height, any width, 3)`.
        height, width: of the result, in pixels.
        out: where the result is written, uint8 `(height, width, 3)`, contiguous; by default a new
            array.

    Returns:
        `out`.
    """
    if out is None:
        out = np.empty((height, width, 3), np.uint8)
    scale = min(height, width) / min(image.shape[:2])
    # Cropping first is the same picture for less work.
    crop_height = min(image.shape[0], round(height / scale))
    crop_width = min(image.shape[1], round(width / scale))
    top = (image.shape[0] - crop_height) // 2
    left = (image.shape[1] - crop_width) // 2
    image = image[top : top + crop_height, left : left + crop_width]
    size = (min(width, round(crop_width * scale)), min(height, round(crop_height * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    if size == (width, height):
        return cv2.resize(image, size, dst=out, interpolation=method)
    image = cv2.resize(image, size, interpolation=method)
    down, right = height - image.shape[0], width - image.shape[1]
    bars = down // 2, down - down // 2, right // 2, right - right // 2
    return cv2.copyMakeBorder(image, *bars, cv2.BORDER_CONSTANT, dst=out)


def write_image(path, image, jpeg_quality=JPEG_QUALITY):
    """Writes one image; unlike `cv2.imwrite` a full disk is an error."""
    path.write_bytes(encode_image(path.suffix, image, jpeg_quality))


def encode_image(suffix, image, jpeg_quality=JPEG_QUALITY):
    """The bytes of an image file of the kind of `suffix`, such as ".jpg"."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality] if suffix == ".jpg" else []
    return cv2.imencode(suffix, image, quality)[1].tobytes()


def load_frames(folder):
    """The stored frames of one clip, uint8 BGR, `(num_frames, height, width, 3)`."""
    return np.stack([read_stored(path) for path in sorted(folder.glob("frame*.jpg"))])


def read_stored(path, flags=cv2.IMREAD_COLOR):
    """`read_image` of a stored frame; the error says how to make it anew."""
    try:
        return read_image(path, flags)
    except ValueError as error:
        raise ValueError(f"{error} Delete its folder and run frame.py.") from error


def read_image(path, flags=cv2.IMREAD_COLOR):
    """One decoded image.

    Raises:
        ValueError: the file is no image.
    """
    # Unlike `cv2.imread` this reads any file name on Windows.
    image = cv2.imdecode(np.fromfile(path, np.uint8), flags)
    if image is None:
        raise ValueError(f"{path} is not a readable image.")
    return image


def extract_frames(dataset, workers=None, rebuild=False):
    """Cuts every video of `dataset` into frames; finished videos are skipped.

    Returns:
        `stage.Report`.
    """
    videos = dataset.videos()
    preset = dataset.preset
    height, width = preset.frame_size
    command = f"python frame.py {dataset.flags()}"
    disk.claim(dataset.frame_dir, dataset.frame_parameters(), command, rebuild)
    jobs = [
        stage.Job(video.path, dataset.frame_dir / video.place(), str(video.path))
        for video in videos
    ]
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


@contextlib.contextmanager
def open_video(path):
    """An open `cv2.VideoCapture`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: OpenCV cannot open it.
    """
    if not path.is_file():
        raise FileNotFoundError(f"No file {path}.")
    if not path.stat().st_size:
        raise ValueError("the file is empty")
    # Else decoder and OpenCV write pages of their own warnings between ours.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
    threads = [cv2.CAP_PROP_N_THREADS, max(cv2.getNumThreads(), 1)]
    video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, threads)
    if not video.isOpened():
        raise ValueError("OpenCV cannot open it: not a video, truncated, or an unknown format")
    try:
        yield video
    finally:
        video.release()


def _decode(video, picked, height, width, take, last=None):
    """Reads on to the frame `last`, or the end, and hands over the frames number `picked`.

    Returns:
        Time stamps of all frames in ms.
    """
    numbers = collections.defaultdict(list)
    for number, index in enumerate(picked):
        numbers[index].append(number)
    fitted = np.empty((height, width, 3), np.uint8)
    times, image = [], None
    while (last is None or len(times) <= last) and video.grab():
        if len(times) in numbers:
            decoded, image = video.retrieve(image)
            if not decoded:
                continue
            fits = image.shape == fitted.shape
            take(
                numbers[len(times)], image if fits else fit_frame(image, height, width, out=fitted)
            )
        times.append(video.get(cv2.CAP_PROP_POS_MSEC))
    return times


def _read_folder(folder, num_frames, height, width):
    paths = [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES]
    if not paths:
        raise FileNotFoundError(f"No image in the folder {folder}.")
    paths.sort(key=_by_numbers)
    picked = sample_indices(len(paths), num_frames)
    return np.stack([fit_frame(read_image(paths[i]), height, width) for i in picked])


def _by_numbers(path):
    """Sorts `frame2.png` before `frame10.png`."""
    words = re.split(r"(\d+)", path.name)  # every second one is a number
    return [int(word) if index % 2 else word for index, word in enumerate(words)]


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
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    data.add_arguments(parser)
    stage.add_arguments(parser)
    parser.add_argument("--info", action="store_true", help="only print a table of the videos")
    args = parser.parse_args(argv)
    dataset = data.Dataset(args.dataset, args.preset)
    if args.info:
        return describe_videos(dataset, args.workers)
    return extract_frames(dataset, args.workers, args.rebuild).exit_status


if __name__ == "__main__":
    stage.command_line(main)
