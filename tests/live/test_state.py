"""The live demo's states, driven by events and a clock of the test's own."""

import collections

import numpy as np
import pytest

from live.camera import Shot
from live.recognition import Result
from live.state import (
    COUNTDOWN_SECONDS,
    ESCAPE,
    FROZEN_SECONDS,
    NOTICE_SECONDS,
    STEADY_ANSWERS,
    Demo,
    State,
    Steady,
)
from predict import Answer
from tests.helpers import numbered_frames, numbers_of

SECONDS, NUM_FRAMES = 5.0, 8


class Work:
    """Takes down what the state asks of the networks."""

    def __init__(self):
        self.calls, self.frames = [], []

    def begin(self, sliding=False):
        self.calls.append("slide" if sliding else "begin")
        self.frames = []

    def add(self, image):
        self.frames.append(image)

    def finish(self):
        self.calls.append("finish")

    def cancel(self):
        self.calls.append("cancel")


class Stage:
    """A demo, what it was asked to save, and a camera of any rate on a clock of its own."""

    def __init__(self, fps=30.0):
        self.work, self.saved = Work(), []
        self.demo = Demo(self.work, SECONDS, NUM_FRAMES, lambda *what: self.saved.append(what))
        self.fps, self.now, self.number = fps, 0.0, 0
        self.images = numbered_frames(256)

    def run(self, until):
        """Delivers the frames until that second; frame n shows n and begins at n / fps."""
        while self.number / self.fps <= until:
            seconds = self.number / self.fps
            self.demo.frame(Shot(seconds, self.images[self.number % 256]))
            self.demo.tick(seconds)
            self.number += 1
        self.now = until
        self.demo.tick(until)
        return self.demo.state

    def press(self, key):
        self.demo.key(key, self.now)
        return self.demo.state

    def answer(self, probability=0.9):
        return self.demo.answered(Result(answer_of("hello", probability), 0.1, 0), self.now)


def answer_of(name, probability):
    return Answer([(f"c_{name}", name, probability), ("c_rest", "rest", 1 - probability)], {})


@pytest.fixture
def stage():
    stage = Stage()
    stage.run(1.0)
    stage.demo.loaded(1.0)
    return stage


def record(stage):
    stage.press(" ")
    stage.run(stage.now + COUNTDOWN_SECONDS + SECONDS + 0.01)


def test_space_counts_down_records_thinks_and_answers(stage):
    assert stage.demo.state is State.READY
    assert stage.press(" ") is State.COUNTDOWN
    assert stage.run(3.99) is State.COUNTDOWN
    assert stage.run(4.01) is State.RECORDING
    assert stage.run(8.99) is State.RECORDING
    assert stage.run(9.01) is State.THINKING
    assert stage.work.calls == ["begin", "finish"] and len(stage.work.frames) == NUM_FRAMES
    assert stage.answer() and stage.demo.state is State.ANSWER
    assert stage.demo.result.answer.ranking[0][1] == "hello"


@pytest.mark.parametrize("fps", [7.0, 15.0, 30.0, 100.0])
def test_any_frame_rate_gives_the_same_moments(fps):
    stage = Stage(fps)
    stage.run(0.0)
    stage.demo.loaded(0.0)
    record(stage)
    moments = COUNTDOWN_SECONDS + np.arange(NUM_FRAMES) * SECONDS / NUM_FRAMES
    shown = np.floor(moments * fps + 1e-9).astype(int) % 256
    assert numbers_of(np.stack(stage.work.frames)) == shown.tolist()


def test_frames_reach_the_flow_while_recording(stage):
    stage.press(" ")
    stage.run(1.0 + COUNTDOWN_SECONDS + SECONDS * (NUM_FRAMES - 1) / NUM_FRAMES + 0.01)
    assert stage.demo.state is State.RECORDING
    assert len(stage.work.frames) == NUM_FRAMES


