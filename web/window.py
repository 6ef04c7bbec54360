"""A window that is a page in somebody's browser: it is shown a `View`, and hands out keys."""

import collections
import threading

import cv2
import numpy as np

from live.state import ENTER, MAX_NAME

MAX_KEYS = 100  # that nobody has looked at yet
JPEG_QUALITY = 80
LARGEST_PX = 480  # of a picture's longer side


class BrowserWindow:
    """What a `window.Window` is, at the other end of a server.

    `newest`, `press` and `enter` are called by the server's thread, everything else by
    that of the session.
    """

    def __init__(self):
        self.is_closed = False
        self.on_change = lambda: None  # called, on any thread, when there is something new to show
        self._keys = collections.deque(maxlen=MAX_KEYS)
        self._lock = threading.Lock()
        self._view = None
        self._number = 0

    def show(self, view):
        """Shows a `picture.View` as soon as the page has shown the one before."""
        with self._lock:
            self._view, self._number = view, self._number + 1
        self.on_change()

    def key(self):
        """As of `Window`."""
        with self._lock:
            return self._keys.popleft() if self._keys else None

    def close(self):
        """The page is told that this is the end."""
        self.is_closed = True
        self.on_change()

    def newest(self):
        """(its number, the newest `View`); 0 and None before there is one."""
        with self._lock:
            return self._number, self._view

    def press(self, key):
        """A key was pressed: one character."""
        if isinstance(key, str) and len(key) == 1:
            with self._lock:
                self._keys.append(key)

    def enter(self, name):
        """A whole name was entered: one key, so that nothing of it can be taken for a command."""
        if isinstance(name, str):
            with self._lock:
                self._keys.append(ENTER + name[:MAX_NAME])


def message_of(view, is_over=False):
    """What the page is told of a `View`, without its pictures: a JSON-able dict."""
    return {
        "heading": view.heading,
        "color": "#" + "".join(f"{channel:02x}" for channel in reversed(view.color)),
        "live": _shares(view.live_part),
        "box": _shares(view.box),
        "note": view.note,
        "caption": view.caption,
        "big": view.big,
        "isSplit": view.is_split,
        "bar": view.bar,
        "barText": view.bar_text,
        "rows": [
            {"text": text, "share": None if share is None else float(share), "strong": bool(strong)}
            for text, share, strong in view.rows
        ],
        "lines": [list(line) for line in view.lines],
        "message": view.message,
        "keys": view.keys,
        "corner": view.corner,
        "typed": view.typed,
        "isOver": is_over,
    }


def _shares(part):
    return part and [round(float(share), 4) for share in part]


def jpeg_of(picture):
    """A picture of a `View` as JPEG bytes, b"" where there is none."""
    if picture is None:
        return b""
    shrink = LARGEST_PX / max(picture.shape[:2])
    if shrink < 1:
        picture = cv2.resize(picture, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    return cv2.imencode(".jpg", np.ascontiguousarray(picture), quality)[1].tobytes()
