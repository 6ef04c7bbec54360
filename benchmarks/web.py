"""The live demo in a browser against the window: pictures, seconds to an answer, start, memory.

    pip install -r requirements-web.txt selenium, and Chromium with its driver
    python -m benchmarks.web

A drawn clip is the camera of both: of the window as a file, of a real Chromium as its fake camera.
Both are asked by the same session, with the same examples. Before anything is timed, the answers to
one clip are compared, once as it is and once through the JPEGs that a browser sends.
"""

import argparse
import contextlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import psutil

import train_nearest
from benchmarks.live import CountingWindow, until
from common import command_line
from common import dataset as data
from common.presets import NEAREST_PRESETS
from live import state
from live.camera import Camera
from live.recognition import Recognition
from live.session import LiveSession
from live.state import RESTING, State
from toy.film import render_clip
from toy.scene import write_video
from web.camera import decode
from web.server import Server

SIGNS = ("wave", "circle", "swipe_up", "clap")
SIGNER = "web benchmark"
SIZE = (640, 480)
QUALITY = 85  # of the page's JPEGs
ROUNDS, MANY_RECORDINGS = 5, 200
SHORT_SECONDS = 0.6  # of a recording when memory is looked at
REPEATS = 2  # each picture of the drawn clip, so that the camera has 20 or 30 a second
WANTED_FPS, WANTED_RATIO, WANTED_START, WANTED_MIB = 15, 1.5, 3.0, 50


def drawn(sign, number):
    """uint8 BGR `(num_frames, 480, 640, 3)` of a drawn signer."""
    frames, _ = render_clip(sign, SIGNER, f"{sign} {number}")
    return np.stack([cv2.resize(frame, SIZE) for frame in frames])


def known_signs():
    """A `predict.Recognizer` that was shown each of `SIGNS` once."""
    dataset = data.Dataset("none", "laptop", presets=NEAREST_PRESETS)
    recognizer = train_nearest.without_clips(dataset)
    for sign in SIGNS:
        recognizer = train_nearest.with_clip(recognizer, sign, _picked(drawn(sign, 0), recognizer))
    return recognizer


