"""Flow and networks on threads of their own, so that the camera's picture never waits for them.

One thread opens the networks, then computes each clip's flow, and what the networks can do by then,
while its frames arrive; the other one does the rest, on the newest clip only.
"""

import collections
import contextlib
import queue
import threading
import time
from typing import NamedTuple

import numpy as np

import opticalflow
import predict
import train_nearest
from common.video import fit_frame, read_clip
from inference import converted_files

ANSWER_INTERVAL_SECONDS = 0.5  # between two answers of a sliding window, at least
MAX_FRAMES_BEHIND = 2  # of a sliding window's flow; else its networks leave it the processor
RATE_ANSWERS = 6  # the answers that the shown rate is taken from


class Result(NamedTuple):
    """What came of a clip.

    `answer` is a `predict.Answer`; `seconds` went by between the end of the recording and the
    answer, and `frames_left` is the number of frames whose flow was still to be computed then.
    """

    answer: object
    seconds: float = 0.0
    frames_left: int = 0

    def to_dict(self, threshold):
        """For JSON; an answer whose best sign is below `threshold` is not sure."""
        return {
            "sure": self.answer.is_sure(threshold),
            "seconds_to_answer": round(self.seconds, 4),
            "frames_left": self.frames_left,
            **self.answer.to_dict(),
        }


