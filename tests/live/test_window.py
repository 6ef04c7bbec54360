"""The real windows: a display of the test's own, keys from xdotool, files as cameras."""

import ctypes
import ctypes.util
import json
import os
import shutil
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest

import predict
from common.video import fit_frame, open_video, read_clip
from inference import run_folder
from live import picture
from live.picture import View, draw
from tests.helpers import ROOT, moving_square, write_video

HAS_DISPLAY = sys.platform == "linux" and shutil.which("Xvfb") and shutil.which("xdotool")
needs_display = pytest.mark.skipif(
    not HAS_DISPLAY, reason="no Xvfb or xdotool here: apt-get install xvfb xdotool"
)
SECONDS = 1.5  # of a recording
RECORDING_SECONDS = 3.0 + SECONDS  # with the countdown


class Desktop:
    """An X server whose screen lies in a file, so that it can be looked at."""

    def __init__(self, folder, *options):
        reading, writing = os.pipe()
        self._server = subprocess.Popen(
            [
                *("Xvfb", "-noreset", "-displayfd", str(writing)),
                *("-screen", "0", "640x480x24", "-fbdir", folder, *options),
            ],
            pass_fds=[writing],
            stderr=subprocess.DEVNULL,
        )
        os.close(writing)
        with os.fdopen(reading) as answer:
            self.display = f":{answer.readline().strip()}"
        self._screen = folder / "Xvfb_screen0"

    def screenshot(self):
        """uint8 BGR (480, 640, 3), from the XWD file that Xvfb keeps."""
        content = self._screen.read_bytes()
        header = np.frombuffer(content, ">u4", count=25)
        begin = header[0] + 12 * header[19]  # the header's size, the number of colours
        pixels = np.frombuffer(content, np.uint8, 480 * header[12], begin)
        return pixels.reshape(480, header[12] // 4, 4)[:, :640, :3].copy()

    def close(self):
        self._server.terminate()
        self._server.wait()


class Program:
    """A script with a window on a `Desktop`."""

    def __init__(self, desktop, folder, title, script, *arguments):
        self.desktop = desktop
        self._environment = {**os.environ, "DISPLAY": desktop.display, "PYTHONUNBUFFERED": "1"}
        self._files = [folder / "stdout.txt", folder / "stderr.txt"]
        with self._files[0].open("w") as stdout, self._files[1].open("w") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, ROOT / script, *map(str, arguments)],
                cwd=folder,
                env=self._environment,
                stdout=stdout,
                stderr=stderr,
            )
        self._window = self.wait(lambda: self._xdotool("search", "--name", title), 20)

    @property
    def output(self):
        return self._files[0].read_text(encoding="utf-8")

    @property
    def errors(self):
        return self._files[1].read_text(encoding="utf-8")

    def press(self, key):
        self._xdotool("key", "--window", self._window, key)

    def close_window(self):
        """Sends what a window manager sends when the cross is clicked."""
        x11 = ctypes.CDLL(ctypes.util.find_library("X11"))
        x11.XOpenDisplay.restype = x11.XInternAtom.restype = ctypes.c_void_p
        display = ctypes.c_void_p(x11.XOpenDisplay(self.desktop.display.encode()))
        atoms = [
            x11.XInternAtom(display, name, False) for name in (b"WM_PROTOCOLS", b"WM_DELETE_WINDOW")
        ]
        window = int(self._window)
        # An XClientMessageEvent: type, serial, sent, display, window, message, format, data.
        event = (ctypes.c_long * 24)(33, 0, 1, 0, window, atoms[0], 32, atoms[1], 0)
        x11.XSendEvent(display, ctypes.c_ulong(window), False, 0, event)
        x11.XCloseDisplay(display)

    def wait(self, condition, seconds=60):
        end = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < end, f"waited in vain: {self.errors}"
            time.sleep(0.03)
        return found

    def shows(self, color):
        """Whether the heading has the colour of a state."""
        heading = self.desktop.screenshot()[4:34, 300:640].reshape(-1, 3)
        return np.array_equal(np.median(heading, axis=0), color)

    def wait_for(self, color, seconds=30):
        self.wait(lambda: self.shows(color), seconds)

    def _xdotool(self, *arguments):
        command = ["xdotool", *arguments]
        result = subprocess.run(command, capture_output=True, text=True, env=self._environment)
        return result.stdout.strip()


@pytest.fixture(scope="module")
def desktop(tmp_path_factory):
    desktop = Desktop(tmp_path_factory.mktemp("screen"))
    yield desktop
    desktop.close()


@pytest.fixture
def start(desktop, tmp_path):
    programs = []

    def start_one(title, script, *arguments):
        programs.append(Program(desktop, tmp_path, title, script, *arguments))
        return programs[-1]

    yield start_one
    for program in programs:
        program.process.kill()
        program.process.wait()


@pytest.fixture
def clip(tmp_path):
    return write_video(tmp_path / "clip.avi", moving_square(90, (0.6, 0), (240, 320)), fps=30)


