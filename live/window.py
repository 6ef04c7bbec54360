"""A window on the desktop, with its keys; or what stands in the way of one."""

import ctypes
import os
import socket
import sys
import time
from pathlib import Path

import cv2

from live import picture

X11_PORT = 6000
CONNECT_SECONDS = 2.0
HINT = "Signs are named without a window, too: `python livedemo.py --headless`."


class Window:
    """A window that shows pictures and hands out keys.

    Raises:
        OSError: no window can be opened here.
    """

    def __init__(self, title):
        check_display()
        # Qt would tell the terminal about fonts that OpenCV does not use.
        os.environ.setdefault("QT_LOGGING_RULES", "*.warning=false")
        self._title = title
        self._is_shown = False
        try:
            cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
            cv2.resizeWindow(title, picture.WIDTH, picture.HEIGHT)
        except cv2.error as error:
            raise OSError(
                "This OpenCV cannot open windows (the wheel opencv-contrib-python-headless is "
                f"installed). {HINT}"
            ) from error

    def show(self, canvas):
        """Shows uint8 BGR `(height, width, 3)`."""
        if not self.is_closed:
            cv2.imshow(self._title, canvas)
            self._is_shown = True

    def key(self):
        """The key that was pressed, a lower-case character such as `state.ESCAPE`; or None."""
        code = cv2.waitKeyEx(1)
        # Arrows, Shift and their like have codes above 255, with the letters' in their last byte.
        if code < 0 or code & 0xFF00 or not code & 0xFF:
            return None
        return chr(code & 0xFF).lower()

    @property
    def is_closed(self):
        """Whether the person has closed the window."""
        if not self._is_shown:
            return False
        try:
            return cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1
        except cv2.error:
            return True

    def close(self):
        cv2.destroyAllWindows()


def check_display():
    """Raises OSError where there is no desktop: the windows' library would end the program."""
    if sys.platform != "linux" or os.environ.get("QT_QPA_PLATFORM"):
        return
    display = os.environ.get("DISPLAY", "")
    if not display:
        raise OSError(f"There is no display to open a window on (DISPLAY is not set). {HINT}")
    if not _answers(display):
        raise OSError(f"The display {display} (DISPLAY) does not answer. {HINT}")
    if not _lets_in():
        raise OSError(f"The display {display} (DISPLAY) lets nobody in from here. {HINT}")


def _lets_in():
    """Whether DISPLAY can be used, as far as that can be known.

    The connection stays open: a virtual display whose last client leaves begins anew, and refuses
    the next one meanwhile.
    """
    try:
        x11 = ctypes.CDLL("libX11.so.6")
    except OSError:
        return True
    x11.XOpenDisplay.restype = ctypes.c_void_p
    end = time.monotonic() + CONNECT_SECONDS
    while not x11.XOpenDisplay(None):
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def _answers(display):
    """Whether something listens where an X11 display such as ":0" or "host:10.0" should."""
    host, _, number = display.rpartition(":")
    number = number.split(".")[0]
    if not number.isdecimal():
        return False
    path = Path(f"/tmp/.X11-unix/X{number}")
    places = [(socket.AF_UNIX, f"\0{path}"), (socket.AF_UNIX, str(path))]
    if host and not host.startswith("unix"):
        places = [(socket.AF_INET, (host, X11_PORT + int(number)))]
    for family, address in places:
        with socket.socket(family, socket.SOCK_STREAM) as connection:
            connection.settimeout(CONNECT_SECONDS)
            try:
                connection.connect(address)
            except OSError:
                continue
            return True
    return False
