"""What the desktop offers: a window with its keys, fonts for any script; or what stands in the way.

Text is written in DejaVu Sans, which Matplotlib brings along, and in the system's fonts where that
has no such letters. What no font has is spelled out in Latin letters.
"""

import ctypes
import functools
import importlib.util
import itertools
import os
import re
import socket
import sys
import time
import unicodedata
from pathlib import Path

import cv2
from PIL import Image, ImageDraw, ImageFont, features

from common.class_list import one_line, spelled_out
from common.slow_imports import BLANK_FONTS, import_matplotlib

X11_PORT = 6000
CONNECT_SECONDS = 2.0

FONT_DIR = Path(*importlib.util.find_spec("matplotlib").submodule_search_locations)
FONT_DIR = FONT_DIR / "mpl-data" / "fonts" / "ttf"  # found without importing it, which is slow
FONT, BOLD_FONT = str(FONT_DIR / "DejaVuSans.ttf"), str(FONT_DIR / "DejaVuSans-Bold.ttf")
ORNATE = re.compile("bold|black|thin|light|italic|oblique|serif|mono|condensed", re.I)
# Pillow's, which orders letters from right to left and joins them, where it has it.
HAS_SHAPING = features.check("raqm")
EAST_ASIAN = ("CJK", "HANGUL", "HIRAGANA", "KATAKANA", "BOPOMOFO")  # first words of letters' names
NO_CHARACTER = "\U0010fffe"
# X11 numbers the letters of these alphabets by page and byte.
ALPHABETS = {
    **{1: "iso8859-2", 2: "iso8859-3", 3: "iso8859-4", 5: "iso8859-6", 6: "koi8-r"},
    **{7: "iso8859-7", 12: "iso8859-8", 13: "tis-620"},
}


class Window:
    """A window that shows pictures and hands out keys.

    Args:
        title: of the window.
        hint: what to do where there can be none.

    Raises:
        OSError: no window can be opened here; the message ends with `hint`.
    """

    def __init__(self, title, hint=""):
        check_display(hint)
        # Qt would tell the terminal about fonts that OpenCV does not use.
        os.environ.setdefault("QT_LOGGING_RULES", "*.warning=false")
        self._title = title
        self._first_size = None  # width, height of the first picture
        try:
            cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
        except cv2.error as error:
            raise OSError(
                "This OpenCV cannot open windows (the wheel opencv-contrib-python-headless is "
                f"installed). {hint}".rstrip()
            ) from error

    def show(self, canvas):
        """Shows uint8 BGR `(height, width, 3)`; the window is as large as the first one."""
        if self.is_closed:
            return
        if self._first_size is None:
            self._first_size = canvas.shape[1::-1]
            cv2.resizeWindow(self._title, *self._first_size)
        cv2.imshow(self._title, canvas)

    @property
    def scale(self):
        """How much larger than its first picture the window is by now, along the tighter side."""
        if self._first_size is None:
            return 1.0
        try:
            *_, width, height = cv2.getWindowImageRect(self._title)
        except cv2.error:  # it was closed
            return 1.0
        # An iconified window has no size, and some systems do not tell it.
        is_known = width > 0 and height > 0
        return min(width / self._first_size[0], height / self._first_size[1]) if is_known else 1.0

    def key(self):
        """The key that was pressed, a lower-case character such as `state.ESCAPE`; or None."""
        return character(cv2.waitKeyEx(1))

    @property
    def is_closed(self):
        """Whether the person has closed the window."""
        if self._first_size is None:
            return False
        try:
            return cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1
        except cv2.error:
            return True

    def close(self):
        cv2.destroyAllWindows()


def character(code):
    """The lower-case character that a key stands for, in any alphabet; None for arrows and such.

    Args:
        code: of `cv2.waitKeyEx`, -1 for no key.
    """
    if -128 <= code < -1:  # letters such as é
        code &= 0xFF
    page, byte = code >> 8, code & 0xFF
    if code >> 24 == 1:
        return chr(code & 0xFFFFFF).lower()
    if page in ALPHABETS:
        return bytes([byte]).decode(ALPHABETS[page], errors="ignore").lower() or None
    return chr(code).lower() if code > 0 and page == 0 else None


