"""Draws the README's two pictures of the live demo, from a drawn signer and a trained model.

    python benchmarks/draw_live.py

reads   the newest model, which is that of `make demo`, and a test clip of toysigns
writes  pictures/live-recording.png, pictures/live-answer.png
"""

import sys
import time
from pathlib import Path

from common.video import open_video, write_image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import cv2  # noqa: E402

from common import run_folder  # noqa: E402
from live.camera import Camera  # noqa: E402
from live.picture import draw  # noqa: E402
from live.recognition import Recognition  # noqa: E402
from live.session import LiveSession  # noqa: E402
from live.state import COUNTDOWN_SECONDS, State  # noqa: E402
from live.view import view_of  # noqa: E402

CLIP = "data_set/toysigns/test/c007"
LATE_SECONDS = 0.15  # by which the recording may begin after the clip
PICTURED = {State.RECORDING: 2.0, State.ANSWER: 6.9}  # seconds after the state began


def draw_states(recognition, clip):
    """Plays `clip` through the live demo, the recording beginning with the clip.

    Yields:
        (`State`, uint8 BGR picture of the window).
    """
    with open_video(clip) as video:
        duration = video.get(cv2.CAP_PROP_FRAME_COUNT) / video.get(cv2.CAP_PROP_FPS)
    live = LiveSession(Camera(clip, unpaced=True), recognition, None, lambda kind, result: None)
    wanted = dict(PICTURED)
    while wanted:
        live.step()
        while not recognition.is_idle:
            time.sleep(0.001)
        now, demo = live.camera.now(), live.demo
        late = (now + COUNTDOWN_SECONDS) % duration
        if demo.state is State.READY and late < LATE_SECONDS:
            live.press(" ")
        if demo.seconds_in_state(now) >= wanted.get(demo.state, float("inf")):
            del wanted[demo.state]
            view = view_of(demo, recognition, live.camera, live.shot, now, False)
            yield demo.state, draw(view)
    live.close()


def main(argv=None):
    parser = command_line.make_parser(__doc__)
    parser.add_argument("--clip", type=Path, help=f"default: the first of {CLIP}")
    parser.add_argument("--output", type=Path, default=ROOT / "pictures", help="folder")
    args = parser.parse_args(argv)
    clip = args.clip or min(Path(CLIP).iterdir())
    recognition = Recognition(run_folder.Run.read(run_folder.newest()))
    while not recognition.is_ready:
        if recognition.problem:
            raise ValueError(recognition.problem)
        time.sleep(0.05)
    for state, picture in draw_states(recognition, clip):
        path = args.output / f"live-{state.value}.png"
        write_image(path, picture)
        print(path)


if __name__ == "__main__":
    main()
