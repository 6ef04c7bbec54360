"""A camera that is in somebody's browser: its pictures come as JPEGs with their times."""

import collections
import io
import threading
import time

import cv2
import numpy as np
from PIL import Image

from live.camera import KEPT_SHOTS, SILENT_SECONDS, Shot

MAX_SIDE_PX = 1920
MAX_BYTES = 2_000_000  # of one picture
MOST_PER_SECOND = 60  # pictures; what comes faster is dropped
CLOCK_SECONDS = 30.0  # of pictures that two clocks are compared by: they drift apart
TURNED_SECONDS = 0.5  # without pictures when their size changes, so that no recording has both
NO_PAGE = "No page is open. Open the address that the terminal shows."
TURNED = "The device was turned, or its camera changed."
NO_PICTURES = "The page is open but its camera shows nothing: allow it in the browser."


class BrowserCamera:
    """What a `camera.Camera` is, fed by a server.

    `deliver`, `connected`, `refused` and `gone` are called by the server's thread, everything else
    by that of the session.
    """

    is_file = False
    name = "the browser's camera"
    times_ended = 0
    has_ended = False

    def __init__(self):
        self.num_dropped = 0
        self.num_delivered = 0
        self._shots = collections.deque()
        self._times = collections.deque(maxlen=KEPT_SHOTS)
        self._arrivals = collections.deque(maxlen=MOST_PER_SECOND)
        self._changed = threading.Condition()
        self._problem = NO_PAGE
        self._heard = time.monotonic()
        self._offsets = collections.deque()  # (when, from the browser's clock to ours in seconds)
        self._shape = None
        self._paused_until = 0.0

    def connected(self):
        """A page has opened."""
        with self._changed:
            self._problem, self._heard = None, time.monotonic()
            self._offsets.clear()

    def refused(self, problem):
        """The page says why its camera shows nothing."""
        with self._changed:
            self._problem = problem

    def gone(self):
        """The page was closed, or its connection broke."""
        with self._changed:
            self._problem = NO_PAGE

    def deliver(self, stamp, jpeg):
        """Takes a picture; what cannot be one is dropped.

        Args:
            stamp: when it was taken, in seconds on the browser's clock.
            jpeg: bytes.

        Returns:
            Whether it was taken.
        """
        now = time.monotonic()
        with self._changed:
            if len(self._arrivals) == MOST_PER_SECOND and now - self._arrivals[0] < 1:
                self.num_dropped += 1
                return False
            self._arrivals.append(now)
        image = decode(jpeg)
        if image is None or not np.isfinite(stamp):
            self.num_dropped += 1
            return False
        with self._changed:
            if image.shape != self._shape:
                is_first, self._shape = self._shape is None, image.shape
                if not is_first:
                    self._problem, self._paused_until = TURNED, now + TURNED_SECONDS
            if now < self._paused_until:
                return False
            self._take(self._seconds(stamp, now), image, now)
            self._changed.notify_all()
        return True

    def take(self, timeout=0.0):
        """As of `Camera`."""
        with self._changed:
            self._changed.wait_for(lambda: self._shots, timeout)
            shots = list(self._shots)
            self._shots.clear()
        return shots

    def now(self):
        """As of `Camera`."""
        return time.monotonic()

    @property
    def fps(self):
        """As of `Camera`."""
        with self._changed:
            times, silent = list(self._times), time.monotonic() - self._heard
        if len(times) < 2 or silent > 1 or times[-1] <= times[0]:
            return 0.0
        return (len(times) - 1) / (times[-1] - times[0])

    @property
    def problem(self):
        """As of `Camera`."""
        with self._changed:
            if self._problem is None and time.monotonic() - self._heard > SILENT_SECONDS:
                return NO_PICTURES
            return self._problem

    def close(self):
        """There is nothing to close."""

    def _take(self, seconds, image, now):
        if len(self._shots) == KEPT_SHOTS:
            self._shots.popleft()
            self.num_dropped += 1
        self._shots.append(Shot(seconds, image))
        self._times.append(seconds)
        self.num_delivered += 1
        self._heard, self._problem = now, None

    def _seconds(self, stamp, now):
        """When a picture was taken on our clock: the quickest one so far took no time to come."""
        self._offsets.append((now, now - stamp))
        while now - self._offsets[0][0] > CLOCK_SECONDS:
            self._offsets.popleft()
        seconds = stamp + min(offset for _, offset in self._offsets)
        return max(seconds, self._times[-1] + 1e-6) if self._times else seconds


def decode(jpeg):
    """Uint8 BGR of a JPEG, or None where it is none, or a too large one."""
    try:
        with Image.open(io.BytesIO(jpeg), formats=("JPEG",)) as header:
            if max(header.size) > MAX_SIDE_PX:
                return None
        return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    except (OSError, SyntaxError, ValueError, cv2.error, Image.DecompressionBombError):
        return None