def check_display(hint=""):
    """Raises OSError where there is no desktop: the windows' library would end the program."""
    if sys.platform != "linux" or os.environ.get("QT_QPA_PLATFORM"):
        return
    display = os.environ.get("DISPLAY", "")
    if not display:
        raise OSError(
            f"There is no display to open a window on (DISPLAY is not set). {hint}".rstrip()
        )
    if not _answers(display):
        raise OSError(f"The display {display} (DISPLAY) does not answer. {hint}".rstrip())
    if not _lets_in():
        raise OSError(f"The display {display} (DISPLAY) lets nobody in from here. {hint}".rstrip())


@functools.lru_cache(2048)
def font_parts(text, bold=False):
    """A line as parts: [(text, file of a font that has its letters)]; what none has is spelled out.

    The parts stand in the order in which they are written, from left to right.
    """
    own = BOLD_FONT if bold else FONT
    return [
        (_in_order(part), path) if path else (spelled_out(part), own)
        for part, path in _runs(text, own)
    ]


def can_write(text):
    """Whether fonts have all letters of a text, so that nothing of it is spelled out."""
    return all(path for _, path in _runs(text, FONT))


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


def _runs(text, own):
    """Yields the parts of a line that have a font in common, and its file or None."""
    for is_own, characters in itertools.groupby(one_line(text), lambda each: _has(own, each)):
        part = "".join(characters)
        yield part, own if is_own else _other_font(part)


def _in_order(text):
    """Letters from left to right as they are seen, where Pillow does not see to that."""
    if HAS_SHAPING or not any(map(_is_shaped, text)):
        return text
    _tell_once(
        "This Pillow has no raqm: letters that are joined, or run from right to left, stand alone."
    )
    runs = itertools.groupby(text, _runs_left)
    return "".join("".join(run)[:: -1 if is_left else 1] for is_left, run in runs)


def _is_shaped(character):
    return _runs_left(character) or unicodedata.category(character) == "Mc"


def _runs_left(character):
    return unicodedata.bidirectional(character) in ("R", "AL")


@functools.cache
def _has(path, character):
    """Whether a font has a character: not drawn as one that no font can have."""
    if character == " " or unicodedata.category(character) in ("Cc", "Cf"):
        return True
    try:
        return _glyph(path, character) != _glyph(path, NO_CHARACTER)
    except OSError:  # a font of pictures in fixed sizes, or a damaged one
        return False


def _glyph(path, character):
    """A small picture of a character, as bytes."""
    font = ImageFont.truetype(path, 16, layout_engine=ImageFont.Layout.BASIC)
    image = Image.new("L", (32, 32))
    ImageDraw.Draw(image).text((4, 24), character, fill=255, font=font, anchor="ls")
    return image.tobytes()


_needed_fonts = [FONT]  # that letters were found in
_lacking_scripts = set()


@functools.cache
def _other_font(text):
    """The file of a font that has all of a text, or None, which is told once of each script."""
    script = unicodedata.name(text[0], "?").split()[0]
    for path in _needed_fonts if script in _lacking_scripts else [*_needed_fonts, *_system_fonts()]:
        if all(_has(path, character) for character in text):
            _needed_fonts.extend({path} - {*_needed_fonts})
            return path
    _lacking_scripts.add(script)
    package = "fonts-noto-cjk" if script in EAST_ASIAN else "fonts-noto-core"
    _tell_once(
        "Some letters are spelled out, for no font here has them. On Debian or Ubuntu: "
        f"`sudo apt-get install {package}`"
    )
    return None


@functools.cache
def _system_fonts():
    """Files of all fonts, plain ones first."""
    files = import_matplotlib("font_manager").findSystemFonts()
    paths = [path for path in files if not BLANK_FONTS.search(Path(path).name)]
    return sorted(paths, key=lambda path: (len(ORNATE.findall(Path(path).name)), path))


@functools.cache
def _tell_once(message):
    print(message, file=sys.stderr, flush=True)