@needs_display
def test_the_live_demo_by_its_keys(start, trained_run, tmp_path, clip):
    folder = shutil.copytree(trained_run, tmp_path / "model" / "run")
    content = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    content["preset"]["seconds"] = SECONDS
    content["dataset"] = "toysigns"
    (folder / "run.json").write_text(json.dumps(content), encoding="utf-8")

    program = start("Sign language", "livedemo.py", "--camera", clip, "--json")
    program.wait_for(picture.SLATE, 5)
    program.wait(lambda: "ready after" in program.errors)
    program.wait_for(picture.GREEN)
    message = program.desktop.screenshot()[picture.MESSAGE_TOP : picture.KEYS_TOP]
    assert (message > 200).any()  # trained on drawn signers
    for key in ("Left", "Up", "Right", "Insert", "shift"):  # codes that end like those of letters
        program.press(key)
    program.press("space")
    program.wait_for(picture.ORANGE)
    program.wait_for(picture.RED)
    program.wait(lambda: program.output.count("\n"))
    program.wait_for(picture.SKY)
    answer = json.loads(program.output)
    assert answer["kind"] == "clip" and len(answer["ranking"]) == 2

    program.press("s")
    (saved,) = program.wait(lambda: list(tmp_path.glob("recording/2*")))
    recognizer = predict.Recognizer(folder)
    preset = run_folder.Run.read(folder).preset
    frames = read_clip(saved / "frames", preset.num_frames, *preset.frame_size)
    expected = recognizer.predict(frames).to_dict()["ranking"]
    for sign, wanted in zip(answer["ranking"], expected, strict=True):
        assert sign["class"] == wanted["class"]
        assert sign["probability"] == pytest.approx(wanted["probability"], abs=1e-5)

    program.press("r")
    before = program.desktop.screenshot()
    program.wait(lambda: (program.desktop.screenshot()[:36] != before[:36]).any())
    program.press("question")
    program.wait_for(picture.SLATE)
    program.press("x")
    program.wait_for(picture.SKY)
    program.press("c")
    program.wait_for(picture.BLUE)
    program.press("q")
    assert program.process.wait(10) == 0
    assert "Traceback" not in program.errors


@needs_display
@pytest.mark.skipif(not ctypes.util.find_library("X11"), reason="no libX11 to ask the display with")
def test_a_display_that_refuses_is_told(tmp_path, clip, trained_run):
    cookie = [b"", b"", b"MIT-MAGIC-COOKIE-1", b"0123456789abcdef"]
    fields = b"".join(len(field).to_bytes(2, "big") + field for field in cookie)
    (tmp_path / "cookies").write_bytes(b"\xff\xff" + fields)
    (tmp_path / "none").touch()
    desktop = Desktop(tmp_path, "-auth", tmp_path / "cookies")
    try:
        result = subprocess.run(
            [sys.executable, ROOT / "livedemo.py", "--camera", clip, "--model", trained_run],
            env={**os.environ, "DISPLAY": desktop.display, "XAUTHORITY": str(tmp_path / "none")},
            capture_output=True,
            text=True,
            timeout=60,
        )
    finally:
        desktop.close()
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert "lets nobody in from here. Signs are named without" in result.stderr


@needs_display
def test_without_a_camera_the_window_says_so_and_can_be_closed(start, trained_run):
    program = start("Sign language", "livedemo.py", "--camera", "97", "--model", trained_run)
    program.wait_for(picture.PURPLE)
    program.close_window()
    assert program.process.wait(20) == 0
    assert "Traceback" not in program.errors


@needs_display
def test_signs_are_recorded_shown_again_and_kept(start, tmp_path, clip):
    clip_folder = tmp_path / "data_set" / "my_signs" / "train" / "hello"
    clip_folder.mkdir(parents=True)
    (clip_folder / "0007.mp4").write_bytes(b"an older clip")
    program = start(
        *("Record your signs", "videocapture.py", "--dataset", "my_signs", "--camera", clip),
        *("--sign", "hello", "thanks", "--clips", "1", "--seconds", SECONDS),
    )
    for sign in ("hello", "thanks"):
        program.wait_for(picture.GREEN)
        program.press("space")
        program.wait_for(picture.BLUE, 20)
        if sign == "hello":
            program.press("r")
            program.wait_for(picture.ORANGE)
            program.wait_for(picture.BLUE, 20)
        program.press("space")
        program.wait(lambda sign=sign: f"train/{sign}/" in program.output)
    assert program.process.wait(10) == 0
    assert "python pipeline_i3d.py --dataset my_signs --preset laptop" in program.output
    train = clip_folder.parent
    kept = sorted(path.relative_to(train).as_posix() for path in train.glob("*/*"))
    assert kept == ["hello/0007.mp4", "hello/0008.avi", "thanks/0001.avi"]
    with open_video(train / "thanks" / "0001.avi") as video:
        fps, count = video.get(cv2.CAP_PROP_FPS), video.get(cv2.CAP_PROP_FRAME_COUNT)
    assert count / fps == pytest.approx(SECONDS, abs=0.05)


@needs_display
def test_where_nothing_was_recorded_no_training_is_proposed(start, clip):
    program = start(
        *("Record your signs", "videocapture.py", "--dataset", "my_signs", "--camera", clip),
        *("--sign", "hello"),
    )
    program.wait_for(picture.GREEN)
    program.press("q")
    assert program.process.wait(10) == 0
    assert "0 new clips" in program.output and "Next" not in program.output


@pytest.mark.parametrize("size", [(480, 640), (640, 480), (72, 128), (1080, 1920)])
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
