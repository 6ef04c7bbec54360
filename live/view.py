"""From the live demo's state to what its window shows."""

import cv2
import numpy as np

from common.class_list import DRAWN
from live.picture import (
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    RED,
    SKY,
    SLATE,
    View,
    kept_part,
    network_box,
)
from live.state import COUNTDOWN_SECONDS, State
from live.window import can_write

NUM_ROWS = 3
KEYS = "Space: record   c: continuous   ?: help   q: quit"
KEYS_OF_ANSWER = "Space: again   r: replay   s: save   c: continuous   ?: help   q: quit"
KEYS_OF_TAUGHT = "Space: again   r: replay   s: save   t: teach   c: continuous   ?: help   q: quit"
KEYS_TO_TEACH = "Space: record   t: teach   u: take back   c: continuous   ?: help   q: quit"
KEYS_OF_LESSON = "Space: record   Esc: recognise   t: other sign   u: take back   ?: help   q: quit"
KEYS_OF_NAME = "Enter: go on   Esc: leave"
KEYS_OF_REVIEW = "Space: keep   r: record anew   Esc: drop it   q: quit"
KEYS_OF_STOP = "Esc: stop   ?: help   q: quit"
HELP = [
    ("Space", "count down, then record {seconds:.0f} seconds and name the sign"),
    ("r", "replay the recording with its optical flow"),
    ("s", "save recording, picked frames and answer"),
    ("c", "continuous: names signs as they come; c again ends it"),
    ("t, u", "with --dataset: teach a sign; take the last taught clip back"),
    ("Esc", "stop"),
    ("?", "this help; any key closes it"),
    ("q", "quit"),
    ("", ""),
    ("", "The picture is mirrored for you; the network gets what the camera saw, in the box."),
    ("", "In the flow, the colour is the direction of a motion, white is rest."),
]
DRAWN_SIGNERS = (
    "Trained on drawn signers, this model knows no others. Record your own signs: "
    "python videocapture.py --dataset my_signs --sign hello thanks"
)
DRAWN_SIGNERS_SHORT = "trained on drawn signers"
FLOW_LATER = "optical flow: while recording"
IN_THE_BOX = "Sign inside the box: the network sees no more."
MOTION_OUTSIDE = 0.25  # share of a recording's motion outside the box, from which on it is told
NONE_KNOWN = "Press t and show me a sign: each is known from one clip on."
NONE_OF_THESE = "none of these"
HEAD_OUTSIDE = "Your head is outside the box: step back, or to the middle."
OUTSIDE = "Much of the motion was outside the box: step back, or to the middle."


def view_of(demo, recognition, camera, shot, now, is_mirrored):
    """The `View` of a moment.

    Args:
        demo: `state.Demo`.
        recognition: `recognition.Recognition`.
        camera: `camera.Camera`.
        shot: the newest `Shot`, or None.
        now: seconds on the camera's clock.
        is_mirrored: whether the shots are mirrored already, for the network, too.
    """
    if demo.shows_help:
        lines = [(key, text.format(seconds=demo.seconds)) for key, text in HELP]
        return View("HELP", SLATE, lines=lines, keys="any key: back   q: quit")
    keys = KEYS_TO_TEACH if demo.teacher else KEYS
    view = View(keys=keys, corner=_corner(camera, recognition))
    if shot:
        _put_camera(view, shot.image, recognition.run.preset, is_mirrored)
        view.live_part = middle(view.camera.shape, shot.image.shape)
    if demo.taught:
        view.note = f"teaching: {demo.taught}"
    elif knows_drawn_signers(recognition.run):
        view.note = DRAWN_SIGNERS_SHORT
    _SHOW[demo.state](view, demo, recognition, now, is_mirrored)
    if demo.state is State.LOST:
        view.lines = [("", camera.problem or "The camera is being opened again.")]
    if notice := demo.notice(now):
        # Where to stand is said beside whatever else is to be said.
        hint = next((hint for hint in (OUTSIDE, HEAD_OUTSIDE) if hint in view.message), "")
        view.message = f"{hint} {notice}".lstrip()
    return view


def for_the_eye(image, is_mirrored):
    """A picture as in a mirror."""
    return image if is_mirrored else cv2.flip(image, 1)


