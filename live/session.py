"""Camera, networks, state and window, brought together: one step looks at all of them once."""

import collections
import concurrent.futures
import contextlib
import sys
import time

import cv2

from live.camera import BLACK, WAIT_SECONDS, is_black
from live.capture import check_sign_name
from live.picture import network_box
from live.recording import HeadWatch, save
from live.state import Demo, State
from live.view import view_of

# Each picture is drawn once, for the networks need the cores; without a new one, so often:
REDRAW_SECONDS = 0.1
EDGE_SECONDS = 0.3  # a file that ends so close to either end of a recording fits it
BLACK_SECONDS = 1.5  # of black pictures, before they are called so


class LiveSession:
    """Camera, networks, state and window, brought together.

    Args:
        camera: `camera.Camera` or what is like it.
        recognition: `recognition.Recognition`.
        window: `picture.PictureWindow` or what is like it, or None.
        tell: called with each announced (kind, `Result`), kind "clip" or "continuous".
        threshold: probability below which the demo is not sure.
        mirror: give the network the mirrored picture, too.
        clips: `capture.ClipFolder` of the data set that the demo is taught, or None.
    """

    def __init__(self, camera, recognition, window, tell, threshold=0.5, mirror=False, clips=None):
        preset = recognition.run.preset
        self.camera, self.recognition, self.window = camera, recognition, window
        self.mirror = mirror
        self.shot = None
        self._tell = tell
        self._black_since = None
        self._told_black = False
        self._head = HeadWatch()
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
            teacher=Teacher(clips, recognition, self._saver) if clips else None,
        )

    def step(self):
        """Looks at everything that may have happened once, and shows it."""
        shots = self.camera.take(WAIT_SECONDS)
        now = self.camera.now()
        for shot in shots:
            self._see(shot)
        self.demo.tick(now)
        self.demo.is_head_outside = self._head.is_outside(now)
        self._check_camera(now)
        self._check_recognition(now)
        self._check_saving(now)
        if self.demo.teacher:
            self.demo.teacher.check_lessons(self.demo, now)
        if self.window:
            if shots or time.monotonic() - self._drawn > REDRAW_SECONDS:
                self._draw(now)
            self._look_at_keys()

    def press(self, key):
        self.demo.key(key, self.camera.now())

    def close(self):
        """Waits for what is being saved, and tells on the terminal what became of it."""
        self._saver.shutdown()
        if self.demo.teacher:
            self.demo.teacher.close()
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
        if self.demo.state in (State.READY, State.COUNTDOWN, State.RECORDING):
            preset = self.recognition.run.preset
            box = network_box(shot.image.shape, preset.frame_size, preset.input_size)
            self._head.look(shot, box)
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
        self.window.show(view)

    def _look_at_keys(self):
        key = self.window.key()
        if key:
            self.press(key)
        self.demo.wants_quit |= self.window.is_closed


class Teacher:
    """Keeps clips in a data set and has them learned; what came of it is told to the demo.

    Args:
        clips: `capture.ClipFolder`.
        recognition: `recognition.Recognition` that can learn.
        worker: `concurrent.futures.Executor` that writes clips.
    """

    def __init__(self, clips, recognition, worker):
        self._clips, self._recognition, self._worker = clips, recognition, worker
        self._saving = None  # (sign, what becomes of its clip)
        self._kept = []  # (sign, path) of this sitting's clips
        self._lessons = collections.deque()  # what to say when they are learned
        self._lock = contextlib.ExitStack()
        self._is_locked = False

    def check(self, name):
        """Raises ValueError where a sign cannot be called so, or somebody else teaches, too."""
        check_sign_name(name)
        if not self._is_locked:
            self._lock.enter_context(self._clips.lock())
            self._is_locked = True

    def keep(self, sign, recording):
        """Writes a recording into the data set, and has it learned."""
        self._saving = sign, self._worker.submit(self._clips.save, sign, recording)

    def undo(self):
        """Takes back the clip that was kept last."""
        if not self._saving and not self._lessons:
            self._saving = None, self._worker.submit(self._remove_last)

    def check_lessons(self, demo, now):
        """Looks once whether something was kept, learned or taken back."""
        if self._saving and self._saving[1].done():
            sign, saving = self._saving
            self._saving = None
            try:
                self._go_on(sign, saving.result(), demo, now)
            except (OSError, ValueError, cv2.error) as error:
                words = "Not kept" if sign else "Not taken back"
                print(f"{words}: {error}", file=sys.stderr, flush=True)
                demo.not_learned(f"{words}: {error}", now)
        problem = self._recognition.poll_lesson()
        if problem is not None:
            words = self._lessons.popleft()
            demo.learned(f"Kept, but not learned: {problem}" if problem else words, now)

    def close(self):
        self._lock.close()

    def _go_on(self, sign, path, demo, now):
        if sign:
            self._kept.append((sign, path))
            number = sum(kept == sign for kept, _ in self._kept)
            self._lessons.append(
                f"Known: {sign} ({number} new clip{'s' * (number > 1)}). Space: one more, Esc: "
                "recognise, t: another sign, u: take it back."
            )
            print(f"Kept as {path.as_posix()}", file=sys.stderr, flush=True)
            self._recognition.learn(sign, path)
        elif path is None:
            demo.learned("Nothing that was taught in this sitting is left to take back.", now)
        else:
            self._lessons.append(f"Taken back: {path.as_posix()}")
            print(f"Deleted {path.as_posix()}", file=sys.stderr, flush=True)
            self._recognition.forget_last()

    def _remove_last(self):
        if not self._kept:
            return None
        _, path = self._kept[-1]
        with contextlib.suppress(FileNotFoundError):  # somebody deleted it
            self._clips.remove(path)
        self._kept.pop()
        return path