def test_no_recording_before_the_networks_are_open_or_without_a_picture():
    stage = Stage()
    stage.demo.key(" ", 0.0)
    assert stage.demo.state is State.LOADING and "networks" in stage.demo.notice(0.0)
    stage.demo.loaded(0.0)
    assert stage.demo.notice(0.0) is None
    assert stage.press(" ") is State.READY and "picture" in stage.demo.notice(0.0)
    stage.run(0.1)
    assert stage.press(" ") is State.COUNTDOWN


@pytest.mark.parametrize("seconds", [0.5, 4.0])
def test_escape_stops_what_goes_on(stage, seconds):
    stage.press(" ")
    stage.run(stage.now + seconds)
    assert stage.press(ESCAPE) is State.READY
    assert stage.run(30.0) is State.READY and "finish" not in stage.work.calls


def test_replay_shows_every_picked_frame_and_ends(stage):
    record(stage)
    stage.answer()
    assert stage.press("r") is State.REPLAY
    times = stage.now + (np.arange(NUM_FRAMES) + 0.5) * SECONDS / NUM_FRAMES
    assert [stage.demo.replayed_frame(now) for now in times] == list(range(NUM_FRAMES))
    assert stage.run(stage.now + SECONDS + 0.1) is State.ANSWER


def test_only_an_answer_can_be_replayed_and_saved(stage):
    for key in "rs":
        assert stage.press(key) is State.READY
        assert "nothing" in stage.demo.notice(stage.now)
    record(stage)
    assert stage.press("s") is State.THINKING and not stage.saved
    stage.answer()
    stage.press("s")
    (recording, result), *_ = stage.saved
    assert len(recording.picked) == NUM_FRAMES and result is stage.demo.result


def test_a_recording_is_saved_once_and_again_where_that_failed(stage):
    record(stage)
    stage.answer()
    stage.press("s")
    stage.demo.tell("Not saved: the disk is full", stage.now)
    stage.press("s")
    assert len(stage.saved) == 2
    stage.demo.saved("recording/1", stage.now)
    stage.press("s")
    assert len(stage.saved) == 2 and stage.demo.notice(stage.now) == "Saved to recording/1"


def test_what_is_saved_late_is_not_the_next_recording(stage):
    record(stage)
    stage.answer()
    stage.press("s")
    record(stage)
    stage.demo.saved("recording/1", stage.now)
    stage.answer()
    stage.press("s")
    assert len(stage.saved) == 2


def test_a_camera_lost_in_the_middle_drops_the_recording_and_comes_back(stage):
    stage.press(" ")
    stage.run(6.0)
    stage.demo.lost("unplugged", 9.0)
    assert stage.demo.state is State.LOST and "dropped" in stage.demo.notice(9.0)
    stage.demo.lost("unplugged", 9.5)
    assert stage.demo.recording is None and stage.work.calls == ["begin", "cancel"]
    stage.number = 300
    assert stage.run(10.0) is State.READY and "back" in stage.demo.notice(10.0)
    record(stage)
    assert stage.demo.state is State.THINKING and len(stage.work.frames) == NUM_FRAMES


@pytest.mark.parametrize("gap", [FROZEN_SECONDS - 0.3, FROZEN_SECONDS + 0.3])
def test_a_recording_in_which_the_camera_stood_still_is_dropped(stage, gap):
    stage.press(" ")
    stage.run(6.0)
    assert stage.demo.state is State.RECORDING
    stage.demo.tick(6.0 + gap)
    stage.number = int((6.0 + gap) * stage.fps)
    stage.run(6.0 + gap + 0.1)
    is_kept = gap < FROZEN_SECONDS
    assert stage.demo.state is (State.RECORDING if is_kept else State.READY)
    assert is_kept or "stood still" in stage.demo.notice(stage.now)


def test_a_standing_problem_leaves_room_for_other_messages(stage):
    record(stage)
    stage.answer()
    stage.demo.lost("unplugged", stage.now)
    stage.demo.tell("Saved.", stage.now)
    stage.demo.lost("unplugged", stage.now + 0.1)
    assert stage.demo.notice(stage.now + 0.1) == "Saved."
    stage.run(stage.now + 1.0)
    stage.demo.lost("unplugged", stage.now)
    assert stage.demo.notice(stage.now) == "unplugged"


