"""Recording clips of one sign after the other: what comes next, and where a kept clip goes.

READY -Space-> COUNTDOWN -> RECORDING -> REVIEW -Space-> SAVING -> READY ... DONE
  -u-> the clip before
"""

import contextlib
import enum
import os

from common import class_list, disk
from common.command_line import FORBIDDEN
from live.recording import Recording
from live.state import COUNTDOWN_SECONDS, ESCAPE

FRAMES_SHOWN_AGAIN = 40


class State(enum.Enum):
    READY = "ready"
    COUNTDOWN = "countdown"
    RECORDING = "recording"
    REVIEW = "keep it?"
    SAVING = "saving"
    DONE = "done"


class Capture:
    """Which clip of which sign comes next; no window, camera or clock, as in `state.py`.

    Args:
        signs: names of the signs to record.
        num_clips: of each sign.
        seconds: of a clip.
        save: called with (sign, `Recording`) when a clip is kept.
        undo: called to delete the clip that was kept last; returns whether it is gone.
    """

    def __init__(self, signs, num_clips, seconds, save, undo=None):
        self.state, self.since = State.READY, 0.0
        self.num_kept = 0
        self.recording = None
        self.shows_help = False
        self.wants_quit = False
        self.signs, self.num_clips, self.seconds = signs, num_clips, seconds
        self._save, self._undo = save, undo
        self._shown = None

    @property
    def num_wanted(self):
        """Number of clips of all signs."""
        return len(self.signs) * self.num_clips

    @property
    def sign(self):
        return self.signs[min(self.num_kept // self.num_clips, len(self.signs) - 1)]

    @property
    def number(self):
        """Of the clip to record, from 1 on."""
        return self.num_kept % self.num_clips + 1

    def key(self, key, now):
        if self.shows_help:
            self.shows_help = False
            self.wants_quit = key == "q"
        elif key in ("q", "?"):
            self.wants_quit, self.shows_help = key == "q", key == "?"
        elif self.state is State.REVIEW and key in (" ", "k"):
            self._save(self.sign, self.recording)
            self._enter(State.SAVING, now)
        elif self.state is State.REVIEW and key == "r":
            self._enter(State.COUNTDOWN, now)
        elif self.state is State.READY and key == " " and self._shown:
            self._enter(State.COUNTDOWN, now)
        elif self.state is State.READY and key == "u":
            self.num_kept -= self._undo()
        elif key == ESCAPE:
            self._stop(now)

    def saved(self, now):
        """The clip that was kept is on disk."""
        self.num_kept += 1
        is_last = self.num_kept == self.num_wanted
        self._enter(State.DONE if is_last else State.READY, now)

    def not_saved(self, now):
        """The clip that was kept could not be written: it can be kept again."""
        self._enter(State.REVIEW, now)

    def frame(self, shot):
        """The camera delivered a `Shot`."""
        self.tick(shot.seconds)
        if self.state is State.RECORDING:
            self.recording.add(shot)
        self._shown = shot

    def tick(self, now):
        if self.state is State.COUNTDOWN and now >= self.since + COUNTDOWN_SECONDS:
            start = self.since + COUNTDOWN_SECONDS
            self.recording = Recording(start, self.seconds, FRAMES_SHOWN_AGAIN, self._shown)
            self._enter(State.RECORDING, start)
        if self.state is State.RECORDING and now >= self.recording.end:
            self.recording.advance(now)
            self._enter(State.REVIEW, self.recording.end)

    def lost(self, now):
        """The camera delivers nothing: a recording that has begun is dropped; returns whether."""
        return self._stop(now)

    def _stop(self, now):
        is_dropped = self.state in (State.COUNTDOWN, State.RECORDING)
        if is_dropped:
            self._enter(State.READY, now)
        return is_dropped

    def _enter(self, state, now):
        self.state, self.since = state, now


def check_sign_name(name):
    """Raises ValueError where a sign's name cannot be that of a folder on every system."""
    is_odd = name.strip(" .") != name or not name or not name.isprintable()
    if is_odd or set(name) & set(FORBIDDEN):
        raise ValueError(
            f"The name of a sign becomes that of a folder, without {FORBIDDEN} and "
            f"without a dot or space at its ends. Received: {name!r}"
        )


class ClipFolder:
    """Writes clips of signs into a data set, each whole or not at all, numbered on.

    Args:
        dataset: `dataset.Dataset`.
        suffix: a key of `live.recording.FOURCC`.
    """

    def __init__(self, dataset, suffix):
        self._dataset, self._suffix = dataset, suffix

    def lock(self):
        """A lock: nobody else records into the data set meanwhile.

        Raises:
            ValueError: somebody does.
        """
        folder = self._dataset.video_dir
        busy = f"Another videocapture.py or livedemo.py records into {folder}. Quit it first."
        # Beside the data set: there is none before a clip was kept.
        return disk.lock(folder.with_name(f".{folder.name}.recording.lock"), busy, remove=True)

    def save(self, sign, recording):
        """Writes the next clip of a sign; returns its path.

        Raises:
            OSError: the disk is full, or may not be written to.
            ValueError: class.csv is malformed.
        """
        root = self._dataset.video_dir
        folder = root / "train" / sign
        with disk.partial_dir(root) as partial:
            clip = partial / f"clip{self._suffix}"
            recording.write_video(clip)
            folder.mkdir(parents=True, exist_ok=True)
            self._list(sign)
            target = folder / f"{self.next_number(folder):04d}{self._suffix}"
            os.rename(clip, target)
        return target

    @staticmethod
    def remove(path):
        """Deletes a clip, and the folder of its sign with the last one; class.csv stays."""
        path.unlink()
        with contextlib.suppress(OSError):
            path.parent.rmdir()

    @staticmethod
    def next_number(folder):
        """One more than the highest number that a file of any kind has there."""
        numbers = [int(path.stem) for path in folder.iterdir() if path.stem.isdecimal()]
        return max(numbers, default=0) + 1

    def _list(self, sign):
        """Adds a sign to class.csv, where there is one without it."""
        path = self._dataset.class_file
        listed = class_list.read_class_file(path) if path.is_file() else []
        if listed and sign not in [known.label for known in listed]:
            class_list.write_class_file(path, [*listed, class_list.Sign(sign, sign)])
