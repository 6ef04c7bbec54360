"""What the live demo does when: states, and the events that lead from one to the next.

There is no window, no camera and no clock in here. Every event brings the time with it, in seconds
on the clock that stamps the pictures.

    LOADING -> READY -Space-> COUNTDOWN -> RECORDING -> THINKING -> ANSWER -r-> REPLAY
                 \\-c-> CONTINUOUS                LOST: no camera   FAILED: no network

Where the demo can be taught, a sign is named first, and a recording of it is looked at and kept:

    READY -t-> NAMING -Enter-> READY -Space-> COUNTDOWN -> RECORDING -> REVIEW -Space-> LEARNING
"""

import collections
import enum

from common.class_list import same_form
from live.recording import Picker, Recording

COUNTDOWN_SECONDS = 3.0
NOTICE_SECONDS = 6.0
STEADY_ANSWERS = 3  # that agree, before a sign of the sliding window is announced
FROZEN_SECONDS = 1.5  # without a picture, after which a recording is of no use
NO_SIGN = "no_gesture"  # label or name of the class of clips in which nobody signs
ESCAPE, ENTER, BACKSPACE = "\x1b", "\r", "\b"
MAX_NAME = 60  # characters of a sign's name
CAMERA_IS_BACK = "The camera is back."
CANNOT_LEARN = (
    "A trained network cannot be taught while it runs. To teach signs: "
    "python livedemo.py --dataset my_signs"
)
NO_MOTION = "Hardly anything moved: is this the sign? r records it anew, Space keeps it."
NOTHING_KNOWN = "No sign is known yet: press t and show me one."
NO_PICTURE = "One moment: the camera has not shown a picture yet."


class State(enum.Enum):
    LOADING = "loading"
    READY = "ready"
    COUNTDOWN = "countdown"
    RECORDING = "recording"
    THINKING = "thinking"
    ANSWER = "answer"
    REPLAY = "replay"
    NAMING = "naming"
    REVIEW = "keep it?"
    LEARNING = "learning"
    CONTINUOUS = "continuous"
    LOST = "no camera"
    FAILED = "no network"


BUSY = (State.COUNTDOWN, State.RECORDING, State.CONTINUOUS)  # these need the camera
RESTING = (State.READY, State.ANSWER, State.REPLAY)


class Steady:
    """Turns the answers of a sliding window into signs: each when it is stable, and once.

    Args:
        threshold: probability below which an answer is none.
    """

    def __init__(self, threshold):
        self.sign = None  # (class, name, probability) that is stable now
        self._threshold = threshold
        self._latest = collections.deque(maxlen=STEADY_ANSWERS)

    def update(self, answer):
        """Takes the next `Answer`; returns whether a new sign is to be announced."""
        label, name, probability = answer.ranking[0]
        is_sign = probability >= self._threshold and NO_SIGN not in (label, name)
        self._latest.append(label if is_sign else None)
        if len(self._latest) < STEADY_ANSWERS or len(set(self._latest)) > 1:
            return False
        before, self.sign = self.sign, (label, name, probability) if is_sign else None
        return is_sign and (before is None or before[0] != label)