def middle(shape, of_shape):
    """(top, left, height, width) of the middle of a picture, in shares of the whole."""
    shares = [shape[axis] / of_shape[axis] for axis in (0, 1)]
    return (1 - shares[0]) / 2, (1 - shares[1]) / 2, *shares


def knows_drawn_signers(run):
    """Whether a model was trained on drawn signers alone."""
    return bool(run.signs) and all(sign.category == DRAWN for sign in run.signs)


def shown_name(label, name):
    """A sign's name, or its label where fonts have letters for that alone."""
    return label if can_write(label) and not can_write(name) else name


def _corner(camera, recognition):
    fps = f"{camera.fps:.0f} fps"
    return f"{recognition.engine}   {fps}" if recognition.engine else fps


def _show_loading(view, demo, recognition, now, is_mirrored):
    view.heading = "STARTING: opening the networks ..."
    view.message = "The first start prepares the model for this machine and takes longer."
    if demo.teacher:
        view.heading = "STARTING: looking at the clips ..."
        view.message = "Clips that are new since the last start take a moment each."
    view.keys = "?: help   q: quit"


def _show_ready(view, demo, recognition, now, is_mirrored):
    view.heading, view.color = "READY: press Space", GREEN
    view.rows = [] if demo.teacher else [(IN_THE_BOX, None, False)]
    if demo.taught:
        view.heading = f"READY: press Space, then show {demo.taught}"
        view.keys = KEYS_OF_LESSON
    elif demo.teacher:
        names = [shown_name(sign.label, sign.name) for sign in recognition.run.signs]
        view.message = f"Known: {', '.join(names)}. t: teach another sign." if names else NONE_KNOWN
        view.heading = view.heading if names else "READY: press t"
    elif knows_drawn_signers(recognition.run):
        view.message = DRAWN_SIGNERS
    view.message = _head_hint(demo) or view.message


def _show_countdown(view, demo, recognition, now, is_mirrored):
    left = COUNTDOWN_SECONDS - demo.seconds_in_state(now)
    view.heading, view.color = f"GET READY{f': {demo.taught}' if demo.taught else ''}", ORANGE
    view.rows = [] if demo.teacher else [(IN_THE_BOX, None, False)]
    view.big = f"{max(1, int(np.ceil(left)))}"
    view.message = _head_hint(demo)
    view.keys = KEYS_OF_STOP


def _show_naming(view, demo, recognition, now, is_mirrored):
    view.heading, view.color = "WHICH SIGN? Type its name", ORANGE
    view.rows, view.typed = [(f"{demo.typed}_", None, True)], demo.typed
    view.message = "It becomes the name of a folder with its clips."
    view.keys = KEYS_OF_NAME


def _show_review(view, demo, recognition, now, is_mirrored):
    number = demo.replayed_frame(now)
    view.heading, view.color = f"KEEP IT? {demo.taught}", BLUE
    view.message = "This is what was recorded."
    _put_camera(view, demo.recording.picked[number], recognition.run.preset, is_mirrored)
    _put_flow(view, recognition.flow_pictures, number, is_mirrored)
    view.keys = KEYS_OF_REVIEW


def _show_learning(view, demo, recognition, now, is_mirrored):
    view.heading, view.color = f"LEARNING: {demo.taught} ...", BLUE
    view.keys = "q: quit"


def _show_recording(view, demo, recognition, now, is_mirrored):
    left = max(0.0, demo.seconds - demo.seconds_in_state(now))
    view.heading, view.color = "RECORDING: sign now", RED
    view.bar, view.bar_text = left / demo.seconds, f"{left:.1f} s left"
    view.message = _motion_hint(demo, recognition) or _head_hint(demo)
    _put_flow(view, recognition.flow_pictures, -1, is_mirrored)
    view.keys = KEYS_OF_STOP


def _show_thinking(view, demo, recognition, now, is_mirrored):
    view.heading, view.color = "THINKING ...", BLUE
    view.bar, view.bar_text = 1.0, "recorded; the network is at work"
    _put_flow(view, recognition.flow_pictures, -1, is_mirrored)
    view.keys = "q: quit"


