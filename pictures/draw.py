"""Draws the pictures of README.md and docs/, from drawn signers and a trained model.

    python -m pictures.draw
    python -m pictures.draw --model model/<run>

reads   the newest model, by default that of `make demo`
writes  pictures/demo.gif                   countdown, recording, answer
        pictures/live-recording.png live-answer.png
        pictures/live-naming.png live-review.png    a sign is taught
        pictures/flow.png                   moments above their flow, and its colour wheel
"""

import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

import opticalflow
import train_nearest
from common import command_line
from common.dataset import Dataset
from common.presets import NEAREST_PRESETS
from common.video import write_image
from inference import run_folder
from live.camera import Camera
from live.capture import ClipFolder
from live.picture import draw
from live.recognition import Recognition
from live.recording import write_video
from live.session import LiveSession
from live.state import COUNTDOWN_SECONDS, ENTER, State
from live.view import view_of
from toy.film import render_clip
from toy.scene import FRAMES_PER_SECOND

HERE = Path(__file__).parent
SIGN, SIGNER, PERFORMANCE = "circle", "0 signer 55", "0 test circle 6"  # of the test split
CLIP_SECONDS = 5.3  # a little more than a recording
LATE_SECONDS = 0.15  # by which the recording may begin after the clip
REVIEW_SECONDS = 2.0
PICTURED = {State.RECORDING: 2.0, State.ANSWER: 2.0}  # seconds after the state began
# What the moving picture shows of each state, in seconds after it began.
SHOWN = {State.COUNTDOWN: (2.0, 3.0), State.RECORDING: (0.0, 5.0), State.ANSWER: (0.0, 2.3)}
MOVING_SIZE = (480, 360)  # width, height
FRAME_MS, LAST_FRAME_MS = 100, 500
NUM_COLORS = 200
FLOW_FRAMES = [10, 13, 16, 19, 22, 25]
FLOW_COLUMNS = slice(60, 260)  # the gesture stays within them
LEGEND_WIDTH, WHEEL_WIDTH = 150, 110


def write_clip(path):
    """Writes a drawn signer's clip that is as long as a recording."""
    frames, _ = render_clip(SIGN, SIGNER, PERFORMANCE)
    number = round(CLIP_SECONDS * FRAMES_PER_SECOND)
    images = [frames[min(index, len(frames) - 1)] for index in range(number)]
    write_video(path, images, FRAMES_PER_SECOND, number)


def live_pictures(live, last):
    """Plays a clip through the live demo, the recording beginning with the clip.

    Args:
        live: `LiveSession`, whose camera is the clip; it is closed in the end.
        last: (`State`, seconds after it began) when that is.

    Yields:
        (`State`, seconds since it began, uint8 BGR picture of the window), one per camera picture.
    """
    while True:
        live.step()
        while not live.recognition.is_idle:
            time.sleep(0.001)
        now, demo = live.camera.now(), live.demo
        if demo.state is last[0] and demo.seconds_in_state(now) > last[1]:
            return live.close()
        if demo.state is State.READY and (now + COUNTDOWN_SECONDS) % CLIP_SECONDS < LATE_SECONDS:
            live.press(" ")
        if live.shot:
            yield demo.state, demo.seconds_in_state(now), picture_of(live)


def picture_of(live):
    """Uint8 BGR picture of what the live demo's window shows now."""
    now = live.camera.now()
    return draw(view_of(live.demo, live.recognition, live.camera, live.shot, now, False))


def session(clip, recognition, clips=None):
    """The live demo without a window and with a clip as its camera."""
    camera = Camera(clip, unpaced=True)
    return LiveSession(camera, recognition, None, lambda kind, result: None, clips=clips)