def test_a_lost_camera_takes_no_answer_away(stage):
    record(stage)
    stage.demo.lost("unplugged", stage.now)
    assert stage.demo.state is State.THINKING
    stage.answer()
    assert stage.demo.state is State.ANSWER
    assert stage.demo.notice(stage.now) == "unplugged"
    assert stage.demo.notice(stage.now + NOTICE_SECONDS) is None


def test_a_message_ends_where_it_is_true_no_more(stage):
    record(stage)
    stage.demo.lost("unplugged", stage.now)
    assert stage.demo.notice(stage.now) == "unplugged"
    stage.run(stage.now + 0.1)
    assert stage.demo.notice(stage.now) is None  # the camera is there again
    stage.demo.tell("Saved.", stage.now)
    stage.run(stage.now + 0.1)
    stage.demo.take_back("another message")
    assert stage.demo.notice(stage.now) == "Saved."


def test_a_message_about_no_picture_ends_with_the_first_one():
    stage = Stage()
    stage.demo.loaded(0.0)
    stage.press(" ")
    assert "not shown a picture" in stage.demo.notice(0.0)
    stage.run(0.1)
    assert stage.demo.notice(0.1) is None


def test_a_camera_that_is_lost_again_is_not_said_to_be_back(stage):
    stage.demo.lost("unplugged", stage.now)
    stage.run(stage.now + 0.1)
    assert "back" in stage.demo.notice(stage.now)
    stage.demo.lost("unplugged", stage.now)
    assert stage.demo.notice(stage.now) is None


@pytest.mark.parametrize("key", [" ", "c"])
def test_a_new_recording_begins_without_old_messages(stage, key):
    stage.press("r")
    assert "nothing to replay" in stage.demo.notice(stage.now)
    stage.press(key)
    assert stage.demo.notice(stage.now) is None


def test_an_answer_that_comes_too_late_is_ignored(stage):
    assert not stage.answer() and stage.demo.state is State.READY


def test_continuous_mode_feeds_evenly_and_announces_a_sign_once(stage):
    assert stage.press("c") is State.CONTINUOUS
    stage.run(1.0 + 2 * SECONDS)
    assert len(stage.work.frames) == 2 * NUM_FRAMES + 1
    announced = [stage.answer() for _ in range(STEADY_ANSWERS + 4)]
    assert announced == [False] * (STEADY_ANSWERS - 1) + [True] + [False] * 4
    assert stage.press("c") is State.READY and stage.work.calls[-1] == "cancel"


def test_steady_waits_for_agreement_and_forgets_in_pauses():
    steady = Steady(0.5)

    def told(*answers):
        return [steady.sign[1] for answer in answers if steady.update(answer_of(*answer))]

    hello, thanks, unsure = ("hello", 0.9), ("thanks", 0.8), ("hello", 0.3)
    nobody = ("no_gesture", 0.99)
    assert told(hello, thanks, hello, thanks) == []
    assert told(*[hello] * 5) == ["hello"]
    assert told(thanks, hello, hello, hello) == []  # one odd answer does not say it twice
    assert told(*[nobody] * 3) == [] and steady.sign is None
    assert told(*[hello] * 3) == ["hello"]
    assert told(*[unsure] * 3, *[thanks] * 3) == ["thanks"]


def test_help_hides_and_quits(stage):
    stage.press("?")
    assert stage.demo.shows_help and not stage.demo.wants_quit
    assert stage.press(" ") is State.READY and not stage.demo.shows_help
    stage.press("?")
    stage.press("q")
    assert stage.demo.wants_quit


def test_every_key_in_every_state_is_harmless(stage):
    keys = collections.deque([" ", "r", "s", "c", "?", ESCAPE, "x", "\r", ""])
    for _ in range(80):
        stage.press(keys[0])
        keys.rotate(1)
        stage.run(stage.now + 0.9)
        if stage.demo.state is State.THINKING:
            stage.answer()
    assert not stage.demo.wants_quit


def test_a_failed_network_is_a_state_of_its_own(stage):
    stage.demo.failed(2.0)
    assert stage.press(" ") is State.FAILED and stage.run(20.0) is State.FAILED
