"""A recording: what a camera shows for a few seconds, its frames picked by time as they come.

And whether motion, or a head, leaves the box that networks see.
"""

import concurrent.futures
import contextlib
import datetime
import functools
import json
import math
import os
from pathlib import Path

import cv2
import numpy as np

from common import disk
from common.video import open_video, write_image

RECORDING_DIR = Path("recording")
JPEG_QUALITY = 95  # of the frames that wait in memory to be written as a video
HIGHEST_FPS = 30.0
MOTION_SIZE = (80, 60)  # width, height of the small pictures that motion is looked for in
NOISE_LEVELS = 12  # of 255: a smaller change is no motion
LEAST_MOTION = 5e-4  # of all that may change; what is less is hardly a sign
FACE_FILE, FACE_WIDTH = "haarcascade_frontalface_default.xml", 160  # pixels that it looks at
LEAST_FACE = 0.1  # width of a face, as a share of the picture's
LOOK_SECONDS, HEAD_SECONDS = 0.5, 2.0  # between two looks; that a head was outside is known so long
OUTSIDE_SHARE = 0.1  # of a face outside the box, from which on it leaves it
FOURCC = {".avi": "MJPG", ".mp4": "mp4v"}


class Picker:
    """Picks the frame that is seen at evenly spaced moments, whatever the camera's frame rate.

    The same moments as `sample_times`: of each, the last frame that has begun by then.

    Args:
        start: the first moment, in seconds.
        step_seconds: from one moment to the next.
        shown: the `Shot` before `start`, if there is one.
    """

    def __init__(self, start, step_seconds, shown=None):
        self._start, self._step = start, step_seconds
        self._shown = shown
        self._num_picked = 0

    def add(self, shot):
        """Takes the next `Shot`; returns the images of the moments before it."""
        if self._shown is None:
            self._shown = shot
        images = self._pick(lambda moment: moment < shot.seconds)
        self._shown = shot
        return images

    def advance(self, now):
        """Returns the images of the moments up to `now`, by when all frames have been added."""
        return self._pick(lambda moment: moment <= now) if self._shown else []

    def _pick(self, is_over):
        images = []
        while is_over(self._start + self._num_picked * self._step):
            images.append(self._shown.image)
            self._num_picked += 1
        return images


class Recording:
    """A fixed number of picked frames, and, for saving, all frames as JPEGs.

    Args:
        start, seconds: when it begins and how long it takes.
        num_frames: number of frames to pick.
        shown: the `Shot` before `start`, if there is one.
        keep_video: keep all frames, too.
    """

    def __init__(self, start, seconds, num_frames, shown=None, keep_video=True):
        self.start, self.seconds = start, seconds
        self.picked = []  # uint8 BGR, as the camera saw them
        self._num_frames = num_frames
        self._picker = Picker(start, seconds / num_frames, shown)
        self._video = Video() if keep_video else None
        self._motion = np.zeros(MOTION_SIZE[::-1])  # where, in levels
        self._small = None  # the newest picked frame, gray and small
        if shown and keep_video:
            self._video.add(start, shown.image)

    @property
    def end(self):
        return self.start + self.seconds

    def add(self, shot):
        """Takes the next `Shot`; returns the images that are newly picked."""
        if self._video and shot.seconds < self.end:
            self._video.add(shot.seconds, shot.image)
        return self._keep(self._picker.add(shot))

    def advance(self, now):
        """Returns the images that are picked because it is `now`."""
        return self._keep(self._picker.advance(min(now, self.end)))

    @property
    def has_motion(self):
        """Whether anything moved that a sign could be."""
        most = 255 * self._motion.size * max(1, len(self.picked) - 1)
        return bool(self._motion.sum() > LEAST_MOTION * most)

    def motion_outside(self, box):
        """The share of the motion so far that was outside a part of the picture; 0 without motion.

        Args:
            box: (top, left, height, width) in shares of the picture.
        """
        size = np.tile(self._motion.shape, 2)
        top, left, height, width = np.rint(np.multiply(box, size)).astype(int)
        inside = self._motion[top : top + height, left : left + width].sum()
        return 1 - inside / self._motion.sum() if self.has_motion else 0.0

    def _keep(self, images):
        images = images[: self._num_frames - len(self.picked)]
        self.picked += images
        for image in images:
            self._add_motion(image)
        return images

    def _add_motion(self, image):
        small = cv2.resize(image, MOTION_SIZE, interpolation=cv2.INTER_AREA)
        small = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)
        if self._small is not None:
            change = cv2.absdiff(small, self._small)
            self._motion += np.where(change > NOISE_LEVELS, change, 0)
        self._small = small

    def write_video(self, path):
        """Writes all frames to the new video file `path`, at a constant frame rate.

        Raises:
            OSError: the file did not become whole, for example because the disk is full.
        """
        self._video.write(path, self.start, self.seconds)


