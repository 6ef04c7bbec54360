"""A camera, or a video file played as one, read by a thread of its own.

The thread stamps every picture with its time and keeps the newest few: what nobody takes is
dropped, never queued. It opens a camera that was lost again by itself.
"""

import argparse
import collections
import contextlib
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from common.command_line import Option, expanded
from common.video import (
    bits_of,
    open_video,
    pixel_aspect,
    silence_decoder,
    to_bgr,
    with_square_pixels,
)

ASKED_SIZE = (640, 480)  # width, height; a camera may deliver another one
KEPT_SHOTS = 32  # pictures that nobody has taken yet
OPENING_SECONDS = 20.0  # some drivers take long
SILENT_SECONDS = 3.0  # a camera that shows nothing for so long is lost
UNREADABLE_SECONDS = 0.5  # a single picture may be damaged, and the first one missing
RETRY_SECONDS = 1.0
FPS_OF_UNKNOWN = 30.0  # of a file that does not say
HIGHEST_FPS = 240.0
BLACK_LEVEL = 6  # mean of a picture on 0..255 below which it is black
BLACK = "The picture is black: is the lens covered, or the camera used by another program?"
MAX_CAMERAS = 10
WAIT_SECONDS = 0.02  # for a picture, before a program looks at its window's keys again
PROBE_SECONDS = 10.0


class Shot(NamedTuple):
    """One picture: uint8 BGR `(height, width, 3)` and when it began, in seconds."""

    seconds: float
    image: np.ndarray


class Camera:
    """Pictures of a camera or a file, as they come.

    A file is played at its own speed, again and again.

    Args:
        source: number, device file or address of a camera, or `Path` of a video file.
        unpaced: play a file as fast as the pictures are taken: none is dropped, and time is that
            of the file.
        loop: play a file again when it ends.
        open_source: what opens `source`, a context manager around an object with the methods
            `read` and `get` of `cv2.VideoCapture`.

    Raises:
        FileNotFoundError, ValueError: the file does not exist or holds no picture.
    """

    def __init__(self, source, unpaced=False, loop=True, open_source=None):
        self.is_file = not is_device(source)
        self.name = Path(source).name if self.is_file else f"camera {source}"
        self.times_ended = 0  # of a file, which then begins again
        self.num_dropped = 0
        self._unpaced = unpaced and self.is_file
        self._loop = loop
        self._open_source = open_source or (open_video if self.is_file else open_device)
        self._source = source
        self._shots = collections.deque()
        self._times = collections.deque(maxlen=KEPT_SHOTS)
        self._changed = threading.Condition()
        self._closed = False
        self._problem = None
        self._is_open = False
        self._heard = time.monotonic()
        self._taken_seconds = 0.0
        if self.is_file:
            check_file(Path(source), self._open_source)
        threading.Thread(target=self._run, daemon=True, name=self.name).start()

    def take(self, timeout=0.0):
        """All `Shot`s since the last call, oldest first; waits up to `timeout` s for one."""
        with self._changed:
            self._changed.wait_for(lambda: self._shots or self._closed, timeout)
            shots = list(self._shots)
            self._shots.clear()
            if shots:
                self._taken_seconds = shots[-1].seconds
            self._changed.notify_all()
        return shots

    def now(self):
        """Seconds on the clock that stamps the pictures."""
        return self._taken_seconds if self._unpaced else time.monotonic()

    @property
    def has_ended(self):
        """Whether a file that is played once has been taken to its end."""
        return self.is_file and not self._loop and self.times_ended > 0 and not self._shots

    @property
    def fps(self):
        """Pictures per second that the camera delivered lately; 0 where it stands still."""
        with self._changed:
            times = list(self._times)
            silent = time.monotonic() - self._heard
        if len(times) < 2 or times[-1] <= times[0] or (silent > 1 and not self._unpaced):
            return 0.0
        return (len(times) - 1) / (times[-1] - times[0])

    @property
    def problem(self):
        """What is wrong with the camera, and what to do about it; None where it delivers."""
        with self._changed:
            silent = time.monotonic() - self._heard
            if self._problem is not None or self._unpaced:
                return self._problem
            if not self._is_open and silent > OPENING_SECONDS:
                return (
                    f"{self.name.capitalize()} does not open. Quit other programs that use it, or "
                    "choose another one with --camera."
                )
            if self._is_open and silent > SILENT_SECONDS:
                return (
                    f"{self.name.capitalize()} is open but delivers no picture. Unplug it and plug "
                    "it in again, or choose another one with --camera."
                )
            return None

    def close(self):
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _run(self):
        while not self._closed and (self._loop or not self.times_ended):
            try:
                with self._open_source(self._source) as video:
                    with self._changed:
                        self._is_open, self._heard = True, time.monotonic()
                    (self._play if self.is_file else self._watch)(video)
            except (OSError, ValueError, cv2.error) as error:
                with self._changed:
                    self._problem, self._is_open = str(error), False
                    self._changed.wait_for(lambda: self._closed, RETRY_SECONDS)

    def _watch(self, video):
        """Reads a camera until it is closed or lost."""
        readable, bits = time.monotonic(), 0
        while not self._closed:
            delivered, image = video.read()
            now = time.monotonic()
            if delivered and image.size:
                readable = now
                bits = max(bits, bits_of(image))
                self._deliver(now, to_bgr(image, bits))
            elif now - readable < UNREADABLE_SECONDS:
                time.sleep(0.01)
            else:
                raise OSError(
                    f"{self.name.capitalize()} delivers no picture: it was unplugged, or another "
                    "program uses it. Plug it in again, or choose another one with --camera."
                )

    def _play(self, video):
        """Plays a file to its end."""
        fps = video.get(cv2.CAP_PROP_FPS)
        step = 1 / fps if 0 < fps <= HIGHEST_FPS else 1 / FPS_OF_UNKNOWN
        with self._changed:
            begin = self._times[-1] + step if self._unpaced and self._times else self.now()
        seconds, aspect = begin - step, pixel_aspect(video)
        while not self._closed:
            delivered, image = video.read()
            if not delivered:
                break
            stamp = begin + video.get(cv2.CAP_PROP_POS_MSEC) / 1000
            seconds = stamp if stamp > seconds else seconds + step
            if not self._unpaced:
                with self._changed:
                    self._changed.wait_for(lambda: self._closed, seconds - time.monotonic())
            self._deliver(seconds, with_square_pixels(image, aspect))
        if not self._unpaced:
            time.sleep(max(0.0, seconds + step - time.monotonic()))
        self.times_ended += 1

    def _deliver(self, seconds, image):
        with self._changed:
            if self._unpaced:
                self._changed.wait_for(lambda: not self._shots or self._closed)
            if len(self._shots) == KEPT_SHOTS:
                self._shots.popleft()
                self.num_dropped += 1
            self._shots.append(Shot(seconds, image))
            self._times.append(seconds)
            self._heard = time.monotonic()
            self._problem = None
            self._changed.notify_all()


