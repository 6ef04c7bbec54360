"""The picture in the live windows: what is to be seen in, one uint8 BGR image out.

    y 0    heading on the colour of the state                  frames per second
    y 40   the camera, or the camera and a second picture side by side
    y 287  bars, or the answer's three rows
    y 403  a message of at most two lines
    y 450  the keys

Drawn for 640x480 pixels. The colours are those of Okabe and Ito, told apart by colour-blind people
too, and every state is also written.
"""

import dataclasses

import cv2
import numpy as np

WIDTH, HEIGHT = 640, 480
PANEL = (320, 240)  # width, height of two pictures side by side
WHOLE = (480, 360)  # of one picture
TOP, ROWS_TOP, MESSAGE_TOP, KEYS_TOP = 40, 287, 403, 450
MARGIN = 10
KEY_COLUMN = 100
GROUND = (32, 30, 28)
WHITE, GRAY, DARK = (255, 255, 255), (190, 190, 190), (20, 20, 20)
GREEN, ORANGE, RED = (115, 158, 0), (0, 159, 230), (0, 94, 213)
BLUE, SKY, SLATE, PURPLE = (178, 114, 0), (233, 180, 86), (105, 95, 90), (167, 121, 204)
TEXT, SMALL_TEXT, LARGE_TEXT = 17, 14, 24  # pixels
HUGE_TEXT = 110
BRIGHT = 130  # of 255: from here on writing on a colour is dark
PIXELS_AT_SCALE_1 = 27  # height of OpenCV's simplex font


@dataclasses.dataclass
class View:
    """What the window shows.

    Args:
        heading, color: the state in words and as BGR.
        camera: uint8 BGR of any size, as the eye is to see it, or None.
        box: (top, left, height, width) of the part that the network sees, in shares of `camera`.
        beside: a second picture, uint8 BGR, or None; `caption` says what it is.
        big: a word or number over the camera.
        is_split: two pictures side by side instead of one.
        bar: share 0..1 of a bar below the pictures, or None; `bar_text` stands on it.
        rows: [(text, probability, is strong)] below the pictures.
        lines: [(key, text)] in place of the camera, wrapped.
        message: at most two lines, wrapped.
        keys: what the keys do.
        corner: at the right end of the heading.
    """

    heading: str = ""
    color: tuple = SLATE
    camera: np.ndarray | None = None
    box: tuple | None = None
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


