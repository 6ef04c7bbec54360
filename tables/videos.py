"""The videos that a table names: finding them, and how they come into a data set."""

import dataclasses
import os
import re
import shutil
from pathlib import Path

import cv2

from common.class_list import same_form
from common.dataset import VIDEO_SUFFIXES
from common.video import IMAGE_SUFFIXES, open_video, read_image

COLOUR_ENDINGS = ("_color", "_rgb", "_colour")  # of names that stand without them in a table
CUT_SUFFIX = ".avi"
CUT_QUALITY = 95  # of the JPEGs that a cut consists of
MOTION_JPEG = cv2.VideoWriter_fourcc(*"MJPG")
DEFAULT_FPS = 25.0  # where a file does not tell


class Videos:
    """The videos below a folder, and folders of frames, by every name that a table may use.

    Args:
        folder: `Path`.

    Attributes:
        paths: all of them, sorted.
    """

    def __init__(self, folder):
        self._folder = folder
        self.paths = sorted(_below(folder))
        self._by_name = {}
        for path in self.paths:
            for name in self._names(path):
                self._by_name.setdefault(name, []).append(path)

    def find(self, text):
        """The videos that a text may mean: a list, shortest path first."""
        return self._by_name.get(_cleaned(text), []) if text else []

    def place(self, path):
        """A video's path below the folder, with "/"."""
        return same_form(path.relative_to(self._folder).as_posix())

    def _names(self, path):
        """Every part of its path that may stand for it, with and without its ending."""
        place = self.place(path)
        if path.is_file():
            stem = place[: -len(path.suffix)]
            endings = [end for end in COLOUR_ENDINGS if stem.lower().endswith(end)]
            whole = [place, stem, *(stem[: -len(end)] for end in endings)]
        else:
            whole = [place]
        names = set()
        for name in whole:
            parts = name.split("/")
            names |= {"/".join(parts[first:]) for first in range(len(parts))}
        return names


@dataclasses.dataclass(frozen=True)
class Piece:
    """What becomes a clip: a video, a part of it, or a folder of frames.

    `start` and `end` are in frames or seconds, as `unit` says; the frame at `end` is the first one
    that is left out; None: as far as it goes. `fps` is of a folder of frames.
    """

    path: Path
    start: float | None = None
    end: float | None = None
    unit: str = "frames"
    transfer: str = "link"
    fps: float = DEFAULT_FPS

    @property
    def is_cut(self):
        return self.start is not None or self.end is not None

    @property
    def suffix(self):
        """Of the clip's file."""
        whole = not self.is_cut and self.path.is_file()
        return self.path.suffix.lower() if whole else CUT_SUFFIX


@dataclasses.dataclass(frozen=True)
class Refused:
    """A row that cannot become a clip, and why."""

    reason: str


def write(piece, partial):
    """Writes a clip to `partial`: the work of `stage.run`.

    Args:
        piece: `Piece` or `Refused`.
        partial: `Path` of the new file.

    Returns:
        None, or a warning.

    Raises:
        ValueError: nothing of the video lies between start and end, it cannot be read, or the row
            is refused.
    """
    if isinstance(piece, Refused):
        raise ValueError(piece.reason)
    if piece.path.is_dir():
        return _write_frames(_images(piece), partial, piece.fps)
    if piece.is_cut:
        with open_video(piece.path) as video:
            fps = video.get(cv2.CAP_PROP_FPS)
            fps = fps if 0 < fps < 1000 else DEFAULT_FPS
            return _write_frames(_frames_between(video, piece, fps), partial, fps)
    source = piece.path.resolve()
    if piece.transfer == "link":
        for link in (os.link, os.symlink):
            try:
                link(source, partial)
                return None
            except OSError:
                continue
    shutil.copyfile(source, partial)
    return None


def _below(folder):
    """Yields the videos and the folders of frames."""
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        endings = [Path(name).suffix.lower() for name in files if not name.startswith(".")]
        for name in files:
            if Path(name).suffix.lower() in VIDEO_SUFFIXES and not name.startswith("."):
                yield Path(place, name)
        if Path(place) != folder and any(ending in IMAGE_SUFFIXES for ending in endings):
            if not any(ending in VIDEO_SUFFIXES for ending in endings):
                yield Path(place)


def _cleaned(text):
    """A path of a table as the names of `Videos` are."""
    return same_form(re.sub(r"^(\./|/)+", "", text.replace("\\", "/")))


def _images(piece):
    """Yields the pictures of a folder, of which 2 comes before 10."""
    paths = [p for p in piece.path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES]
    paths.sort(key=lambda path: [int(t) if t.isdigit() else t for t in _parts(path.name)])
    first, last = _bounds(piece, piece.fps)
    for path in paths[first:last]:
        yield read_image(path)


def _parts(name):
    return re.split(r"(\d+)", name)


def _bounds(piece, fps):
    """Numbers of the first frame and of the first one that is left out; None: as far as it goes."""
    factor = fps if piece.unit == "seconds" else 1
    first = 0 if piece.start is None else round(piece.start * factor)
    return first, None if piece.end is None else round(piece.end * factor)


def _frames_between(video, piece, fps):
    first, last = _bounds(piece, fps)
    number = 0
    while (last is None or number < last) and video.grab():
        if number >= first:
            is_read, image = video.retrieve()
            if is_read:
                yield image
        number += 1


def _write_frames(frames, partial, fps):
    """A video of pictures, each as a JPEG."""
    named = partial.with_name(f"{partial.name}{CUT_SUFFIX}")  # OpenCV goes by the ending
    writer, size = None, None
    try:
        for image in frames:
            if writer is None:
                size = image.shape[1::-1]
                parameters = [cv2.VIDEOWRITER_PROP_QUALITY, CUT_QUALITY]
                backend = cv2.CAP_OPENCV_MJPEG
                writer = cv2.VideoWriter(str(named), backend, MOTION_JPEG, fps, size)
                writer.set(*parameters)
                if not writer.isOpened():
                    raise ValueError("OpenCV cannot write a video here")
            if image.shape[1::-1] != size:
                image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
            writer.write(image)
        if writer is None:
            raise ValueError("no frame of the video lies between start and end")
        writer.release()
        os.replace(named, partial)
    finally:
        if writer is not None:
            writer.release()
        named.unlink(missing_ok=True)
