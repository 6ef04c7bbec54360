"""livedemo.py with real networks and no window: answers, the sliding window, faults."""

import json
import shutil
import threading
import time

import numpy as np
import pytest

import livedemo
import predict
from common.class_list import Sign
from common.video import fit_frame, open_video, read_clip
from inference import run_folder
from live import recording, view
from live.camera import Camera
from live.picture import PictureWindow, network_box
from live.recognition import Recognition
from live.session import LiveSession
from live.state import State
from live.view import view_of
from live.window import Window
from tests.helpers import moving_square, run_script, write_video
from tests.live.test_camera import Device

SECONDS = 1.5  # of a recording, so that tests are short


@pytest.fixture(scope="module")
def run(trained_run, tmp_path_factory):
    """A trained run whose recordings are short."""
    folder = tmp_path_factory.mktemp("live") / "model" / "moves"
    shutil.copytree(trained_run, folder)
    content = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    content["preset"]["seconds"] = SECONDS
    (folder / "run.json").write_text(json.dumps(content), encoding="utf-8")
    return run_folder.Run.read(folder)


@pytest.fixture(scope="module")
def recognition(run):
    recognition = Recognition(run)
    while not recognition.is_ready:
        assert recognition.problem is None
        time.sleep(0.05)
    yield recognition
    recognition.close()


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    frames = moving_square(90, (0.3, 0), (96, 128))
    return write_video(tmp_path_factory.mktemp("clip") / "clip.avi", frames, fps=30)


def wait_for_result(recognition):
    end = time.monotonic() + 30
    while (result := recognition.poll()) is None:
        assert recognition.problem is None and time.monotonic() < end
        time.sleep(0.005)
    return result


def test_answer_while_frames_arrive_is_that_of_predict(run, recognition):
    frames = moving_square(8, (2, 0), (96, 128))
    recognition.begin()
    for image in frames:
        recognition.add(image)
    recognition.finish()
    result = wait_for_result(recognition)
    assert result.answer == predict.Recognizer(run.folder).predict(frames)
    assert len(recognition.flow_pictures) == 8 and result.frames_left <= 8
    assert recognition.flow_pictures[-1].shape == (*run.preset.frame_size, 3)


def test_it_is_ready_while_its_first_answer_is_warmed_up(run, monkeypatch):
    is_warm, first_answer = threading.Event(), predict.Recognizer.predict

    def wait(recognizer, frames):
        assert is_warm.wait(60)
        return first_answer(recognizer, frames)

    monkeypatch.setattr(predict.Recognizer, "predict", wait)
    recognition = Recognition(run)
    end = time.monotonic() + 60
    while not recognition.is_ready:
        assert recognition.problem is None and time.monotonic() < end
        time.sleep(0.005)
    assert not recognition.is_idle
    recognition.begin()
    for image in moving_square(8, (2, 0), (96, 128)):
        recognition.add(image)
    recognition.finish()
    time.sleep(0.1)
    assert recognition.poll() is None and recognition.frames_left == 8
    is_warm.set()
    assert wait_for_result(recognition).answer.ranking
    recognition.close()


def test_a_dropped_clip_gets_no_answer(recognition):
    for number_of_frames in (8, 3):
        recognition.begin()
        for image in moving_square(number_of_frames, (2, 0), (96, 128)):
            recognition.add(image)
        if number_of_frames == 8:
            recognition.finish()
    recognition.cancel()
    while not recognition.is_idle:
        time.sleep(0.01)
    assert recognition.poll() is None


def test_sliding_window_answers_as_predict_does_for_its_frames(run, recognition):
    frames = moving_square(30, (0.5, 0.2), (96, 128))
    recognizer = predict.Recognizer(run.folder)
    recognition.begin(sliding=True)
    answered = {}
    for number, image in enumerate(frames, start=1):
        recognition.add(image)
        while not recognition.is_idle:
            time.sleep(0.001)
        if result := recognition.poll():
            answered[number] = result.answer
    # At most two a second: the step is 1.5 s / 8 frames, so every third frame.
    assert list(answered) == list(range(8, 31, 3))
    for number, answer in answered.items():
        expected = recognizer.predict(frames[number - 8 : number])
        assert answer.streams["rgb"] == pytest.approx(expected.streams["rgb"], abs=1e-5)
        assert answer.streams["flow"] == pytest.approx(expected.streams["flow"], abs=1e-5)
    assert recognition.answers_per_second > 0


def recording_of(clip):
    """Every frame of a video file."""
    with open_video(clip) as video:
        return [video.read()[1] for _ in range(90)]


def session(recognition, clip, results, **settings):
    camera = Camera(clip, unpaced=True)
    live = LiveSession(camera, recognition, None, lambda *what: results.append(what), **settings)
    live.demo._keep_video = True
    return live


