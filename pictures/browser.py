"""Draws browser.png: the page of the live demo with an answer, in a real Chromium.

python -m pictures.browser
"""

import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from benchmarks.live import until
from benchmarks.web import REPEATS, drawn, known_signs, page_of
from live.recognition import Recognition
from live.session import LiveSession
from live.state import State
from web.server import Server

PICTURE = Path(__file__).parent / "browser.png"
SIZE = {"width": 1000, "height": 640, "deviceScaleFactor": 1, "mobile": False}
SHOWN_FRAME = 14  # of the recording, in which the hand moves


def main():
    recognizer = known_signs()
    recognition = Recognition(recognizer.run, open_recognizer=lambda: recognizer)
    frames = np.repeat(drawn("wave", 0), REPEATS, axis=0)
    with tempfile.TemporaryDirectory() as place, Server("127.0.0.1", 0) as server:
        clip = Path(place, "camera.mjpeg")
        clip.write_bytes(b"".join(cv2.imencode(".jpg", image)[1].tobytes() for image in frames))
        with page_of(server.address, clip) as browser:
            session = LiveSession(server.camera, recognition, server.window, lambda *_: None)
            until(session, lambda: session.demo.state is State.READY and session.shot)
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", SIZE)
            session.press(" ")
            until(session, lambda: session.demo.state is State.ANSWER)
            demo = session.demo
            until(session, lambda: demo.replayed_frame(server.camera.now()) == SHOWN_FRAME)
            time.sleep(0.3)  # until the page shows it
            browser.save_screenshot(str(PICTURE))
            session.close()


if __name__ == "__main__":
    main()
