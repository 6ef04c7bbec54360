"""Videos and pictures: opening, picking frames, fitting them to a size, reading and writing.

A frame is resized until its shorter side is that of the wanted size and cropped around its centre.
A picture that is narrower, such as a phone video held upright, gets black bars left and right.
"""

import collections
import contextlib
import os
import re
import shutil
import tempfile
import warnings
from pathlib import Path

import cv2
import numpy as np

JPEG_QUALITY = 95
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp"})
HIGHEST_FPS = 1000.0  # of a video; a cover picture beside sound has more
WHOLE_SHARE = 0.9  # of the time that the header promises
# Steps of time that are so long, and so many times the usual one, and together such a share of the
# clip, are none.
JUMP_MS, JUMP_FACTOR, JUMP_SHARE = 1000.0, 10, 0.5
COUNTING_SUFFIXES = frozenset({".3gp", ".avi", ".m4v", ".mov", ".mp4"})  # with a number of frames
OPTIONS_OF_FFMPEG = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
# Of FFmpeg, in microseconds and bytes: pictures may begin long after the sound.
LONG_ANALYSIS = "analyzeduration;600000000|probesize;1000000000"
EBML, SEGMENT = bytes.fromhex("1a45dfa3"), bytes.fromhex("18538067")  # of Matroska and WebM
READ_ATTEMPTS = 1_000_000  # packets of sound that may come before the next picture
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
        ValueError: nothing in the file can be decoded, or it is a single picture.

    Warns:
        UserWarning: see `pick_frames`.
    """
    path = Path(path)
    if path.is_dir():
        return _read_folder(path, num_frames, height, width)
    if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
        raise ValueError("it is one picture; a clip is a video, or a folder of pictures")
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
        ValueError: nothing in the file can be decoded, or it is no video.

    Warns:
        UserWarning: fewer frames decode than the header says, which are used; there is a single
            one; or time stamps jump.
    """
    with open_video(path) as video:
        promised = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
        fps = video.get(cv2.CAP_PROP_FPS)
        guess = sample_indices(promised, num_frames) if promised > 0 else []
        times = _decode(video, guess, height, width, take)
    if not times:
        raise ValueError("no frame could be decoded")
    refuse_cover(len(times), fps)
    jump = longest_jump(times)
    picked = sample_indices(len(times), num_frames) if jump else sample_times(times, num_frames)
    if picked != guess:
        with open_video(path) as video:
            _decode(video, picked, height, width, take, last=picked[-1])
    if len(times) == 1:
        warnings.warn("it has a single picture, which is repeated", stacklevel=2)
    if jump:
        warnings.warn(f"{jump}; frames are picked by their number", stacklevel=2)
    # A varying frame rate makes the number in the header an estimate; what counts is the time.
    elif len(times) < promised and times[-1] - times[0] < WHOLE_SHARE * 1000 * promised / fps:
        # Without a number in the header it is that of the longest stream, which may be the sound.
        if path.suffix.lower() in COUNTING_SUFFIXES or ends_early(path):
            words = f"only {len(times)} of {promised} promised frames decode; they are used"
            warnings.warn(words, stacklevel=2)


def refuse_cover(num_frames, fps):
    """Raises ValueError where these are the decoded frames and the rate of a cover picture."""
    if num_frames == 1 and fps > HIGHEST_FPS:
        raise ValueError("it is sound with a cover picture, no video")


def longest_jump(times):
    """Time stamps that cannot be those of the pictures, in words, or ""."""
    if len(times) < 3:
        return ""
    steps = np.diff(times)
    jumps = steps[steps > max(JUMP_MS, JUMP_FACTOR * np.median(steps))]
    if not len(jumps) or jumps.sum() <= JUMP_SHARE * (times[-1] - times[0]):
        return ""
    seconds, number = steps.max() / 1000, int(steps.argmax()) + 1
    more = f" (and {len(jumps) - 1} more)" if len(jumps) > 1 else ""
    return f"the time stamps jump by {seconds:.1f} s after frame {number}{more}"


def ends_early(path):
    """Whether a Matroska or WebM file is shorter than it says; False for other files.

    Source of the format: RFC 8794 (EBML) and RFC 9559 (Matroska).
    """
    with path.open("rb") as file:
        header = _read_ebml_size(file) if file.read(4) == EBML else None
        if header is None:
            return False
        file.seek(header, os.SEEK_CUR)
        size = _read_ebml_size(file) if file.read(4) == SEGMENT else None
        return size is not None and file.tell() + size > path.stat().st_size