def _show_answer(view, demo, recognition, now, is_mirrored):
    view.color = SKY
    view.keys = KEYS_OF_TAUGHT if demo.teacher else KEYS_OF_ANSWER
    answer = demo.result.answer
    sure = demo.is_sure(answer)
    view.rows = [
        (shown_name(label, name), probability, sure and number == 0)
        for number, (label, name, probability) in enumerate(answer.ranking[:NUM_ROWS])
    ]
    view.heading = f"ANSWER: {view.rows[0][0]}" if sure else "ANSWER: not sure"
    view.message = f"{demo.result.seconds:.2f} s after the recording"
    if answer.is_unknown:
        view.heading = f"ANSWER: {NONE_OF_THESE}"
        view.rows = [(NONE_OF_THESE, answer.unknown, True), *view.rows[: NUM_ROWS - 1]]
    elif not sure:
        view.message += f"; every sign is below {100 * demo.threshold:.0f} %"
    view.message += f". {_motion_hint(demo, recognition)}"
    _put_flow(view, recognition.flow_pictures, demo.replayed_frame(now), is_mirrored)


def _show_replay(view, demo, recognition, now, is_mirrored):
    _show_answer(view, demo, recognition, now, is_mirrored)
    number = demo.replayed_frame(now)
    view.heading = f"REPLAY: frame {number + 1} of {demo.num_frames}"
    _put_camera(view, demo.recording.picked[number], recognition.run.preset, is_mirrored)


def _show_continuous(view, demo, recognition, now, is_mirrored):
    view.heading, view.color = "CONTINUOUS: sign at any time", BLUE
    view.keys = "c: stop   ?: help   q: quit"
    _put_flow(view, recognition.flow_pictures, -1, is_mirrored)
    filled = demo.seconds_in_state(now) / demo.seconds
    if filled < 1:
        view.bar, view.bar_text = filled, f"the first {demo.seconds:.0f} seconds ..."
    elif demo.steady.sign:
        label, name, probability = demo.steady.sign
        view.rows = [(shown_name(label, name), probability, True)]
    else:
        view.rows = [("no sign, or not sure", None, False)]
    if rate := recognition.answers_per_second:
        view.message = f"{rate:.1f} answers a second"


def _show_lost(view, demo, recognition, now, is_mirrored):
    view.heading, view.color = "NO CAMERA", PURPLE
    view.keys = "?: help   q: quit"


def _show_failed(view, demo, recognition, now, is_mirrored):
    view.heading, view.color, view.lines = "NO NETWORK", PURPLE, [("", recognition.problem)]
    view.keys = "q: quit"


def _put_camera(view, image, preset, is_mirrored):
    """As much of the camera as its flow will show, so that nothing moves when that comes."""
    image = kept_part(image, preset.frame_size)
    view.camera, view.live_part = for_the_eye(image, is_mirrored), None
    view.box = network_box(image.shape, preset.frame_size, preset.input_size)
    view.is_split, view.caption = True, view.caption or FLOW_LATER


def _put_flow(view, pictures, number, is_mirrored):
    """The flow beside the camera, mirrored like it; its colours stay those of the true motion."""
    if pictures and view.camera is not None:
        picture = kept_part(pictures[min(number, len(pictures) - 1)], view.camera.shape[:2])
        view.beside, view.caption = for_the_eye(picture, is_mirrored), "optical flow"


def _head_hint(demo):
    return HEAD_OUTSIDE if demo.is_head_outside else ""


def _motion_hint(demo, recognition):
    """What to do about motion that the network does not see, or ""."""
    if not demo.recording or not demo.recording.picked:
        return ""
    preset = recognition.run.preset
    shape = demo.recording.picked[0].shape
    box = network_box(shape, preset.frame_size, preset.input_size)
    return OUTSIDE if demo.recording.motion_outside(box) > MOTION_OUTSIDE else ""


_SHOW = {
    State.LOADING: _show_loading,
    State.READY: _show_ready,
    State.COUNTDOWN: _show_countdown,
    State.RECORDING: _show_recording,
    State.THINKING: _show_thinking,
    State.NAMING: _show_naming,
    State.REVIEW: _show_review,
    State.LEARNING: _show_learning,
    State.ANSWER: _show_answer,
    State.REPLAY: _show_replay,
    State.CONTINUOUS: _show_continuous,
    State.LOST: _show_lost,
    State.FAILED: _show_failed,
}