class Recognition:
    """A `predict.Recognizer` that opens, and works, without making its caller wait.

    Args:
        run: `run_folder.Run`.
        engine: see `predict.Recognizer`.
        open_recognizer: returns the `predict.Recognizer`, in place of opening the run: one that
            can be taught.
    """

    def __init__(self, run, engine="auto", open_recognizer=None):
        self._first_run = run
        self._open_recognizer = open_recognizer
        self.problem = None  # why the networks cannot be opened or used
        self.engine = None  # what runs the networks, once they are open
        self.engine_text = ""  # the same, and why it is not a quicker one
        self.flow_pictures = []  # of the clip's frames so far, uint8 BGR as large as stored frames
        self._recognizer = None
        self._clip_number = 0
        self._num_added = self._num_done = 0
        self._num_asked = self._num_answered = 0
        self._is_sliding = False
        self._frames = queue.Queue()
        self._questions = queue.Queue(maxsize=1)
        self._results = collections.deque()
        self._lessons = collections.deque()
        self._answer_times = collections.deque(maxlen=RATE_ANSWERS)
        for work in (lambda: self._compute_flow(engine), self._think):
            threading.Thread(target=self._guard, args=(work,), daemon=True).start()

    @property
    def run(self):
        """`run_folder.Run`, with the signs that are known by now."""
        return self._recognizer.run if self._recognizer else self._first_run

    @property
    def can_learn(self):
        """Whether it can be taught."""
        return self._open_recognizer is not None

    @property
    def is_ready(self):
        return self._recognizer is not None

    @property
    def is_idle(self):
        """Whether everything that was given is worked off."""
        return self._frames.unfinished_tasks == 0 and self._num_asked == self._num_answered

    @property
    def frames_left(self):
        """Number of frames whose flow is still to be computed."""
        return self._num_added - self._num_done

    @property
    def answers_per_second(self):
        """Rate of the latest answers of a sliding window; 0 before the second one."""
        times = list(self._answer_times)
        return (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else 0.0

    def begin(self, sliding=False):
        """Begins a clip of as many frames as the network takes; an unfinished one is dropped.

        With `sliding` more frames may follow, and answers to the newest ones come by themselves.
        """
        self.cancel()
        self._is_sliding = sliding
        self.flow_pictures = []
        self._answer_times.clear()
        self._frames.put((self._clip_number, self._begin, None))

    def add(self, image):
        """Takes the clip's next frame, uint8 BGR `(any height, any width, 3)`.

        A sliding window that is as many frames behind as it has drops the frame.
        """
        if self._is_sliding and self.frames_left >= self.run.preset.num_frames:
            return
        self._num_added += 1
        self._frames.put((self._clip_number, self._add, image))

    def finish(self):
        """Asks for the answer to the clip, whose frames have all been added."""
        self._frames.put((self._clip_number, self._ask, (time.monotonic(), self.frames_left)))

    def learn(self, label, path):
        """Learns the sign of a video file; `poll_lesson` tells when it is known."""
        self._frames.put((None, self._learn, (label, path)))

    def forget_last(self):
        """Forgets the clip that was learned last."""
        self._frames.put((None, self._forget, None))

    def poll_lesson(self):
        """None, or what came of the next `learn` or `forget_last`: "", or why it failed."""
        return self._lessons.popleft() if self._lessons else None

    def cancel(self):
        """Drops the clip."""
        self._clip_number += 1
        self._results.clear()

    def poll(self):
        """The next `Result` of the present clip, or None."""
        while self._results:
            clip_number, result = self._results.popleft()
            if clip_number == self._clip_number:
                return result
        return None

    def close(self):
        """Ends both threads when they have finished what they do."""
        self.cancel()
        self._frames.put(None)

    def _guard(self, work):
        try:
            work()
        # Whatever goes wrong in a thread is told in the window, not in a traceback.
        except Exception as error:
            reason = str(error) if isinstance(error, OSError | ValueError) else repr(error)
            self.problem = f"The network cannot be used: {reason}"

    def _compute_flow(self, engine):
        self._open(engine)
        while (task := self._frames.get()) is not None:
            clip_number, work, content = task
            is_frame = work == self._add
            if clip_number in (self._clip_number, None):
                work(content)
            self._num_done += is_frame
            self._frames.task_done()
        self._questions.put(None)

    def _open(self, engine):
        """Opens the networks."""
        if self._open_recognizer:
            recognizer = self._open_recognizer()
        else:
            recognizer = predict.Recognizer(self.run.folder, engine, stepwise=True)
        self.engine = recognizer.engine
        self.engine_text = predict.engine_text(recognizer)
        self._frames.put((None, self._warm_up, None))  # a recording is counted down meanwhile
        self._recognizer = recognizer

    def _warm_up(self, _):
        """Answers once to an empty clip, so that all of it is compiled."""
        recognizer = self._recognizer
        num_frames = self.run.preset.num_frames
        recognizer.predict(np.zeros((num_frames, *self.run.preset.frame_size, 3), np.uint8))
        for stream in recognizer.streams:  # what a sliding window needs
            size = converted_files.input_shape(recognizer.run, stream)
            recognizer.probabilities(stream, np.zeros((1, *size), np.float32))

    def _learn(self, lesson):
        label, path = lesson
        preset = self.run.preset
        try:
            frames = read_clip(path, preset.num_frames, *preset.frame_size)
            self._recognizer = train_nearest.with_clip(self._recognizer, label, frames)
            self._lessons.append("")
        except (OSError, ValueError) as error:
            self._lessons.append(str(error))

    def _forget(self, _):
        self._recognizer = train_nearest.without_last_clip(self._recognizer)
        self._lessons.append("")

    def _begin(self, _):
        self._clip = self._recognizer.stream(self.run.preset.num_frames)
        self._num_in_clip = self._num_since_answer = 0
        # A model without a flow network: the flow is for the eye alone.
        self._shown_flow = None
        if "flow" not in self._recognizer.streams:
            self._shown_flow = opticalflow.FlowStream()

    def _add(self, image):
        num_frames = self.run.preset.num_frames
        if self._num_in_clip == num_frames:
            self._clip.slide()
        self._num_in_clip = min(self._num_in_clip + 1, num_frames)
        self._num_since_answer += 1
        self._clip.add(image)
        flow = self._clip.newest_flow
        if self._shown_flow:
            flow = self._shown_flow.next(fit_frame(image, *self.run.preset.frame_size))
        self.flow_pictures.append(opticalflow.flow_to_color(flow))
        del self.flow_pictures[:-num_frames]
        if self._is_sliding and self._num_in_clip == num_frames and self._is_answer_due():
            self._num_since_answer = 0
            self._ask((time.monotonic(), 0))

    def _is_answer_due(self):
        step_seconds = self.run.preset.seconds / self.run.preset.num_frames
        passed = self._num_since_answer * step_seconds
        is_free = self._num_asked == self._num_answered and self.frames_left <= MAX_FRAMES_BEHIND
        return is_free and passed >= ANSWER_INTERVAL_SECONDS

    def _ask(self, asked):
        with contextlib.suppress(queue.Empty):
            self._questions.get_nowait()  # only the newest clip counts
            self._num_answered += 1
        self._num_asked += 1
        self._questions.put((self._clip_number, self._clip.copy(), asked))

    def _think(self):
        while (question := self._questions.get()) is not None:
            clip_number, clip, (asked, frames_left) = question
            answer = clip.answer()
            now = time.monotonic()
            self._answer_times.append(now)
            self._results.append((clip_number, Result(answer, now - asked, frames_left)))
            self._num_answered += 1
            del question, clip  # tens of MB, which the next clip can have
