"""Draws the pictures of README.md and docs/, from drawn signers and a trained model.

    python -m pictures.draw
    python -m pictures.draw --model model/<run>

reads   the newest model, by default that of `make demo`
writes  pictures/demo.gif                   countdown, recording, answer
        pictures/live-recording.png live-answer.png
        pictures/flow.png                   frames above their flow
"""

import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

import opticalflow
from common import command_line
from common.video import write_image
from inference import run_folder
from live.camera import Camera
from live.picture import draw
from live.recognition import Recognition
from live.recording import write_video
from live.session import LiveSession
from live.state import COUNTDOWN_SECONDS, State
from live.view import view_of
from toy.clip import render_clip
from toy.scene import FRAMES_PER_SECOND

HERE = Path(__file__).parent
SIGN, SIGNER, PERFORMANCE = "circle", "0 signer 53", "pictures 5"  # seeds
CLIP_SECONDS = 5.3  # a little more than a recording
LATE_SECONDS = 0.15  # by which the recording may begin after the clip
PICTURED = {State.RECORDING: 2.0, State.ANSWER: 2.6}  # seconds after the state began
# What the moving picture shows of each state, and when the state begins, in seconds.
SHOWN = {State.COUNTDOWN: (1.9, 3.0), State.RECORDING: (0.3, 5.0), State.ANSWER: (0.0, 3.0)}
BEGINS = {State.COUNTDOWN: 0.0, State.RECORDING: 3.0, State.ANSWER: 8.0}
LAST_SECONDS = 1.5  # that the last picture stands still
MOVING_SIZE = (448, 336)  # width, height
NUM_COLORS = 96  # of each picture
FLOW_FRAMES, FLOW_WIDTH = slice(6, 38), 1600


def write_clip(path):
    """Writes a drawn signer's clip that is as long as a recording."""
    frames, _ = render_clip(SIGN, SIGNER, PERFORMANCE)
    number = round(CLIP_SECONDS * FRAMES_PER_SECOND)
    images = [frames[min(index, len(frames) - 1)] for index in range(number)]
    write_video(path, images, FRAMES_PER_SECOND, number)


def live_pictures(recognition, clip):
    """Plays `clip` through the live demo, the recording beginning with the clip.

    Yields:
        (`State`, seconds since it began, uint8 BGR picture of the window), one per camera picture.
    """
    live = LiveSession(Camera(clip, unpaced=True), recognition, None, lambda kind, result: None)
    while True:
        live.step()
        while not recognition.is_idle:
            time.sleep(0.001)
        now, demo = live.camera.now(), live.demo
        if demo.state is State.ANSWER and demo.seconds_in_state(now) > SHOWN[State.ANSWER][1]:
            return live.close()
        if demo.state is State.READY and (now + COUNTDOWN_SECONDS) % CLIP_SECONDS < LATE_SECONDS:
            live.press(" ")
        if live.shot:
            view = view_of(demo, recognition, live.camera, live.shot, now, False)
            yield demo.state, demo.seconds_in_state(now), draw(view)


def write_moving_picture(path, moments):
    """Writes a GIF that begins again at its end.

    Args:
        path: of the file.
        moments: list of (seconds, uint8 BGR picture of any size).
    """
    pictures = [Image.fromarray(_smooth(picture)) for _, picture in moments]
    pictures = [picture.quantize(NUM_COLORS, dither=Image.Dither.NONE) for picture in pictures]
    lasting = [*np.diff([seconds for seconds, _ in moments]), LAST_SECONDS]
    durations = [int(1000 * seconds) for seconds in lasting]
    settings = {"save_all": True, "append_images": pictures[1:], "loop": 0, "optimize": True}
    pictures[0].save(path, duration=durations, **settings)


def _smooth(picture):
    """RGB of `MOVING_SIZE`, without the noise of the drawn camera, which no GIF can pack."""
    smooth = cv2.bilateralFilter(picture, 5, 18, 3)
    small = cv2.resize(smooth, MOVING_SIZE, interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_BGR2RGB)


def draw_flow():
    """A drawn signer above the flow of the motion, uint8 BGR."""
    frames = render_clip(SIGN, SIGNER, PERFORMANCE)[0][FLOW_FRAMES]
    sheet = opticalflow.contact_sheet(frames, opticalflow.frames_to_flow(frames))
    height = round(FLOW_WIDTH * sheet.shape[0] / sheet.shape[1])
    return cv2.resize(sheet, (FLOW_WIDTH, height), interpolation=cv2.INTER_AREA)


def open_recognition(run_dir):
    """A `Recognition` that is ready.

    Raises:
        ValueError: the networks cannot be used.
    """
    recognition = Recognition(run_folder.Run.read(run_dir))
    while not recognition.is_ready:
        if recognition.problem:
            raise ValueError(recognition.problem)
        time.sleep(0.05)
    return recognition


def main(argv=None):
    parser = command_line.make_parser(__doc__)
    command_line.add_flags(parser, {"model": run_folder.MODEL_OPTION})
    args = parser.parse_args(argv)
    wanted, moments = dict(PICTURED), []
    recognition = open_recognition(run_folder.find(args.model))
    with tempfile.TemporaryDirectory() as folder:
        write_clip(Path(folder) / "camera.avi")
        for state, seconds, picture in live_pictures(recognition, Path(folder) / "camera.avi"):
            first, last = SHOWN.get(state, (0, -1))
            if first <= seconds <= last:
                moments.append((BEGINS[state] + seconds, picture))
            if seconds >= wanted.get(state, np.inf):
                del wanted[state]
                write_image(HERE / f"live-{state.value}.png", picture)
    write_moving_picture(HERE / "demo.gif", moments)
    write_image(HERE / "flow.png", draw_flow())
    print(*sorted(path.as_posix() for path in HERE.iterdir() if path.suffix in (".gif", ".png")))


if __name__ == "__main__":
    command_line.run(main, resumes=False)