def _read_ebml_size(file):
    """The size that an element of EBML begins with; None where it is unknown or missing."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    length = 9 - first[0].bit_length()
    marker = 1 << 7 * length
    size = int.from_bytes(first + file.read(length - 1), "big") - marker
    return None if size == marker - 1 else size


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


def read_image(path, flags=cv2.IMREAD_COLOR):
    """One decoded image.

    Raises:
        ValueError: the file is no image.
    """
    # Unlike `cv2.imread` this reads any file name on Windows.
    content = np.fromfile(path, np.uint8)
    image = cv2.imdecode(content, flags) if content.size else None
    if image is None:
        raise ValueError(f"{path} is not a readable image.")
    return image


@contextlib.contextmanager
def open_video(path):
    """An open `cv2.VideoCapture`.

    Raises:
        OSError: no such file, or it may not be read.
        ValueError: OpenCV cannot open it.
    """
    if not path.is_file():
        raise FileNotFoundError(f"No file {path}.")
    with _opened(path) as file:
        if not file.read(1):
            raise ValueError("the file is empty")
        with _name_for_opencv(path, file) as name:
            video = _open_capture(name)
            if not video.isOpened():
                raise ValueError(
                    "OpenCV cannot open it: not a video, only sound, truncated, or unknown format"
                )
            try:
                yield video
            finally:
                video.release()


def _opened(path):
    try:
        return path.open("rb")
    except PermissionError as error:
        raise PermissionError("permission denied: it may not be read") from error


def silence_decoder():
    """Else decoder and OpenCV write pages of their own warnings between ours."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def _open_capture(name):
    silence_decoder()
    os.environ.setdefault("OPENCV_FFMPEG_READ_ATTEMPTS", str(READ_ATTEMPTS))
    usual = os.environ.setdefault(OPTIONS_OF_FFMPEG, "rtsp_transport;tcp")  # OpenCV's own default
    threads = [cv2.CAP_PROP_N_THREADS, max(cv2.getNumThreads(), 1)]
    video = cv2.VideoCapture(name, cv2.CAP_FFMPEG, threads)
    if video.isOpened() and video.get(cv2.CAP_PROP_FRAME_WIDTH) > 0:
        return video
    video.release()
    os.environ[OPTIONS_OF_FFMPEG] = f"{usual}|{LONG_ANALYSIS}"
    try:
        return cv2.VideoCapture(name, cv2.CAP_FFMPEG, threads)
    finally:
        os.environ[OPTIONS_OF_FFMPEG] = usual


@contextlib.contextmanager
def _name_for_opencv(path, file):
    """An absolute name of a file, as text before a colon in a relative one names a protocol.

    OpenCV crashes on names that are not UTF-8: such a file gets a link of another name.
    """
    name = str(path.absolute())
    try:
        name.encode()
    except UnicodeEncodeError:
        with tempfile.TemporaryDirectory() as folder:
            link = Path(folder) / f"video{path.suffix.encode(errors='ignore').decode()}"
            try:
                link.symlink_to(path.absolute())
            except OSError:  # of systems without links
                with link.open("wb") as copy:
                    shutil.copyfileobj(file, copy)
            yield str(link)
    else:
        yield name


def pixel_aspect(video):
    """Width by height of a pixel of an open `cv2.VideoCapture`, as its pictures are decoded."""
    width, height = video.get(cv2.CAP_PROP_SAR_NUM), video.get(cv2.CAP_PROP_SAR_DEN)
    if not (width > 0 and height > 0):
        return 1.0
    is_turned = video.get(cv2.CAP_PROP_ORIENTATION_META) % 180 == 90
    return height / width if is_turned else width / height


def with_square_pixels(image, aspect):
    """The picture as it is shown: DV, DVD and some cameras store it narrower."""
    if abs(aspect - 1) < 0.01:
        return image
    size = (round(image.shape[1] * aspect), image.shape[0])
    return cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)


def to_bgr(image, bits=16):
    """A picture of any camera as uint8 BGR `(height, width, 3)`.

    Args:
        image: uint8 or uint16, gray, gray with a second channel, BGR or BGRA.
        bits: of uint16 that the camera uses, the lower ones, see `bits_of`.
    """
    if image.dtype == np.uint16:
        image = (image >> (bits - 8)).astype(np.uint8)
    channels = 1 if image.ndim == 2 else image.shape[2]
    if channels == 3:
        return image
    if channels == 4:
        return cv2.cvtColor(image, cv2.COLOR_BGRA2BGR)
    gray = image.reshape(*image.shape[:2], -1)[..., 0]
    return cv2.cvtColor(np.ascontiguousarray(gray), cv2.COLOR_GRAY2BGR)


def bits_of(image):
    """How many bits a camera seems to use: 8 of uint8, 10, 12, 14 or 16 of uint16."""
    if image.dtype != np.uint16:
        return 8
    highest = int(image.max(initial=0))
    return next(bits for bits in (10, 12, 14, 16) if highest < 1 << bits)


def _decode(video, picked, height, width, take, last=None):
    """Reads on to the frame `last`, or the end, and hands over the frames number `picked`.

    Returns:
        Time stamps of all frames in ms.
    """
    numbers = collections.defaultdict(list)
    for number, index in enumerate(picked):
        numbers[index].append(number)
    fitted = np.empty((height, width, 3), np.uint8)
    aspect = pixel_aspect(video)
    times, image = [], None
    while (last is None or len(times) <= last) and video.grab():
        if len(times) in numbers:
            decoded, image = video.retrieve(image)
            if not decoded:
                continue
            shown = with_square_pixels(image, aspect)
            fits = shown.shape == fitted.shape
            take(
                numbers[len(times)], shown if fits else fit_frame(shown, height, width, out=fitted)
            )
        times.append(video.get(cv2.CAP_PROP_POS_MSEC))
    return times


def _read_folder(folder, num_frames, height, width):
    paths = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    ]
    if not paths:
        raise FileNotFoundError(f"No image in the folder {folder}.")
    paths.sort(key=_by_numbers)
    picked = sample_indices(len(paths), num_frames)
    return np.stack([fit_frame(read_image(paths[i]), height, width) for i in picked])


def _by_numbers(path):
    """Sorts `frame2.png` before `frame10.png`."""
    words = re.split(r"(\d+)", path.name)  # every second one is a number
    return [int(word) if index % 2 else word for index, word in enumerate(words)]
