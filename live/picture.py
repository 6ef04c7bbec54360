"""The picture in the live windows: what is to be seen in, one uint8 BGR image out.

    y 0    heading on the colour of the state                  frames per second
    y 40   the camera, or the camera and a second picture side by side
    y 287  bars, or the answer's three rows
    y 403  a message of at most two lines
    y 450  the keys

Measures are those of a window of 640x480 pixels; a larger one gets all of it larger, and as sharp.
The colours are those of Okabe and Ito, told apart by colour-blind people too, and every state is
also written.
"""

import dataclasses
import functools

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from live.window import HAS_SHAPING, Window, font_parts

WIDTH, HEIGHT = 640, 480
MAX_SCALE = 3.0  # 1920 pixels wide: more would take the networks' time
PANEL = (320, 240)  # width, height of two pictures side by side
WHOLE = (480, 360)  # of one picture
TOP, ROWS_TOP, MESSAGE_TOP, KEYS_TOP = 40, 287, 403, 450
MARGIN = 10
KEY_COLUMN = 100
GROUND, QUIET, STRIPE = (32, 30, 28), (44, 41, 38), (60, 56, 52)
WHITE, GRAY, DARK = (255, 255, 255), (190, 190, 190), (20, 20, 20)
GREEN, ORANGE, RED = (115, 158, 0), (0, 159, 230), (0, 94, 213)
BLUE, SKY, SLATE, PURPLE = (178, 114, 0), (233, 180, 86), (105, 95, 90), (167, 121, 204)
TEXT, SMALL_TEXT, LARGE_TEXT = 15, 13, 22  # pixels from the top of an Á to the bottom of a g
HUGE_TEXT = 130
BRIGHT = 130  # of 255: from here on writing on a colour is dark


@dataclasses.dataclass
class View:
    """What the window shows.

    Args:
        heading, color: the state in words and as BGR.
        camera: uint8 BGR of any size, as the eye is to see it, or None.
        box: (top, left, height, width) of the part that the network sees, in shares of `camera`.
        note: a few words over the camera.
        beside: a second picture of the same place as `camera`, uint8 BGR, or None, which leaves its
            place empty; `caption` says what it is.
        big: a word or number over the camera.
        is_split: two pictures side by side instead of one.
        bar: share 0..1 of a bar below the pictures, or None; `bar_text` stands on it.
        rows: [(text, probability or None, is strong)] below the pictures.
        lines: [(key, text)] in place of the camera, wrapped.
        message: at most two lines, wrapped.
        keys: what the keys do.
        corner: at the right end of the heading.
        typed: what has been typed of what is asked for, or None where nothing is.
        live_part: which part of the camera's newest picture `camera` is, mirrored: (top, left,
            height, width) in shares of it; None: `camera` is another picture.
    """

    heading: str = ""
    color: tuple = SLATE
    camera: np.ndarray | None = None
    box: tuple | None = None
    note: str = ""
    beside: np.ndarray | None = None
    caption: str = ""
    is_split: bool = False
    big: str = ""
    bar: float | None = None
    bar_text: str = ""
    rows: list = dataclasses.field(default_factory=list)
    lines: list = dataclasses.field(default_factory=list)
    message: str = ""
    keys: str = ""
    corner: str = ""
    typed: str | None = None
    live_part: tuple | None = None


class PictureWindow(Window):
    """A window of the desktop that shows a `View`."""

    def show(self, view):
        """Draws a `View` as large as the window is, and shows it."""
        super().show(draw(view, self.scale))


class Canvas:
    """A picture that is drawn on in the measures of 640x480 pixels, whatever its size.

    Args:
        scale: its pixels per pixel of 640x480.
    """

    def __init__(self, scale):
        self.scale = scale
        self.image = np.empty((round(HEIGHT * scale), round(WIDTH * scale), 3), np.uint8)
        self.fill(0, 0, WIDTH, HEIGHT, GROUND)

    def fill(self, left, top, right, bottom, color):
        left, top, right, bottom = (round(each * self.scale) for each in (left, top, right, bottom))
        if right > left:  # OpenCV fills many times faster than NumPy
            cv2.rectangle(self.image, (left, top), (right - 1, bottom - 1), color, -1)

    def outline(self, left, top, right, bottom, color, thickness):
        first = (round(left * self.scale), round(top * self.scale))
        last = (round(right * self.scale) - 1, round(bottom * self.scale) - 1)
        cv2.rectangle(self.image, first, last, color, round(thickness * self.scale))

    def paste(self, image, left, top, width, height):
        """Stretches a picture over a place."""
        right, bottom = round((left + width) * self.scale), round((top + height) * self.scale)
        left, top = round(left * self.scale), round(top * self.scale)
        is_much_smaller = 2 * (right - left) < image.shape[1]
        method = cv2.INTER_AREA if is_much_smaller else cv2.INTER_LINEAR  # the latter is quick
        size = (right - left, bottom - top)
        self.image[top:bottom, left:right] = cv2.resize(image, size, interpolation=method)

    def write(self, text, left, top, size, color, max_width=None, bold=False):
        place = (round(left * self.scale), round(top * self.scale))
        room = max_width and max_width * self.scale
        write(self.image, text, place, size * self.scale, color, room, bold)

    def width(self, text, size, bold=False):
        return text_width(text, size * self.scale, bold) / self.scale

    def wrap(self, text, width, size):
        return wrap(text, width * self.scale, size * self.scale)


