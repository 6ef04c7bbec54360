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
import videocapture
from common import dataset as data
from common.class_list import DRAWN
from common.video import open_video, read_clip
from inference import run_folder
from live import picture
from live.picture import View, draw
from tests.helpers import ROOT, Background, moving_square, run_script, write_video

HAS_DISPLAY = sys.platform == "linux" and shutil.which("Xvfb") and shutil.which("xdotool")
needs_display = pytest.mark.skipif(
    not HAS_DISPLAY, reason="no Xvfb or xdotool here: apt-get install xvfb xdotool"
)
SECONDS = 1.5  # of a recording
RECORDING_SECONDS = 3.0 + SECONDS  # with the countdown


class Desktop:
    """An X server whose screen lies in a file, so that it can be looked at.

    Args:
        folder: of that file.
        options: of Xvfb.
        size: width, height of the screen in pixels.
    """

    def __init__(self, folder, *options, size=(640, 480)):
        self._size = size
        reading, writing = os.pipe()
        self._server = subprocess.Popen(
            [
                *("Xvfb", "-noreset", "-displayfd", str(writing)),
                *("-screen", "0", f"{size[0]}x{size[1]}x24", "-fbdir", folder, *options),
            ],
            pass_fds=[writing],
            stderr=subprocess.DEVNULL,
        )
        os.close(writing)
        with os.fdopen(reading) as answer:
            self.display = f":{answer.readline().strip()}"
        self._screen = folder / "Xvfb_screen0"

    def screenshot(self):
        """uint8 BGR `(height, width, 3)`, from the XWD file that Xvfb keeps."""
        width, height = self._size
        content = self._screen.read_bytes()
        header = np.frombuffer(content, ">u4", count=25)
        begin = header[0] + 12 * header[19]  # the header's size, the number of colours
        pixels = np.frombuffer(content, np.uint8, height * header[12], begin)
        return pixels.reshape(height, header[12] // 4, 4)[:, :width, :3].copy()

    def close(self):
        self._server.terminate()
        self._server.wait()


class Program(Background):
    """A script with a window on a `Desktop`."""

    def __init__(self, desktop, folder, title, script, *arguments):
        self.desktop = desktop
        self._environment = {**os.environ, "DISPLAY": desktop.display}
        super().__init__(folder, script, *arguments, DISPLAY=desktop.display)
        self._window = self.wait(lambda: self._xdotool("search", "--name", title), 60)
        self.wait(self._is_painted, 60)

    def _is_painted(self):
        """Whether the window shows anything; one that does not is hidden and shown again.

        The Qt in OpenCV's wheels loses events that come close together on a display without a
        window manager: on a busy machine, one window in ten never learns that it is visible, and
        stays black.
        """
        if self._heading().any():
            return True
        time.sleep(1)
        if not self._heading().any():
            self._xdotool("windowunmap", self._window, "windowmap", self._window)
        return False

    def _heading(self):
        return self.desktop.screenshot()[4:34, 300:640].reshape(-1, 3)

    def press(self, key):
        self._xdotool("key", "--window", self._window, key)

    def resize(self, width, height):
        self._xdotool("windowsize", self._window, width, height)

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

    def wait(self, condition, seconds=120):
        end = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < end, f"waited in vain: {self.errors}"
            time.sleep(0.03)
        return found

    def shows(self, color):
        """Whether the heading has the colour of a state."""
        return np.array_equal(np.median(self._heading(), axis=0), color)

    def wait_for(self, color, seconds=90):
        self.wait(lambda: self.shows(color), seconds)

    def _xdotool(self, *arguments):
        command = ["xdotool", *map(str, arguments)]
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
def test_the_window_is_there_before_the_networks_are_open(start, trained_run, clip):
    arguments = ("--model", trained_run, "--engine", "keras")  # whose import takes seconds
    program = start("Sign language", "livedemo.py", "--camera", clip, *arguments)
    program.wait_for(picture.SLATE, 20)
    program.wait_for(picture.GREEN)
    program.press("q")
    assert program.process.wait(10) == 0


@needs_display
def test_the_live_demo_by_its_keys(start, trained_run, tmp_path, clip):
    folder = shutil.copytree(trained_run, tmp_path / "model" / "run")
    content = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    content["preset"]["seconds"] = SECONDS
    for sign in content["signs"]:
        sign["category"] = DRAWN
    (folder / "run.json").write_text(json.dumps(content), encoding="utf-8")

    program = start("Sign language", "livedemo.py", "--camera", clip, "--json")
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
def test_a_window_that_is_made_larger_is_drawn_as_large_and_shrinks_again(tmp_path, clip):
    desktop = Desktop(tmp_path, size=(1280, 960))
    program = Program(
        *(desktop, tmp_path, "Record your signs", "videocapture.py", "--camera", clip),
        *("--dataset", "my_signs", "--sign", "hello"),
    )
    try:
        program.wait_for(picture.GREEN)
        for width, height, scale in ((1280, 960, 2.0), (960, 800, 1.5), (640, 480, 1.0)):
            program.resize(width, height)
            expected = draw(View(keys=videocapture.KEYS), scale)[round(450 * scale) :]
            top = (height - round(480 * scale)) // 2  # the ratio is kept

            def is_sharp(expected=expected, top=top, scale=scale):
                rows = slice(top + round(450 * scale), top + round(480 * scale))
                left = slice(expected.shape[1] * 3 // 4)  # the pointer stands at a corner
                return np.array_equal(desktop.screenshot()[rows, left], expected[:, left])

            program.wait(is_sharp, 10)
        program.press("q")
        assert program.process.wait(10) == 0
    finally:
        program.process.kill()
        desktop.close()


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
        program.wait_for(picture.BLUE, 60)
        if sign == "hello":
            program.press("r")
            program.wait_for(picture.ORANGE)
            program.wait_for(picture.BLUE, 60)
        program.press("space")
        program.wait(lambda sign=sign: f"train/{sign}/" in program.output)
    assert program.process.wait(10) == 0
    assert "\n  python pipeline_i3d.py --dataset my_signs --preset laptop\n" in program.output
    train = clip_folder.parent
    kept = sorted(path.relative_to(train).as_posix() for path in train.glob("*/*"))
    assert kept == ["hello/0007.mp4", "hello/0008.avi", "thanks/0001.avi"]
    with open_video(train / "thanks" / "0001.avi") as video:
        fps, count = video.get(cv2.CAP_PROP_FPS), video.get(cv2.CAP_PROP_FRAME_COUNT)
    assert count / fps == pytest.approx(SECONDS, abs=0.05)


@needs_display
def test_where_nothing_was_recorded_nothing_is_left_and_no_training_proposed(start, tmp_path, clip):
    program = start(
        *("Record your signs", "videocapture.py", "--dataset", "my_signs", "--camera", clip),
        *("--sign", "hello"),
    )
    program.wait_for(picture.GREEN)
    assert (tmp_path / "data_set").is_dir()  # with the lock, that another one may not hold
    again = run_script(
        *("videocapture.py", "--dataset", "my_signs", "--camera", clip, "--sign", "hello"),
        cwd=tmp_path,
        timeout=30,
    )
    assert again.returncode == 1 and "Another videocapture.py" in again.stderr
    program.press("q")
    assert program.process.wait(10) == 0
    assert "0 new clips" in program.output and "Next" not in program.output
    assert not (tmp_path / "data_set").exists()


@needs_display
def test_a_recorder_that_was_killed_stands_in_nobodys_way(start, tmp_path, clip):
    arguments = ("Record your signs", "videocapture.py", "--dataset", "my_signs", "--camera", clip)
    for _ in range(2):
        program = start(*arguments, "--sign", "hello")
        program.wait_for(picture.GREEN)
        program.process.kill()
        program.process.wait()
        assert data.dataset_names(tmp_path) == ["toysigns"]


@needs_display
def test_help_and_undo_by_their_keys(start, tmp_path, clip):
    program = start(
        *("Record your signs", "videocapture.py", "--dataset", "my_signs", "--camera", clip),
        *("--sign", "hello", "--clips", "2", "--seconds", SECONDS),
    )
    program.wait_for(picture.GREEN)
    program.press("question")
    program.wait_for(picture.SLATE)
    program.press("x")
    program.wait_for(picture.GREEN)
    program.press("space")
    program.wait_for(picture.BLUE, 60)
    program.press("space")
    kept = tmp_path / "data_set" / "my_signs" / "train" / "hello" / "0001.avi"
    program.wait(kept.exists)
    program.wait_for(picture.GREEN)
    program.press("u")
    program.wait(lambda: not kept.exists())
    program.press("q")
    assert program.process.wait(10) == 0
    assert "0 new clips" in program.output
    assert not (tmp_path / "data_set").exists()