class Demo:
    """The live demo's state.

    Args:
        recognition: takes frames and answers, like `recognition.Recognition`.
        seconds, num_frames: of a recording.
        save: called with a finished `Recording` and its `Result` when they are to be saved.
        threshold: probability below which the demo is not sure.
        keep_video: keep what is needed for saving.
        teacher: None, or what the demo is taught with: `check(name)` raises ValueError where a sign
            cannot be called so, `keep(name, recording)` and `undo()` are told what to do.
    """

    def __init__(
        self,
        recognition,
        seconds,
        num_frames,
        save,
        threshold=0.5,
        keep_video=True,
        teacher=None,
    ):
        self.state = State.LOADING
        self.since = 0.0  # when the state began
        self.shows_help = False
        self.wants_quit = False
        self.recording = None
        self.result = None  # of the recording
        self.steady = None  # of the sliding window
        self.threshold = threshold
        self.typed = ""  # of a sign's name
        self.taught = None  # the sign that recordings are of, while it is taught
        self.teacher = teacher
        self.seconds, self.num_frames = seconds, num_frames
        self._recognition = recognition
        self._save = save
        self._keep_video = keep_video
        self._is_loaded = False
        self._shown = None  # the newest `Shot`
        self._picker = None
        self._notice, self._notice_until = None, 0.0
        self.is_head_outside = False  # of what networks see, as far as is known
        self._told_problem = None
        self._kept = None  # the recording that was last asked to be saved
        self._saved = None  # where the present one is, in words

    def key(self, key, now):
        """A key was pressed: a character, `ESCAPE`, or `ENTER` and a whole name behind it."""
        if self.shows_help:
            self.shows_help = False
            self.wants_quit = key == "q"
            return
        if self.state is State.NAMING:
            self._type(key, now)
            return
        action = {
            " ": self._start,
            "r": self._replay,
            "s": self._ask_to_save,
            "c": self._toggle_continuous,
            "t": self._name,
            "u": self._undo,
            ESCAPE: self._stop,
        }.get(key)
        self.wants_quit |= key == "q"
        self.shows_help = key == "?"
        if action:
            action(now)

    def loaded(self, now):
        """The networks are open."""
        self._is_loaded = True
        if self.state is State.LOADING:
            self._notice = None
            self._enter(State.READY, now)

    def frame(self, shot):
        """The camera delivered a `Shot`."""
        for untrue in (self._told_problem, NO_PICTURE):
            self.take_back(untrue)
        self._told_problem = None
        if self.state is State.LOST:
            self._enter(State.READY if self._is_loaded else State.LOADING, shot.seconds)
            self.tell(CAMERA_IS_BACK, shot.seconds)
        # What the time has brought up to this picture does not see it yet.
        self._pass_time(shot.seconds)
        if self.state is State.RECORDING:
            self._add(self.recording.add(shot))
        elif self.state is State.CONTINUOUS:
            self._add(self._picker.add(shot))
        self._shown = shot

    def tick(self, now):
        """Time has passed, and all pictures up to `now` have been given to `frame`."""
        self._pass_time(now)
        if self.state is State.RECORDING:
            self._add(self.recording.advance(now))
        elif self.state is State.CONTINUOUS:
            self._add(self._picker.advance(now))

    def lost(self, problem, now):
        """The camera delivers nothing; `problem` says why."""
        if self.state in (*BUSY, State.READY, State.LOADING):
            self._recognition.cancel()
            if self.state is State.RECORDING:
                self.recording = self.result = None
                self.tell("The recording was dropped: the camera was lost in the middle.", now)
            self.take_back(CAMERA_IS_BACK)
            self._enter(State.LOST, now)
        if self.state is not State.LOST and problem != self._told_problem:
            self.tell(problem, now)
        self._told_problem = problem

    def failed(self, now):
        """The networks cannot be opened or used."""
        if self.state is not State.FAILED:
            self._enter(State.FAILED, now)

    def learned(self, words, now):
        """A clip that was kept is known, or the last one is forgotten; `words` say which."""
        if self.state is State.LEARNING:
            self.recording = self.result = None
            self._enter(State.READY, now)
        self.tell(words, now)

    def not_learned(self, problem, now):
        """A clip was not kept: it can be kept again."""
        if self.state is State.LEARNING:
            self._enter(State.REVIEW, now)
        self.tell(problem, now)

    def answered(self, result, now):
        """The network's `Result` is there; returns whether it is to be announced."""
        if self.state is State.THINKING:
            self.result = result
            self._enter(State.ANSWER, now)
            return True
        return self.state is State.CONTINUOUS and self.steady.update(result.answer)

    def saved(self, place, now):
        """A recording is on disk."""
        words = f"Saved to {place}"
        if self.recording is self._kept:
            self._saved = words
        self.tell(words, now)

    def is_sure(self, answer):
        return answer.is_sure(self.threshold)

    def tell(self, notice, now):
        """Shows a message for a while."""
        self._notice, self._notice_until = notice, now + NOTICE_SECONDS

    def take_back(self, notice):
        """Ends a message that is true no more."""
        if self._notice == notice:
            self._notice = None

    def notice(self, now):
        """The message to show, or None."""
        return self._notice if now < self._notice_until else None

    def seconds_in_state(self, now):
        return max(0.0, now - self.since)

    def replayed_frame(self, now):
        """Index of the picked frame that a replay shows."""
        share = self.seconds_in_state(now) / self.seconds
        return int(share * self.num_frames) % self.num_frames

    def _enter(self, state, now):
        if state in (State.COUNTDOWN, State.CONTINUOUS):
            self._notice = None  # it was about what was before
        self.state, self.since = state, now

    def _start(self, now):
        if self.state is State.REVIEW:
            self._enter(State.LEARNING, now)
            self.teacher.keep(self.taught, self.recording)
        elif self.state in RESTING and not self._can_answer():
            self.tell(NOTHING_KNOWN, now)
        elif self.state in RESTING and self._shown:
            self._enter(State.COUNTDOWN, now)
        elif self.state in RESTING:
            self.tell(NO_PICTURE, now)
        elif self.state is State.LOADING:
            self.tell("One moment: the networks are being opened.", now)

    def _can_answer(self):
        return self.taught or not self.teacher or self._recognition.run.signs

    def _stop(self, now):
        if self.state in (*BUSY, State.REVIEW):
            self._recognition.cancel()
            self.recording = self.result = self.steady = None
            self._enter(State.READY, now)
        elif self.state in RESTING:
            self.taught = None
            self._enter(State.READY, now)

    def _name(self, now):
        if self.teacher and self.state in RESTING:
            self.typed = ""
            self._enter(State.NAMING, now)
        elif self.state in RESTING:
            self.tell(CANNOT_LEARN, now)

    def _type(self, key, now):
        """A key while a sign's name is typed."""
        if key == ESCAPE:
            self._enter(State.READY, now)
        elif key == BACKSPACE:
            self.typed = self.typed[:-1]
        elif key[0] in (ENTER, "\n"):
            self._take_name(same_form(" ".join((key[1:] or self.typed).split())), now)
        elif key.isprintable() and len(self.typed) < MAX_NAME:
            self.typed += key

    def _take_name(self, name, now):
        try:
            self.teacher.check(name)
        except (OSError, ValueError) as error:
            self.tell(str(error), now)
            return
        self._notice = None
        self.taught = name
        self.recording = self.result = None
        self._enter(State.READY, now)

    def _undo(self, now):
        if self.teacher and self.state in RESTING:
            self.teacher.undo()

    def _replay(self, now):
        if self.state is State.REVIEW:
            self._enter(State.COUNTDOWN, now)
            return
        if self.result and self.state in RESTING:
            self._enter(State.REPLAY, now)
        elif self.state in RESTING:
            self.tell("There is nothing to replay yet: press Space to record.", now)

    def _ask_to_save(self, now):
        if self.result and self.state in RESTING:
            self.tell(self._saved or "Saving ...", now)
            if not self._saved:
                self._kept = self.recording
                self._save(self.recording, self.result)
        elif self.state in RESTING:
            self.tell("There is nothing to save yet: press Space to record.", now)

    def _toggle_continuous(self, now):
        if self.state is State.CONTINUOUS:
            self._stop(now)
        elif self.state in RESTING and not self._can_answer():
            self.tell(NOTHING_KNOWN, now)
        elif self.state in RESTING:
            self.recording = self.result = self.taught = None
            self.steady = Steady(self.threshold)
            self._picker = Picker(now, self.seconds / self.num_frames, self._shown)
            self._recognition.begin(sliding=True)
            self._enter(State.CONTINUOUS, now)

    def _add(self, images):
        for image in images:
            self._recognition.add(image)

    def _drop_frozen(self, now):
        """Drops a recording in which the camera stood still."""
        if min(now, self.recording.end) - self._shown.seconds > FROZEN_SECONDS:
            self._stop(now)
            self.tell("The recording was dropped: the camera stood still.", now)

    def _pass_time(self, now):
        if self.state is State.RECORDING:
            self._drop_frozen(now)
        if self.state is State.COUNTDOWN and now >= self.since + COUNTDOWN_SECONDS:
            self._record(self.since + COUNTDOWN_SECONDS)
        if self.state is State.RECORDING and now >= self.recording.end:
            self._add(self.recording.advance(self.recording.end))
            self._end_recording(self.recording.end)
        if self.state is State.REPLAY and now >= self.since + self.seconds:
            self._enter(State.ANSWER, now)

    def _end_recording(self, now):
        if not self.taught:
            self._recognition.finish()
            self._enter(State.THINKING, now)
            return
        self._recognition.cancel()
        self._enter(State.REVIEW, now)
        if not self.recording.has_motion:
            self.tell(NO_MOTION, now)

    def _record(self, start):
        self.result = self._saved = None
        self.recording = Recording(
            start, self.seconds, self.num_frames, self._shown, self._keep_video
        )
        self._recognition.begin()
        self._enter(State.RECORDING, start)