def draw(view):
    """The window's picture: uint8 BGR `(480, 640, 3)`."""
    canvas = np.full((HEIGHT, WIDTH, 3), GROUND, np.uint8)
    _draw_heading(canvas, view)
    if view.lines:
        _draw_lines(canvas, view.lines)
    elif view.is_split:
        _draw_split(canvas, view)
    else:
        _draw_camera(canvas, view, ((WIDTH - WHOLE[0]) // 2, TOP), WHOLE)
    if view.bar is not None:
        top = ROWS_TOP + 8 if view.is_split else MESSAGE_TOP + 4
        _draw_bar(canvas, top, 34, view.bar, view.color)
        write(canvas, view.bar_text, (2 * MARGIN, top + 8), TEXT, WHITE)
    for number, line in enumerate(wrap(view.message, WIDTH - 2 * MARGIN, TEXT)[:2]):
        write(canvas, line, (MARGIN, MESSAGE_TOP + 2 + 22 * number), TEXT, WHITE)
    cv2.rectangle(canvas, (0, KEYS_TOP), (WIDTH, HEIGHT), (60, 56, 52), -1)
    write(canvas, view.keys, (MARGIN, KEYS_TOP + 7), SMALL_TEXT, WHITE)
    return canvas


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


def write(canvas, text, position, size_px, color, max_width=None, bold=False):
    """Writes one line whose top left corner is `position`, shortened to `max_width` pixels."""
    font = cv2.FONT_HERSHEY_DUPLEX if bold else cv2.FONT_HERSHEY_SIMPLEX
    scale = size_px / PIXELS_AT_SCALE_1
    room = max_width or canvas.shape[1] - position[0] - 2
    if text_width(text, size_px, bold) > room:
        while text and text_width(text + "...", size_px, bold) > room:
            text = text[:-1]
        text += "..."
    base = (int(position[0]), int(position[1] + 0.8 * size_px))
    cv2.putText(canvas, text, base, font, scale, color, 1, cv2.LINE_AA)


def text_width(text, size_px, bold=False):
    """Pixels that `write` needs for a line."""
    font = cv2.FONT_HERSHEY_DUPLEX if bold else cv2.FONT_HERSHEY_SIMPLEX
    return cv2.getTextSize(text, font, size_px / PIXELS_AT_SCALE_1, 1)[0][0]


def wrap(text, width, size_px):
    """Lines of at most `width` pixels; a word that is wider stays alone."""
    lines = []
    for word in text.split():
        if lines and text_width(f"{lines[-1]} {word}", size_px) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _draw_heading(canvas, view):
    cv2.rectangle(canvas, (0, 0), (WIDTH, TOP - 4), view.color, -1)
    red_green_blue = np.dot(view.color, (0.11, 0.59, 0.30))
    color = DARK if red_green_blue > BRIGHT else WHITE
    corner_width = text_width(view.corner, TEXT) + 2 * MARGIN
    write(canvas, view.corner, (WIDTH - corner_width + MARGIN, 10), TEXT, color)
    room = WIDTH - corner_width - MARGIN
    write(canvas, view.heading, (MARGIN, 6), LARGE_TEXT, color, room, bold=True)


def _draw_split(canvas, view):
    _draw_camera(canvas, view, (0, TOP), PANEL)
    if view.beside is not None:
        _paste(canvas, view.beside, (PANEL[0], TOP), PANEL)
    if view.caption:
        width = text_width(view.caption, SMALL_TEXT) + 2 * MARGIN
        left, top = WIDTH - width, TOP + PANEL[1] - 22
        cv2.rectangle(canvas, (left, top), (WIDTH, TOP + PANEL[1]), GROUND, -1)
        write(canvas, view.caption, (left + MARGIN, top + 4), SMALL_TEXT, WHITE)
    for number, row in enumerate(view.rows):
        _draw_row(canvas, ROWS_TOP + 38 * number, *row)


def _draw_camera(canvas, view, corner, size):
    if view.camera is None:
        return
    left, top, width, height = _paste(canvas, view.camera, corner, size)
    if view.box:
        down, right, box_height, box_width = view.box
        first = (round(left + right * width), round(top + down * height))
        last = (
            round(left + (right + box_width) * width) - 1,
            round(top + (down + box_height) * height) - 1,
        )
        cv2.rectangle(canvas, first, last, DARK, 4)
        cv2.rectangle(canvas, first, last, view.color, 2)
    if view.big:
        middle = left + (width - text_width(view.big, HUGE_TEXT, bold=True)) // 2
        place = (middle, top + (height - HUGE_TEXT) // 2)
        write(canvas, view.big, (place[0] + 3, place[1] + 3), HUGE_TEXT, DARK, bold=True)
        write(canvas, view.big, place, HUGE_TEXT, WHITE, bold=True)


def _paste(canvas, image, corner, size):
    """Fits a picture into a place, keeping its shape; returns (left, top, width, height)."""
    scale = min(size[0] / image.shape[1], size[1] / image.shape[0])
    width, height = (max(1, round(image.shape[axis] * scale)) for axis in (1, 0))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    left = corner[0] + (size[0] - width) // 2
    top = corner[1] + (size[1] - height) // 2
    place = canvas[top : top + height, left : left + width]
    place[:] = cv2.resize(image, (width, height), interpolation=method)
    return left, top, width, height


def _draw_bar(canvas, top, height, share, color, left=MARGIN, right=WIDTH - MARGIN):
    cv2.rectangle(canvas, (left, top), (right, top + height), (80, 76, 72), -1)
    end = left + round(min(max(share, 0), 1) * (right - left))
    cv2.rectangle(canvas, (left, top), (end, top + height), color, -1)


def _draw_row(canvas, top, text, probability, is_strong):
    """A sign's name, a bar and its probability."""
    color = WHITE if is_strong else GRAY
    write(canvas, text, (MARGIN, top + 6), LARGE_TEXT, color, 300, bold=is_strong)
    if probability is not None:
        _draw_bar(canvas, top + 8, 20, probability, GREEN if is_strong else SLATE, 325, 555)
        write(canvas, f"{100 * probability:.0f} %", (565, top + 9), TEXT, color)


def _draw_lines(canvas, lines):
    """Rows of (key, text); where no row has a key, the text begins at the left."""
    top = TOP + 20
    left = KEY_COLUMN if any(key for key, _ in lines) else 3 * MARGIN
    for key, text in lines:
        write(canvas, key, (3 * MARGIN, top), TEXT, WHITE, bold=True)
        for part in wrap(text, WIDTH - left - 3 * MARGIN, TEXT) or [""]:
            write(canvas, part, (left, top), TEXT, WHITE)
            top += 26