class Video:
    """Frames with their times, compressed on a thread of its own while they come."""

    def __init__(self):
        self._times, self._encoded = [], []
        self._encoder = concurrent.futures.ThreadPoolExecutor(1)

    def add(self, seconds, image):
        quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
        self._times.append(seconds)
        self._encoded.append(self._encoder.submit(cv2.imencode, ".jpg", image, quality))

    def write(self, path, start, seconds):
        """Writes what is seen from `start` on, for `seconds`; raises OSError where it fails."""
        fps = max(1.0, min(HIGHEST_FPS, round(len(self._times) / seconds)))
        moments = start + np.arange(round(seconds * fps)) / fps
        shown = np.maximum(np.searchsorted(self._times, moments, side="right") - 1, 0)
        images = (self._image(number) for number in shown)
        write_video(path, images, fps, len(shown))

    def _image(self, number):
        return cv2.imdecode(self._encoded[number].result()[1], cv2.IMREAD_COLOR)


def write_video(path, images, fps, num_images):
    """Writes uint8 BGR `images` of one size to the new file `path`, by its suffix avi or mp4.

    Raises:
        OSError: not all images could be written, for example because the disk is full.
    """
    writer = None
    for image in images:
        if writer is None:
            code = cv2.VideoWriter_fourcc(*FOURCC[path.suffix])
            writer = cv2.VideoWriter(str(path), code, fps, image.shape[1::-1])
        writer.write(image)
    writer.release()
    # The writer itself tells nobody that the disk is full.
    if _num_frames(path) != num_images:
        raise OSError(f"The video could not be written whole to {path.parent}. Is the disk full?")


def save(recording, answer, folder=RECORDING_DIR):
    """Writes a recording and the answer to it into a new folder, whole or not at all.

    `frames/frame0000.png` ... are the picked frames as the network got them, so that
    `python predict.py <folder>/frames` gives the same answer; `recording.avi` is what was seen in
    between, and `answer.json` the answer.

    Args:
        recording: a finished `Recording`.
        answer: JSON-able dict.
        folder: where the new folder is made.

    Returns:
        Path of the new folder, named after the time.

    Raises:
        OSError: the disk is full, or may not be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    disk.check_free(folder, sum(image.size for image in recording.picked))
    with disk.partial_dir(folder) as partial:
        content = partial / "content"
        (content / "frames").mkdir(parents=True)
        for number, image in enumerate(recording.picked):
            write_image(content / "frames" / f"frame{number:04d}.png", image)
        recording.write_video(content / "recording.avi")
        text = json.dumps(answer, indent=1, ensure_ascii=False)
        (content / "answer.json").write_text(text + "\n", encoding="utf-8")
        target = _new_name(folder)
        os.rename(content, target)
    return target


def _new_name(folder):
    name = datetime.datetime.now().strftime("%Y-%m-%d-%H-%M-%S")
    target, number = folder / name, 2
    while target.exists():
        target, number = folder / f"{name}-{number}", number + 1
    return target


def _num_frames(path):
    count = 0
    with contextlib.suppress(OSError, ValueError), open_video(path) as video:
        while video.grab():
            count += 1
    return count


class HeadWatch:
    """Whether a head was lately seen to leave the part of the picture that networks see.

    It looks for a face now and then; where it finds none, nothing is known.
    """

    def __init__(self):
        self._looked = self._outside = -math.inf

    def look(self, shot, box):
        """Looks at a `Shot`, unless it has just looked.

        Args:
            shot: `Shot`.
            box: (top, left, height, width) of the part, in shares of the picture.
        """
        if shot.seconds - self._looked >= LOOK_SECONDS:
            self._looked = shot.seconds
            if face := find_face(shot.image):
                self._outside = shot.seconds if _leaves(face, box) else -math.inf

    def is_outside(self, now):
        return now - self._outside < HEAD_SECONDS


def find_face(image):
    """The largest face that looks into the camera.

    Args:
        image: uint8 BGR `(height, width, 3)`.

    Returns:
        (top, left, height, width) in shares of the picture, or None.

    Source: Viola and Jones, "Rapid Object Detection using a Boosted Cascade of Simple Features"
    (2001), as OpenCV brings it along.
    """
    detector = _face_detector()
    if detector is None:
        return None
    height, width = round(image.shape[0] * FACE_WIDTH / image.shape[1]), FACE_WIDTH
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    small = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)
    least = round(LEAST_FACE * width)
    found = detector.detectMultiScale(small, 1.15, 5, minSize=(least, least))
    if not len(found):
        return None
    left, top, face_width, face_height = max(found, key=lambda place: place[2])
    return top / height, left / width, face_height / height, face_width / width


@functools.cache
def _face_detector():
    """OpenCV's, or None where this OpenCV has none."""
    with contextlib.suppress(AttributeError, cv2.error):
        detector = cv2.CascadeClassifier(cv2.data.haarcascades + FACE_FILE)
        return None if detector.empty() else detector
    return None


def _leaves(face, box):
    """Whether a part of a face is outside the box, as (top, left, height, width) each."""
    return any(
        box[axis] - face[axis] > OUTSIDE_SHARE * face[axis + 2]
        or face[axis] + face[axis + 2] - box[axis] - box[axis + 2] > OUTSIDE_SHARE * face[axis + 2]
        for axis in (0, 1)
    )