@contextlib.contextmanager
def open_device(source):
    """An open camera.

    Args:
        source: its number, its device file or its address.

    Raises:
        OSError: it is not there, or another program uses it.
    """
    silence_decoder()
    device = f"/dev/video{source}" if isinstance(source, int) else source
    if sys.platform == "linux" and "://" not in device and not Path(device).exists():
        raise FileNotFoundError(
            f"There is no camera {source}. Plug one in; `python videocapture.py --list` shows what "
            "there is, --camera N or --camera FILE chooses."
        )
    video = cv2.VideoCapture(source)
    try:
        if not video.isOpened() and "://" in device:
            raise OSError(
                f"No pictures come from {source}: check address, network, user and password."
            )
        if not video.isOpened():
            raise OSError(
                f"Camera {source} does not open: there is none, another program uses it, or this "
                "program may not. `python videocapture.py --list` shows what there is."
            )
        video.set(cv2.CAP_PROP_FRAME_WIDTH, ASKED_SIZE[0])
        video.set(cv2.CAP_PROP_FRAME_HEIGHT, ASKED_SIZE[1])
        yield video
    finally:
        video.release()


def check_file(path, open_file=open_video):
    """Raises what is wrong with the video file `path`, if anything is."""
    try:
        with open_file(path) as video:
            delivered, image = video.read()
            if not delivered or not image.size:
                raise ValueError("no picture in it can be decoded")
    except ValueError as error:
        raise ValueError(f"{path} cannot stand in for a camera: {error}") from error


def is_black(image):
    """Whether nothing can be seen in a uint8 picture."""
    return float(image[::8, ::8].mean()) < BLACK_LEVEL


def is_device(source):
    """Whether a source is a camera and not a file that is played as one."""
    return isinstance(source, int) or (
        isinstance(source, str) and ("://" in source or source.startswith("/dev/"))
    )


def parse_source(text):
    """An `argparse` type: a camera's number, device file or address, or the path of a file."""
    if not text or text.startswith("-"):
        raise argparse.ArgumentTypeError(f"expected a camera or a file, received {text!r}")
    if text.isdecimal():
        return int(text)
    return text if is_device(text) else _one_file(text)


def _one_file(text):
    """The path of a file; a pattern that the shell did not expand is to stand for one."""
    found = expanded(text)
    if len(found) > 1:
        raise argparse.ArgumentTypeError(f"{len(found)} files match {text}, such as {found[0]}")
    return found[0] if found else Path(text)


def probe_cameras():
    """What is known of every camera that opens.

    Returns:
        list of (number, width, height, fps, backend, delivers): `fps` as its driver says, 0 where
        it does not.
    """
    found = []
    for number in range(MAX_CAMERAS):
        prober = threading.Thread(target=_probe, args=(number, found), daemon=True)
        prober.start()
        prober.join(PROBE_SECONDS)  # some drivers never return
    return found


def _probe(number, found):
    with contextlib.suppress(OSError, cv2.error), open_device(number) as video:
        size = (
            int(video.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
        )
        fps, backend = video.get(cv2.CAP_PROP_FPS), video.getBackendName()
        found.append((number, *size, fps, backend, video.read()[0]))


OPTIONS = {
    "camera": Option(
        0,
        "number, /dev/video0 or rtsp:// address of a camera, or a video played as one",
        parse_source,
        metavar="N|FILE",
    )
}