def draw(view, scale=1.0):
    """The window's picture.

    Args:
        view: `View`.
        scale: of the window, 1.0 for 640x480 pixels.

    Returns:
        uint8 BGR `(480 * scale, 640 * scale, 3)`.
    """
    canvas = Canvas(min(max(scale, 1.0), MAX_SCALE))
    _draw_heading(canvas, view)
    if view.lines:
        _draw_lines(canvas, view.lines)
    elif view.is_split:
        _draw_split(canvas, view)
    else:
        _draw_camera(canvas, view, ((WIDTH - WHOLE[0]) / 2, TOP), WHOLE)
    if view.bar is not None:
        top = ROWS_TOP + 8 if view.is_split else MESSAGE_TOP + 4
        _draw_bar(canvas, top, 34, view.bar, view.color)
        canvas.write(view.bar_text, 2 * MARGIN, top + 8, TEXT, WHITE)
    lines = canvas.wrap(_prose(view.message), WIDTH - 2 * MARGIN, TEXT)
    for number, line in enumerate(lines[:2]):
        canvas.write(line, MARGIN, MESSAGE_TOP + 2 + 22 * number, TEXT, WHITE)
    canvas.fill(0, KEYS_TOP, WIDTH, HEIGHT, STRIPE)
    canvas.write(view.keys, MARGIN, KEYS_TOP + 7, SMALL_TEXT, WHITE)
    return canvas.image


def network_box(frame_shape, frame_size, input_size):
    """The part of a camera's picture that a network sees, as `fit_frame` and the crop do.

    Args:
        frame_shape: (height, width, ...) of the camera's picture.
        frame_size, input_size: of a preset, (height, width).

    Returns:
        (top, left, height, width) in shares of the picture, inside it.
    """
    scale = min(frame_size) / min(frame_shape[:2])
    shares = [min(1.0, input_size[axis] / scale / frame_shape[axis]) for axis in (0, 1)]
    return (1 - shares[0]) / 2, (1 - shares[1]) / 2, *shares


def kept_part(image, size):
    """The middle of a picture that `fit_frame` keeps for frames of `size`, (height, width).

    The other way round, the middle of such a frame that shows a picture of `size`, without bars.
    """
    scale = min(size) / min(image.shape[:2])
    height, width = (min(image.shape[axis], round(size[axis] / scale)) for axis in (0, 1))
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[top : top + height, left : left + width]


def write(canvas, text, position, size_px, color, max_width=None, bold=False):
    """Writes one line whose top left corner is `position`, shortened to `max_width` pixels."""
    if not text.strip():
        return
    room = max_width or canvas.shape[1] - position[0] - 2
    ink, rest, rise = _line(_shortened(text, size_px, bold, room), round(size_px), bold, color)
    left, top = int(position[0]), int(position[1] + 0.85 * size_px) - rise
    hidden = max(0, -top)  # rows above the canvas
    place = canvas[top + hidden : max(0, top + len(ink)), left : left + ink.shape[1]]
    shown = slice(hidden, hidden + len(place)), slice(place.shape[1])
    if place.size:
        place[:] = cv2.add(cv2.multiply(place, rest[shown], scale=1 / 255), ink[shown])


@functools.lru_cache(2048)
def text_width(text, size_px, bold=False):
    """Pixels that `write` needs for a line."""
    return sum(_font(path, round(size_px)).getlength(part) for part, path in font_parts(text, bold))


def wrap(text, width, size_px):
    """Lines of at most `width` pixels; a word that is wider stays alone."""
    lines = []
    for word in text.split():
        if lines and text_width(f"{lines[-1]} {word}", size_px) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _prose(text):
    """A message as a window shows it: backticks around commands are for terminals."""
    return text.replace("`", "")


def _draw_heading(canvas, view):
    canvas.fill(0, 0, WIDTH, TOP - 4, view.color)
    red_green_blue = np.dot(view.color, (0.11, 0.59, 0.30))
    color = DARK if red_green_blue > BRIGHT else WHITE
    corner_width = canvas.width(view.corner, TEXT) + 2 * MARGIN
    canvas.write(view.corner, WIDTH - corner_width + MARGIN, 10, TEXT, color)
    room = WIDTH - corner_width - MARGIN
    canvas.write(view.heading, MARGIN, 7, LARGE_TEXT, color, room, bold=True)


def _draw_split(canvas, view):
    place = _draw_camera(canvas, view, (0, TOP), PANEL)
    if place:
        left, top, width, height = place
        place = (left + PANEL[0], top, width, height)
        if view.beside is not None:
            canvas.paste(view.beside, *place)
        else:
            canvas.fill(*place[:2], place[0] + width, top + height, QUIET)
        _draw_box(canvas, view, place)
        _draw_words(canvas, view.caption, place, is_right=True)
    for number, row in enumerate(view.rows):
        _draw_row(canvas, ROWS_TOP + 38 * number, *row)


