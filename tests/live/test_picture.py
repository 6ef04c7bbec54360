"""How the windows are drawn: sizes, places, and text in any script."""

import cv2
import numpy as np
import pytest

import predict
from common.video import fit_frame
from live import picture, view, window
from live.picture import View, draw

SIZES = [(480, 640), (640, 480), (72, 128), (1080, 1920)]
FRAME_SIZE = (70, 92)


@pytest.fixture
def fonts(monkeypatch):
    """Call it with the paths of all fonts that this system is to have."""

    def set_fonts(*paths):
        monkeypatch.setattr(window, "_system_fonts", lambda: list(paths))
        monkeypatch.setattr(window, "_needed_fonts", [window.FONT])
        monkeypatch.setattr(window, "_lacking_scripts", set())
        forget()

    def forget():
        for cached in (window._other_font, window.font_parts, window._tell_once):
            cached.cache_clear()
        for cached in (picture.text_width, picture._line, picture._shortened):
            cached.cache_clear()

    yield set_fonts
    forget()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("is_split", [False, True])
def test_pictures_of_any_size_are_drawn_inside_their_place(size, is_split):
    image = np.full((*size, 3), (0, 0, 255), np.uint8)
    box = picture.network_box(image.shape, (240, 320), (224, 224))
    canvas = draw(View(camera=image, box=box, beside=image, is_split=is_split))
    assert canvas.shape == (480, 640, 3)
    outside = np.concatenate([canvas[:36].ravel(), canvas[picture.MESSAGE_TOP :].ravel()])
    assert not (outside == 255).any()
    assert (canvas == (0, 0, 255)).all(axis=-1).mean() > 0.05