def draw_teaching(clip, root):
    """Teaches the live demo a sign, and writes what its window shows.

    Args:
        clip: video file of the sign.
        root: folder for the data set.
    """
    dataset = Dataset("my_signs", "laptop", root, NEAREST_PRESETS)
    run = train_nearest.without_clips(dataset).run
    recognition = ready(Recognition(run, None, lambda: train_nearest.open_dataset(dataset)))
    live = session(clip, recognition, ClipFolder(dataset, ".avi"))
    while not (live.camera.fps and live.demo.state is State.READY):
        live.step()
    for key in ("t", *SIGN):
        live.press(key)
    write_image(HERE / "live-naming.png", picture_of(live))
    live.press(ENTER)
    *_, (_, _, picture) = live_pictures(live, (State.REVIEW, REVIEW_SECONDS))
    write_image(HERE / "live-review.png", picture)


def write_moving_picture(path, images):
    """Writes a GIF that begins again at its end.

    Args:
        path: of the file.
        images: list of uint8 BGR pictures of any size, `FRAME_MS` apart.
    """
    pictures = [_smooth(image) for image in images]
    # One palette, which knows all colours of the flow: what stands still costs nothing.
    colors = np.vstack(
        [*pictures[::6], cv2.resize(opticalflow.flow_wheel(WHEEL_WIDTH), MOVING_SIZE)[..., ::-1]]
    )
    palette = Image.fromarray(colors).quantize(NUM_COLORS, kmeans=1)
    settings = {"palette": palette, "dither": Image.Dither.NONE}
    first, *others = [Image.fromarray(each).quantize(**settings) for each in pictures]
    durations = [FRAME_MS] * len(others) + [LAST_FRAME_MS]
    first.save(path, save_all=True, append_images=others, duration=durations, loop=0)


def _smooth(picture):
    """RGB of `MOVING_SIZE`, without the noise of the drawn camera, which no GIF can pack."""
    smooth = cv2.bilateralFilter(picture, 5, 18, 3)
    small = cv2.resize(smooth, MOVING_SIZE, interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_BGR2RGB)


def draw_flow():
    """Moments of a drawn signer's motion above their flow, and its colours; uint8 BGR."""
    frames = render_clip(SIGN, SIGNER, PERFORMANCE)[0]
    flow = opticalflow.frames_to_flow(frames)
    picked = [clip[FLOW_FRAMES][:, :, FLOW_COLUMNS] for clip in (frames, flow)]
    sheet = opticalflow.contact_sheet(*picked)
    legend = np.full((sheet.shape[0], LEGEND_WIDTH, 3), 255, np.uint8)
    top, left = (legend.shape[0] * 3 // 2 - WHEEL_WIDTH) // 2, (LEGEND_WIDTH - WHEEL_WIDTH) // 2
    legend[top : top + WHEEL_WIDTH, left : left + WHEEL_WIDTH] = opticalflow.flow_wheel(WHEEL_WIDTH)
    return np.hstack([sheet, legend])


def ready(recognition):
    """A `Recognition`, when it is ready.

    Raises:
        ValueError: the networks cannot be used.
    """
    while not recognition.is_ready:
        if recognition.problem:
            raise ValueError(recognition.problem)
        time.sleep(0.05)
    return recognition


def main(argv=None):
    parser = command_line.make_parser(__doc__)
    command_line.add_flags(parser, {"model": run_folder.MODEL_OPTION})
    args = parser.parse_args(argv)
    wanted, shown = dict(PICTURED), []
    recognition = ready(Recognition(run_folder.Run.read(run_folder.find(args.model))))
    end = State.ANSWER, SHOWN[State.ANSWER][1]
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "camera.avi"
        write_clip(clip)
        draw_teaching(clip, Path(folder))
        for state, seconds, picture in live_pictures(session(clip, recognition), end):
            first, last = SHOWN.get(state, (0, -1))
            if first <= seconds <= last:
                shown.append(picture)
            if seconds >= wanted.get(state, np.inf):
                del wanted[state]
                write_image(HERE / f"live-{state.value}.png", picture)
    write_moving_picture(HERE / "demo.gif", shown)
    write_image(HERE / "flow.png", draw_flow())
    print(*sorted(path.as_posix() for path in HERE.iterdir() if path.suffix in (".gif", ".png")))


if __name__ == "__main__":
    command_line.run(main, goes_on="")
