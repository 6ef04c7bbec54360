"""Camera, networks, state and window, brought together: one step looks at all of them once."""

import concurrent.futures
import sys
import time

import cv2

from live.camera import BLACK, WAIT_SECONDS, is_black
from live.picture import draw
from live.recording import save
from live.state import Demo, State
from live.view import view_of

# Each picture is drawn once, for the networks need the cores; without a new one, so often:
REDRAW_SECONDS = 0.1
EDGE_SECONDS = 0.3  # a file that ends so close to either end of a recording fits it
BLACK_SECONDS = 1.5  # of black pictures, before they are called so


class LiveSession:
    """Camera, networks, state and window, brought together.

    Args:
        camera: `camera.Camera`.
        recognition: `recognition.Recognition`.
        window: `window.Window`, or None.
        tell: called with each announced (kind, `Result`), kind "clip" or "continuous".
        threshold: probability below which the demo is not sure.
        mirror: give the network the mirrored picture, too.
    """

    def __init__(self, camera, recognition, window, tell, threshold=0.5, mirror=False):
        preset = recognition.run.preset
        self.camera, self.recognition, self.window = camera, recognition, window
        self.mirror = mirror
        self.shot = None
        self._tell = tell
        self._black_since = None
        self._told_black = False
        self._times_ended = 0
        self._drawn = 0.0  # when the window was drawn, by `time.monotonic`
        self.num_answers = 0
        self._saver = concurrent.futures.ThreadPoolExecutor(1)
        self._saving = None
        self.demo = Demo(
            recognition,
            preset.seconds,
            preset.num_frames,
            self._save,
            threshold,
            keep_video=window is not None,
        )

    def step(self):
        """Looks at everything that may have happened once, and shows it."""
        shots = self.camera.take(WAIT_SECONDS)
        now = self.camera.now()
        for shot in shots:
            self._see(shot)
        self.demo.tick(now)
        self._check_camera(now)
        self._check_recognition(now)
        self._check_saving(now)
        if self.window:
            if shots or time.monotonic() - self._drawn > REDRAW_SECONDS:
                self._draw(now)
            self._look_at_keys()

    def press(self, key):
        self.demo.key(key, self.camera.now())

    def close(self):
        """Waits for what is being saved, and tells on the terminal what became of it."""
        self._saver.shutdown()
        if self._saving is not None:
            self._check_saving(self.camera.now())
            print(self.demo.notice(self.camera.now()), file=sys.stderr, flush=True)
        self.camera.close()
        self.recognition.close()

    def _see(self, shot):
        if self.mirror:
            shot = shot._replace(image=cv2.flip(shot.image, 1))
        self.shot = shot
        self.demo.frame(shot)
        if not is_black(shot.image):
            self._black_since, self._told_black = None, False
            self.demo.take_back(BLACK)
        elif self._black_since is None:
            self._black_since = shot.seconds
        elif shot.seconds - self._black_since > BLACK_SECONDS and not self._told_black:
            self._told_black = True
            self.demo.tell(BLACK, shot.seconds)

    def _check_camera(self, now):
        problem = self.camera.problem
        if problem:
            self.demo.lost(problem, now)
        if self.camera.times_ended > self._times_ended:
            self._times_ended = self.camera.times_ended
            passed = self.demo.seconds_in_state(now)
            is_middle = EDGE_SECONDS < passed < self.demo.seconds - EDGE_SECONDS
            if self.demo.state is State.RECORDING and is_middle:
                self.demo.tell(f"{self.camera.name} ended in the middle and began again.", now)

    def _check_recognition(self, now):
        if self.recognition.is_ready:
            self.demo.loaded(now)
        if self.recognition.problem:
            self.demo.failed(now)
        while result := self.recognition.poll():
            kind = "continuous" if self.demo.state is State.CONTINUOUS else "clip"
            if self.demo.answered(result, now):
                self.num_answers += 1
                self._tell(kind, result)

    def _save(self, recording, result):
        if self._saving is None:
            answer = {"mirrored": self.mirror, **result.to_dict(self.demo.threshold)}
            self._saving = self._saver.submit(save, recording, answer)

    def _check_saving(self, now):
        if self._saving is None or not self._saving.done():
            return
        try:
            self.demo.saved(self._saving.result().as_posix(), now)
        except (OSError, ValueError, cv2.error) as error:
            self.demo.tell(f"Not saved: {error}", now)
        self._saving = None

    def _draw(self, now):
        self._drawn = time.monotonic()
        view = view_of(self.demo, self.recognition, self.camera, self.shot, now, self.mirror)
        self.window.show(draw(view, self.window.scale))

    def _look_at_keys(self):
        key = self.window.key()
        if key:
            self.press(key)
        self.demo.wants_quit |= self.window.is_closed