def test_the_box_is_what_the_network_sees():
    height, width = 480, 640
    image = np.zeros((height, width, 3), np.uint8)
    top, left, box_height, box_width = picture.network_box(image.shape, (240, 320), (224, 224))
    rows = slice(round(top * height), round((top + box_height) * height))
    columns = slice(round(left * width), round((left + box_width) * width))
    image[rows, columns] = 255
    seen = predict.network_input.crop(fit_frame(image, 240, 320)[None], 224, 224)
    assert (seen == 255).all() and (image[rows, columns].size == image.sum() // 255)


def test_long_texts_stay_inside_their_lines():
    long = "supercalifragilistic " * 9
    canvas = draw(View(heading=long, corner="30 fps", message=long, keys=long, is_split=True))
    rows = draw(View(rows=[(long, 0.5, True)] * 3, is_split=True))
    assert (canvas[:, -2:] == canvas[:, -1:]).all()
    # Nothing is written between the names and their bars.
    gap = rows[picture.ROWS_TOP : picture.MESSAGE_TOP, 314:323]
    assert (gap == picture.GROUND).all()


@pytest.mark.parametrize("scale, width", [(0.3, 640), (1.0, 640), (1.7, 1088), (9.0, 1920)])
def test_a_larger_window_gets_a_larger_picture_within_limits(scale, width):
    view = View(heading="READY", rows=[("hello", 0.5, True)], is_split=True, keys="q: quit")
    assert draw(view, scale).shape == (width * 3 // 4, width, 3)


def test_a_larger_picture_is_sharp_and_shows_the_same():
    image = np.full((480, 640, 3), (0, 0, 255), np.uint8)
    view = View(
        *("ANSWER: hello", picture.SKY, image, picture.network_box(image.shape, (1, 1), (1, 1))),
        beside=image,
        is_split=True,
        rows=[("hello", 0.5, True)],
        message="a message",
        keys="q: quit",
        corner="30 fps",
    )
    large, stretched = draw(view, 2.0), cv2.resize(draw(view), None, fx=2, fy=2)
    assert np.abs(large.astype(int) - stretched).mean() < 4
    ink = [(each[900:] > 128).mean() for each in (large, stretched)]
    assert ink[0] == pytest.approx(ink[1], rel=0.2)
    edges = [cv2.Laplacian(each[800:], cv2.CV_32F).var() for each in (large, stretched)]
    assert edges[0] > 2 * edges[1]


@pytest.mark.parametrize("size", SIZES)
def test_camera_and_flow_show_the_same_place_at_the_same_scale(size):
    """A spot in the camera's picture is where its frame, which the flow is made of, has it."""
    image = np.zeros((*size, 3), np.uint8)
    middle = (size[1] // 2 + min(size) // 4, size[0] // 2 - min(size) // 3)
    cv2.circle(image, middle, min(size) // 12, (255, 255, 255), -1)
    frame = fit_frame(image, *FRAME_SIZE)
    camera = picture.kept_part(image, FRAME_SIZE)
    assert np.abs(fit_frame(camera, *FRAME_SIZE).astype(int) - frame).mean() < 1
    beside = picture.kept_part(frame, camera.shape[:2])
    canvas = draw(View(camera=camera, beside=beside, is_split=True))[40:280]
    spots = [np.argwhere(half.min(axis=-1) > 128) for half in (canvas[:, :320], canvas[:, 320:])]
    assert spots[0].mean(axis=0) == pytest.approx(spots[1].mean(axis=0), abs=1.5)
    assert len(spots[0]) == pytest.approx(len(spots[1]), rel=0.15)


@pytest.mark.parametrize("beside", [None, np.zeros((70, 92, 3), np.uint8)])
def test_the_box_is_drawn_in_both_pictures(beside):
    image = np.zeros((480, 631, 3), np.uint8)
    box = picture.network_box(image.shape, FRAME_SIZE, (56, 56))
    canvas = draw(View("", picture.RED, image, box, beside=beside, is_split=True))[40:280]
    left, right = (
        (half == picture.RED).all(axis=-1) for half in (canvas[:, :320], canvas[:, 320:])
    )
    assert left.sum() > 1000 and np.array_equal(left, right)


def test_backticks_are_for_terminals():
    words = "Type `python livedemo.py` or quit."
    for quoted, plain in (
        (View(message=words), View(message=words.replace("`", ""))),
        (View(lines=[("", words)]), View(lines=[("", words.replace("`", ""))])),
    ):
        assert np.array_equal(draw(quoted), draw(plain))


@pytest.mark.parametrize("scale", [1.0, 1.37, picture.MAX_SCALE])
def test_what_owners_of_a_toy_model_may_type_stands_on_a_line_of_its_own(scale):
    lines = picture.Canvas(scale).wrap(view.DRAWN_SIGNERS, 620, picture.TEXT)
    command = "python videocapture.py --dataset my_signs --sign hello thanks"
    assert len(lines) == 2 and lines[1] == command


@pytest.mark.parametrize(
    "text",
    [
        "\u0421\u043f\u0430\u0441\u0438\u0431\u043e",
        "\u03ba\u03b1\u03bb\u03ac",
        "se\u00f1al \u017c\u00f3\u0142w",
        "\u05e9\u05dc\u05d5\u05dd",
        "\u0645\u0631\u062d\u0628\u0627",
    ],
)
def test_names_in_many_scripts_are_written_as_they_are(fonts, text):
    fonts()
    assert window.can_write(text)
    assert window.font_parts(text) == [(text, window.FONT)]
    (bold,) = {path for _, path in window.font_parts(text, bold=True)}
    assert bold in (window.FONT, window.BOLD_FONT)
    # No letter is drawn as the box of a letter that is not there.
    box = picture._line("\U0010fffe", 20, False, picture.WHITE)[0]
    for letter in text.replace(" ", ""):
        ink = picture._line(letter, 20, False, picture.WHITE)[0]
        assert ink.shape != box.shape or (ink != box).any()


@pytest.mark.parametrize(
    "text, readable",
    [
        ("\uc548\ub155", "annyeong"),
        ("\u0928\u092e\u0938\u094d\u0924\u0947", "namaste"),
        ("\u3042\u308a\u304c\u3068\u3046", "arigatou"),
        ("\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35", "swasdii"),
        ("\u4f60", "[U+4F60]"),
        ("\U0001f44b", "[waving hand sign]"),
    ],
)
def test_what_no_font_has_is_spelled_out_and_told_once(fonts, capsys, text, readable):
    fonts()
    assert not window.can_write(text)
    for words in (f"hello {text}", text):
        written = "".join(part for part, _ in window.font_parts(words))
        assert written == words.replace(text, readable)
        assert np.array_equal(draw(View(message=words)), draw(View(message=written)))
    errors = capsys.readouterr().err
    assert errors.count("sudo apt-get install fonts-noto-") == 1


def test_fonts_of_the_system_are_used_where_they_have_what_is_lacking(fonts, capsys):
    stix = str(window.FONT_DIR / "STIXGeneral.ttf")
    text = "\u2312\u2313"
    fonts("/no/such/font.ttf", window.FONT, stix)
    assert window.can_write(text)
    assert window.font_parts(f"a {text}") == [("a ", window.FONT), (text, stix)]
    assert not capsys.readouterr().err


def test_this_systems_fonts_are_found():
    assert any(path.lower().endswith((".ttf", ".otf", ".ttc")) for path in window._system_fonts())


def test_without_raqm_letters_that_run_left_stand_as_they_are_read(fonts, capsys, monkeypatch):
    fonts()
    monkeypatch.setattr(window, "HAS_SHAPING", False)
    assert window.font_parts("a \u05d0\u05d1 b")[0][0] == "a \u05d1\u05d0 b"
    assert window.can_write("\u05d0\u05d1")
    assert "no raqm" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text", ["", " ", "\u200d", "two\nlines\tand a tab", "broken \udcff bytes"]
)
def test_any_text_is_drawn(text):
    lines = [(text, text)]
    assert draw(View(text, lines=lines, message=text, keys=text, corner=text)).any()
    image = np.zeros((48, 64, 3), np.uint8)
    view = View(camera=image, note=text, caption=text, big=text, rows=[(text, 1, True)] * 3)
    assert draw(view).any()