def compare_answers(recognizer):
    """What a browser's JPEGs cost of a probability at most.

    Raises:
        ValueError: they change the first sign.
    """
    largest = 0.0
    for sign in SIGNS:
        frames = _picked(drawn(sign, 1), recognizer)
        quality = [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
        sent = [decode(cv2.imencode(".jpg", image, quality)[1].tobytes()) for image in frames]
        plain, through = recognizer.predict(frames), recognizer.predict(np.stack(sent))
        if plain.ranking[0][0] != through.ranking[0][0]:
            raise ValueError(f"{sign}: {plain.ranking[0]} became {through.ranking[0]}")
        first, second = ({row[0]: row[2] for row in each.ranking} for each in (plain, through))
        largest = max(largest, *(abs(first[label] - second[label]) for label in first))
    return largest


def ask(session, number):
    """Records and answers so many times; returns the results."""
    results = []
    session._tell = lambda kind, result: results.append(result)
    until(session, lambda: session.demo.state in RESTING and session.shot)
    while len(results) < number:
        count = len(results)
        session.press(" ")
        until(session, lambda: len(results) > count)  # noqa: B023
    return results


def watch_window(recognizer, clip):
    """Seconds to an answer with a file as the camera, in a window that draws its pictures."""
    recognition = Recognition(recognizer.run, open_recognizer=lambda: recognizer)
    session = LiveSession(Camera(clip), recognition, CountingWindow(None), _hear)
    results = ask(session, ROUNDS)
    session.close()
    return statistics.median(result.seconds for result in results)


@contextlib.contextmanager
def page_of(address, clip):
    """A Chromium that shows the page, with a file as its camera."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    flags = ["--headless=new", "--no-sandbox", "--use-fake-ui-for-media-stream"]
    flags += ["--use-fake-device-for-media-stream", f"--use-file-for-fake-video-capture={clip}"]
    for flag in flags:
        options.add_argument(flag)
    options.binary_location = shutil.which("chromium")
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    browser = webdriver.Chrome(options, service)
    threading.Thread(target=browser.get, args=(address,), daemon=True).start()
    try:
        yield browser
    finally:
        browser.quit()


def watch_browser(recognizer, clip):
    """(seconds to an answer, pictures a second while recording, MiB that many recordings cost)."""
    rates = []
    recognition = Recognition(recognizer.run, open_recognizer=lambda: recognizer)
    with Server("127.0.0.1", 0) as server, page_of(server.address, clip):
        session = LiveSession(server.camera, recognition, server.window, _hear)
        until(session, lambda: session.demo.state is State.READY and session.shot)
        results = []
        for _ in range(ROUNDS):
            session.demo.key(" ", server.camera.now())
            until(session, lambda: session.demo.state is State.RECORDING)
            number, started = server.camera.num_delivered, time.monotonic()
            until(session, lambda: session.demo.state is not State.RECORDING)
            passed = time.monotonic() - started
            rates.append((server.camera.num_delivered - number) / passed)
            until(session, lambda: session.demo.state is State.ANSWER)
            results.append(session.demo.result)
        growth = _growth(session)
        session.close()
    seconds = statistics.median(result.seconds for result in results)
    return seconds, statistics.median(rates), growth


def _growth(session):
    """MiB that the process grows by over many short recordings, after the first twenty."""
    session.demo.seconds, countdown = SHORT_SECONDS, state.COUNTDOWN_SECONDS
    state.COUNTDOWN_SECONDS = 0.05
    try:
        ask(session, 20)
        before = psutil.Process().memory_info().rss
        ask(session, MANY_RECORDINGS)
        return (psutil.Process().memory_info().rss - before) / 2**20
    finally:
        state.COUNTDOWN_SECONDS = countdown


def time_start(clip, scratch, videos):
    """Seconds from the command to a page that shows READY, at the second start."""
    train = scratch / "data_set" / "mine" / "train"
    for sign in SIGNS:
        (train / sign).mkdir(parents=True)
        shutil.copy(videos[sign], train / sign / "0001.avi")
    command = [sys.executable, command_line.PROJECT / "livedemo.py", "--dataset", "mine", "--web"]
    seconds = []
    for _ in range(4):
        started = time.monotonic()
        program = subprocess.Popen(
            [*command, "--port", "0"], cwd=scratch, stderr=subprocess.PIPE, text=True
        )
        with program, contextlib.ExitStack() as pages:
            for line in program.stderr:
                if found := re.search(r"http\S+", line):
                    began = time.monotonic()
                    pages.enter_context(page_of(found[0], clip))
                    started += time.monotonic() - began  # the browser itself is open by then
                if "ready after" in line:
                    seconds.append(time.monotonic() - started)
                    break
            program.kill()
    return statistics.median(seconds[1:])


def _hear(kind, result):
    """Answers are looked at in the session."""


def _picked(frames, recognizer):
    number = recognizer.run.preset.num_frames
    return frames[np.arange(number) * len(frames) // number]


def main(argv=None):
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args(argv)
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        raise FileNotFoundError("Chromium and its driver are needed: chromium, chromium-driver")
    recognizer = known_signs()
    print(f"JPEG costs at most {compare_answers(recognizer):.3f} of a probability, no first sign")
    with tempfile.TemporaryDirectory() as place:
        scratch = Path(place)
        videos = {}
        for sign in SIGNS:
            videos[sign] = scratch / f"{sign}.avi"
            write_video(videos[sign], drawn(sign, 0))
        frames = np.repeat(drawn("wave", 1), REPEATS, axis=0)
        clip = scratch / "camera.mjpeg"
        clip.write_bytes(b"".join(cv2.imencode(".jpg", image)[1].tobytes() for image in frames))
        print(f"{'':44}{'seen':>10}  wanted")
        start = time_start(clip, scratch, videos)
        print_row("seconds from the command to READY", f"{start:.1f}", f"<= {WANTED_START}")
        in_window = watch_window(recognizer, videos["wave"])
        print_row("seconds to the answer, window", f"{in_window:.3f}")
        in_browser, fps, growth = watch_browser(recognizer, clip)
    print_row("seconds to the answer, browser", f"{in_browser:.3f}")
    print_row("ratio", f"{in_browser / in_window:.2f}", f"<= {WANTED_RATIO}")
    print_row("pictures a second while recording", f"{fps:.1f}", f">= {WANTED_FPS}")
    print_row(f"MiB over {MANY_RECORDINGS} recordings", f"{growth:.0f}", f"< {WANTED_MIB}")


def print_row(what, seen, wanted=""):
    print(f"{what:44}{seen:>10}  {wanted}", flush=True)


if __name__ == "__main__":
    command_line.run(main, goes_on="")