def _draw_camera(canvas, view, corner, size):
    """Fits the camera's picture into a place, keeping its shape.

    Returns:
        (left, top, width, height), or None where there is no picture.
    """
    if view.camera is None:
        return None
    scale = min(size[0] / view.camera.shape[1], size[1] / view.camera.shape[0])
    width, height = (view.camera.shape[axis] * scale for axis in (1, 0))
    left, top = corner[0] + (size[0] - width) / 2, corner[1] + (size[1] - height) / 2
    place = (left, top, width, height)
    canvas.paste(view.camera, *place)
    _draw_box(canvas, view, place)
    _draw_words(canvas, view.note, place)
    if view.big:
        left += (width - canvas.width(view.big, HUGE_TEXT, bold=True)) / 2
        top += (height - HUGE_TEXT) / 2
        canvas.write(view.big, left + 3, top + 3, HUGE_TEXT, DARK, bold=True)
        canvas.write(view.big, left, top, HUGE_TEXT, WHITE, bold=True)
    return place


def _draw_box(canvas, view, place):
    if not view.box:
        return
    left, top, width, height = place
    down, right, box_height, box_width = view.box
    left, top = left + right * width, top + down * height
    edges = (left, top, left + box_width * width, top + box_height * height)
    canvas.outline(*edges, DARK, 4)
    canvas.outline(*edges, view.color, 2)


def _draw_words(canvas, words, place, is_right=False):
    """A few words in a lower corner of a picture."""
    if not words:
        return
    left, top, width, height = place
    words_width = min(width, canvas.width(words, SMALL_TEXT) + 2 * MARGIN)
    left += width - words_width if is_right else 0
    canvas.fill(left, top + height - 22, left + words_width, top + height, GROUND)
    room = words_width - MARGIN
    canvas.write(words, left + MARGIN, top + height - 19, SMALL_TEXT, WHITE, room)


def _draw_bar(canvas, top, height, share, color, left=MARGIN, right=WIDTH - MARGIN):
    canvas.fill(left, top, right, top + height, (80, 76, 72))
    end = left + min(max(share, 0), 1) * (right - left)
    canvas.fill(left, top, end, top + height, color)


def _draw_row(canvas, top, text, probability, is_strong):
    """A sign's name, a bar and its probability; or a line of text."""
    color = WHITE if is_strong else GRAY
    room = None if probability is None else 300
    canvas.write(text, MARGIN, top + 6, LARGE_TEXT, color, room, bold=is_strong)
    if probability is not None:
        _draw_bar(canvas, top + 8, 20, probability, GREEN if is_strong else SLATE, 325, 555)
        canvas.write(f"{100 * probability:.0f} %", 565, top + 9, TEXT, color)


def _draw_lines(canvas, lines):
    """Rows of (key, text); where no row has a key, the text begins at the left."""
    top = TOP + 20
    left = KEY_COLUMN if any(key for key, _ in lines) else 3 * MARGIN
    for key, text in lines:
        canvas.write(key, 3 * MARGIN, top, TEXT, WHITE, bold=True)
        for part in canvas.wrap(_prose(text), WIDTH - left - 3 * MARGIN, TEXT) or [""]:
            canvas.write(part, left, top, TEXT, WHITE)
            top += 26


@functools.lru_cache(512)
def _shortened(text, size_px, bold, room):
    if text_width(text, size_px, bold) <= room:
        return text
    while text and text_width(text + "...", size_px, bold) > room:
        text = text[:-1]
    return text + "..."


@functools.lru_cache(128)
def _line(text, size_px, bold, color):
    """A line to be laid over a picture.

    Returns:
        (its colour where it covers a pixel, levels 255..0 of what it leaves of the picture, both
        uint8 `(height, width, 3)`, rows above the line that the letters stand on).
    """
    rise, width = 2 * size_px, int(text_width(text, size_px, bold)) + size_px
    image = Image.new("L", (width, rise + size_px))
    pen, left = ImageDraw.Draw(image), 0.0
    for part, path in font_parts(text, bold):
        font = _font(path, size_px)
        pen.text((left, rise), part, fill=255, font=font, anchor="ls")
        left += font.getlength(part)
    covered = np.asarray(image)
    rows = np.flatnonzero(covered.any(axis=1))
    first, last = (rows[0], rows[-1] + 1) if len(rows) else (0, 1)
    covered = cv2.merge([np.ascontiguousarray(covered[first:last])] * 3)
    ink = np.rint(covered * (np.array(color) / 255)).astype(np.uint8)
    return ink, 255 - covered, rise - first


@functools.lru_cache(64)
def _font(path, size_px):
    engine = ImageFont.Layout.RAQM if HAS_SHAPING else ImageFont.Layout.BASIC
    return ImageFont.truetype(path, size_px, layout_engine=engine)