@pytest.mark.parametrize("mirror", [False, True])
def test_saved_frames_give_predict_the_same_answer(
    run, recognition, clip, tmp_path, monkeypatch, mirror
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(recording, "RECORDING_DIR", tmp_path / "recording")
    results = []
    live = session(recognition, clip, results, mirror=mirror)
    while live.demo.state is not State.ANSWER:
        live.step()
        if live.demo.state is State.READY:
            live.press(" ")
    live.press("s")
    live._saver.shutdown()
    live.step()
    live.camera.close()
    (folder,) = (tmp_path / "recording").iterdir()
    assert "Saved to" in live.demo.notice(live.camera.now())
    frames = read_clip(folder / "frames", 8, *run.preset.frame_size)
    (_, result), *_ = results
    expected = predict.Recognizer(run.folder).predict(frames)
    for stream, scores in expected.streams.items():
        assert scores == pytest.approx(result.answer.streams[stream], abs=1e-5)
    assert [row[0] for row in expected.ranking] == [row[0] for row in result.answer.ranking]
    saved = json.loads((folder / "answer.json").read_text(encoding="utf-8"))
    assert saved["mirrored"] is mirror and saved["ranking"][0]["class"] == expected.ranking[0][0]
    step = -1 if mirror else 1
    seen = {image[:, ::step].tobytes() for image in recording_of(clip)}
    assert all(image.tobytes() in seen for image in live.demo.recording.picked)


def test_a_camera_held_upright_gets_an_answer(run, recognition, tmp_path):
    frames = moving_square(60, (0.2, 0), (128, 72))
    upright = write_video(tmp_path / "upright.avi", frames, fps=20)
    results = []
    live = session(recognition, upright, results)
    while live.demo.state is not State.ANSWER:
        live.step()
        if live.demo.state is State.READY:
            live.press(" ")
    live.camera.close()
    (_, result), *_ = results
    picked = live.demo.recording.picked
    assert all(image.shape == (128, 72, 3) for image in picked)
    height, width = run.preset.frame_size
    frames = np.stack([fit_frame(image, height, width) for image in picked])
    assert not frames[:, :, 0].any() and not frames[:, :, -1].any()  # black bars
    assert result.answer == predict.Recognizer(run.folder).predict(frames)


def test_black_pictures_are_called_so_until_there_is_light(recognition, tmp_path):
    frames = np.zeros((60, 48, 64, 3), np.uint8)
    frames[50:] = 200
    black = write_video(tmp_path / "black.avi", frames, fps=20)
    live = session(recognition, black, [])
    for _ in range(50):
        live.step()
    assert "black" in live.demo.notice(live.camera.now())
    for _ in range(5):
        live.step()
    assert live.demo.notice(live.camera.now()) is None
    live.camera.close()


def views_by_state(live, recognition, monkeypatch):
    """The last `View` of each state, from READY to a replay."""
    views, poll = {}, recognition.poll
    # An answer that is there in the same step would leave nothing to see of the thinking.
    monkeypatch.setattr(recognition, "poll", lambda: poll() if State.THINKING in views else None)
    keys = {State.READY: " ", State.ANSWER: "r"}
    while State.REPLAY not in views:
        live.step()
        while not recognition.is_idle:
            time.sleep(0.001)
        state, now = live.demo.state, live.camera.now()
        views[state] = view_of(live.demo, recognition, live.camera, live.shot, now, False)
        if live.shot and state in keys:
            live.press(keys[state])
    live.camera.close()
    return views


@pytest.mark.parametrize("size", [(96, 128), (90, 160), (128, 72)])
def test_nothing_moves_when_a_recording_begins_or_is_replayed(
    recognition, tmp_path, monkeypatch, size
):
    frames = moving_square(90, (0.3, 0), size)
    source = write_video(tmp_path / "clip.avi", frames, fps=30)
    views = views_by_state(session(recognition, source, []), recognition, monkeypatch)
    before = views[State.READY]
    for state in (State.COUNTDOWN, State.RECORDING, State.THINKING, State.ANSWER, State.REPLAY):
        assert views[state].is_split and views[state].box == before.box, state
        assert views[state].camera.shape == before.camera.shape, state
    for state in (State.READY, State.COUNTDOWN):
        assert views[state].beside is None and "while recording" in views[state].caption
    for state in (State.RECORDING, State.ANSWER, State.REPLAY):
        height, width = views[state].beside.shape[:2]
        assert views[state].caption == "optical flow"
        shape = before.camera.shape
        assert width / height == pytest.approx(shape[1] / shape[0], rel=0.03)


def test_the_window_gets_a_picture_of_its_size(recognition, clip, monkeypatch):
    class LargeWindow(PictureWindow):
        scale, is_closed = 2.0, False

        def __init__(self):
            """Without a display."""

        def key(self):
            return None

    shown = []
    monkeypatch.setattr(Window, "show", lambda self, canvas: shown.append(canvas))
    window = LargeWindow()
    live = LiveSession(Camera(clip, unpaced=True), recognition, window, print)
    live.step()
    live.camera.close()
    assert shown[0].shape == (960, 1280, 3)


@pytest.mark.parametrize("categories, is_told", [("toy toy", True), ("toy greeting", False)])
def test_drawn_signers_are_told_of_beside_every_answer(
    recognition, clip, monkeypatch, categories, is_told
):
    signs = [Sign(f"{word}{i}", word, word) for i, word in enumerate(categories.split())]
    monkeypatch.setattr(recognition.run, "signs", signs)
    views = views_by_state(session(recognition, clip, []), recognition, monkeypatch)
    for state in (State.READY, State.ANSWER, State.REPLAY):
        assert ("drawn signers" in views[state].note) is is_told
    assert ("drawn signers" in views[State.READY].message) is is_told


@pytest.mark.parametrize("num_frames", [90, 20])
@pytest.mark.parametrize("top, is_told", [(44, False), (0, True)])
def test_motion_outside_the_box_is_told_in_recording_and_answer(
    recognition, tmp_path, monkeypatch, top, is_told, num_frames
):
    """A square in the middle, or along the upper edge; of a file that may begin again."""
    frames = np.full((num_frames, 96, 128, 3), 40, np.uint8)
    for number, image in enumerate(frames):
        left = 50 + round(20 * np.sin(number / 4))
        image[top : top + 8, left : left + 30] = 220
    preset = recognition.run.preset
    assert network_box((96, 128), preset.frame_size, preset.input_size)[0] * 96 > 8
    source = write_video(tmp_path / "clip.avi", frames, fps=30)
    views = views_by_state(session(recognition, source, []), recognition, monkeypatch)
    for state in (State.RECORDING, State.ANSWER):
        assert ("outside the box" in views[state].message) is is_told, state
    assert ("began again" in views[State.RECORDING].message) is (num_frames == 20)


def test_a_sign_is_named_by_its_label_where_fonts_lack_its_name(monkeypatch):
    monkeypatch.setattr(view, "can_write", str.isascii)
    korean = "\uc548\ub155"
    assert view.shown_name("hello", korean) == "hello"
    assert view.shown_name("hello", "Hello!") == "Hello!"
    assert view.shown_name(korean, korean) == korean  # which is spelled out


@pytest.mark.parametrize("num_frames, is_told", [(20, True), (60, False)])
def test_a_file_that_ends_in_the_middle_of_a_recording_is_told(
    recognition, tmp_path, num_frames, is_told
):
    """60 frames end when the countdown does, just before the recording begins."""
    frames = moving_square(num_frames, (0.3, 0), (48, 64))
    short = write_video(tmp_path / "short.avi", frames, fps=20)
    live = session(recognition, short, [])
    notices = set()
    while live.demo.state not in (State.THINKING, State.ANSWER):
        live.step()
        if live.demo.state is State.READY:
            live.press(" ")
        notices.add(live.demo.notice(live.camera.now()))
    assert ("short.avi ended in the middle and began again." in notices) is is_told
    live.camera.close()


def test_a_full_disk_while_saving_is_a_message(recognition, clip, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recording").write_text("a file where a folder should be")
    results = []
    live = session(recognition, clip, results)
    while not results:
        live.step()
        if live.demo.state is State.READY:
            live.press(" ")
    live.press("s")
    live._saver.shutdown()
    live.step()
    assert live.demo.notice(live.camera.now()).startswith("Not saved: ")
    live.camera.close()


def test_headless_recordings_go_on_until_there_are_enough(run, clip, capsys):
    results = []
    livedemo.run_headless(
        run, clip, "auto", lambda kind, result: results.append(kind), unpaced=True, wanted=5
    )
    assert results == ["clip"] * 5
    time.sleep(0.2)
    names = [thread.name for thread in threading.enumerate()]
    assert clip.name not in names
    assert capsys.readouterr().err.count("countdown ...") == 5


def test_a_file_is_watched_by_the_sliding_window_to_its_end(run, tmp_path, capsys, monkeypatch):
    path = write_video(tmp_path / "long.avi", moving_square(150, (0.3, 0), (96, 128)), fps=20)
    short = write_video(tmp_path / "short.avi", moving_square(10, (0.3, 0), (96, 128)), fps=20)
    announced = []
    for source in (path, short):
        livedemo.run_headless(
            *(run, source, "auto", lambda *what: announced.append(what)),
            unpaced=True,
            is_continuous=True,
            threshold=0.0,
        )
    assert announced and all(kind == "continuous" for kind, _ in announced)
    errors = capsys.readouterr().err
    assert "engine: openvino" in errors and "No sign was steady in short.avi" in errors
    assert "No sign was steady in long.avi" not in errors


def test_a_network_that_fails_ends_a_headless_demo(run, clip, monkeypatch):
    def fail(self):
        raise ValueError("no memory left")

    monkeypatch.setattr(predict.ClipStream, "copy", fail)
    with pytest.raises(ValueError, match="The network cannot be used: no memory left"):
        livedemo.run_headless(run, clip, "auto", print, unpaced=True, wanted=1)


def test_a_sliding_window_never_falls_behind_for_good(run, recognition, monkeypatch):
    add = predict.ClipStream.add

    def add_slowly(self, image):
        time.sleep(0.02)
        add(self, image)

    monkeypatch.setattr(predict.ClipStream, "add", add_slowly)
    recognition.begin(sliding=True)
    behind = 0
    for image in moving_square(100, (0.5, 0), (96, 128)):
        recognition.add(image)
        behind = max(behind, recognition.frames_left)
    assert behind <= run.preset.num_frames
    recognition.cancel()
    while not recognition.is_idle:
        time.sleep(0.01)


def test_a_camera_unplugged_in_the_middle_drops_the_recording_and_comes_back(recognition):
    device = Device("p" * 9999, "p" * 9999)
    results = []
    camera = Camera(0, open_source=device.open)
    live = LiveSession(camera, recognition, None, lambda *what: results.append(what))
    live.demo.seconds = SECONDS
    states, notices = [], []
    end = time.monotonic() + 40
    while not results:
        assert time.monotonic() < end
        live.step()
        if live.demo.state is State.READY:
            live.press(" ")
        if live.demo.state is State.RECORDING and State.LOST not in states:
            device.script = "x" * 999
        states += [live.demo.state] if states[-1:] != [live.demo.state] else []
        notices.append(live.demo.notice(camera.now()))
    assert State.LOST in states and states[-1] is State.ANSWER
    assert any("dropped" in notice for notice in notices if notice)
    live.close()


def test_headless_file_is_one_clip_in_one_line(run, clip):
    result = run_script(
        *("livedemo.py", "--headless", "--camera", clip, "--json", "--model", run.folder),
        cwd=clip.parent,
        check=0,
    )
    (line,) = result.stdout.splitlines()
    answer = json.loads(line)
    frames = read_clip(clip, 8, *run.preset.frame_size)
    expected = predict.Recognizer(run.folder).predict(frames)
    assert answer["kind"] == "clip" and answer["model"] == str(run.folder)
    assert [sign["class"] for sign in answer["ranking"]] == [row[0] for row in expected.ranking]
    assert answer["ranking"][0]["probability"] == pytest.approx(expected.ranking[0][2], abs=1e-5)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--headless", "--camera", "nothing.avi"], "nothing.avi"),
        (["--model", "model/nothing"], "No trained model in"),
        (["--threshold", "7"], "expected a number from 0 to 1, received 7"),
        (["--recordings", "2"], "--recordings goes with --headless"),
    ],
)
def test_wrong_arguments_are_told_in_the_first_seconds(run, arguments, message):
    result = run_script("livedemo.py", *arguments, cwd=run.folder.parent.parent, timeout=30)
    assert result.returncode and message in result.stderr and "Traceback" not in result.stderr


def test_without_a_model_the_command_that_makes_one_is_named(tmp_path):
    result = run_script("livedemo.py", cwd=tmp_path, check=1, timeout=30)
    assert "pipeline_i3d.py --dataset toysigns" in result.stderr


@pytest.mark.skipif("sys.platform != 'linux'", reason="displays are looked for on Linux only")
@pytest.mark.parametrize("display", ["", ":94", "nonsense"])
def test_without_a_display_what_was_typed_is_named_with_headless(run, clip, monkeypatch, display):
    monkeypatch.setenv("DISPLAY", display)
    monkeypatch.delenv("QT_QPA_PLATFORM", raising=False)
    typed = ("--camera", "a clip.avi", "--model", run.folder, "--threshold", "0.2")
    clip.with_name("a clip.avi").write_bytes(clip.read_bytes())
    result = run_script("livedemo.py", *typed, cwd=clip.parent, check=1, timeout=30)
    command = f"`python livedemo.py --camera 'a clip.avi' --model {run.folder} --threshold 0.2"
    assert f"{command} --headless`" in result.stderr and "Traceback" not in result.stderr
