"""videocapture.py: which clip comes next, where it goes, and what is refused."""

import types

import numpy as np
import pytest

import videocapture
from common import dataset as data
from common import disk
from common.class_list import Sign, write_class_file
from common.video import read_clip
from live.camera import Shot
from live.capture import COUNTDOWN_SECONDS, Capture, ClipFolder, State
from live.picture import network_box
from live.recording import Recording
from live.state import ESCAPE
from tests.helpers import numbered_frames, numbers_of, run_script

SECONDS = 2.0


@pytest.fixture
def capture():
    kept = []
    capture = Capture(["hello", "thanks"], 2, SECONDS, lambda sign, clip: kept.append(sign))
    capture.kept = kept
    capture.frame(Shot(0.0, np.zeros((48, 64, 3), np.uint8)))
    return capture


def record(capture, start):
    """Presses Space and plays on until the clip is shown again; returns the time then."""
    capture.key(" ", start)
    end = start + COUNTDOWN_SECONDS + SECONDS
    for seconds in np.arange(start, end, 0.1):
        capture.frame(Shot(seconds, np.zeros((48, 64, 3), np.uint8)))
    capture.tick(end)
    assert capture.state is State.REVIEW
    return end


def test_clips_of_one_sign_after_the_other_are_kept(capture):
    now, asked = 1.0, []
    while capture.state is not State.DONE:
        asked.append((capture.sign, capture.number))
        now = record(capture, now)
        capture.key("k", now)
        assert capture.state is State.SAVING
        capture.saved(now)
    assert asked == [("hello", 1), ("hello", 2), ("thanks", 1), ("thanks", 2)]
    assert capture.kept == ["hello", "hello", "thanks", "thanks"]


def test_a_clip_that_is_recorded_anew_is_not_kept(capture):
    now = record(capture, 1.0)
    capture.key("r", now)
    assert capture.state is State.COUNTDOWN and capture.number == 1
    assert not capture.kept


def test_a_clip_that_could_not_be_saved_can_be_kept_again(capture):
    now = record(capture, 1.0)
    capture.key(" ", now)
    capture.not_saved(now)
    capture.key(" ", now)
    assert capture.kept == ["hello", "hello"] and capture.num_kept == 0


@pytest.mark.parametrize("seconds", [1.0, 4.0])
def test_a_lost_camera_drops_what_was_begun(capture, seconds):
    capture.key(" ", 1.0)
    capture.tick(1.0 + seconds)
    capture.lost(1.0 + seconds)
    assert capture.state is State.READY and capture.number == 1


@pytest.mark.parametrize("seconds", [1.0, 4.0])
def test_escape_drops_what_was_begun_and_nothing_else(capture, seconds):
    capture.key(" ", 1.0)
    capture.tick(1.0 + seconds)
    capture.key(ESCAPE, 1.0 + seconds)
    assert capture.state is State.READY and capture.number == 1
    now = record(capture, 10.0)
    capture.key(ESCAPE, now)
    assert capture.state is State.REVIEW


def test_the_box_is_around_what_networks_see_but_not_in_the_recorded_clip(capture):
    camera = types.SimpleNamespace(fps=30.0, problem=None)
    shot = Shot(0.0, np.zeros((48, 64, 3), np.uint8))
    box = videocapture.view_of(capture, camera, shot, 0.0).box
    assert box == network_box(shot.image.shape, (70, 92), (56, 56))
    now = record(capture, 1.0)
    assert videocapture.view_of(capture, camera, shot, now).box is None


def test_nothing_is_recorded_before_the_camera_shows_something():
    capture = Capture(["hello"], 1, SECONDS, None)
    capture.key(" ", 0.0)
    assert capture.state is State.READY


def recording(num_frames=20):
    clip = Recording(0.0, SECONDS, 8)
    for number, image in enumerate(numbered_frames(num_frames)):
        clip.add(Shot(number * SECONDS / num_frames, image))
    clip.advance(SECONDS)
    return clip


@pytest.mark.parametrize("suffix", [".avi", ".mp4"])
def test_kept_clips_are_a_data_set_numbered_on(tmp_path, suffix):
    dataset = data.Dataset("my_signs", "laptop", tmp_path)
    folder = ClipFolder(dataset, suffix)
    for expected in ("0001", "0002"):
        assert folder.save("hello", recording()).stem == expected
    (dataset.video_dir / "train" / "hello" / "0041.mkv").write_bytes(b"x")
    assert folder.save("hello", recording()).stem == "0042"
    names = [clip.name for clip in dataset.videos()]
    assert names == ["0001", "0002", "0041", "0042"]
    assert not [path for path in dataset.video_dir.iterdir() if path.name != "train"]
    frames = read_clip(dataset.videos()[0].path, 20, 64, 64)
    assert numbers_of(frames) == list(range(20))


def test_a_clip_that_cannot_be_written_whole_is_not_there(tmp_path, monkeypatch):
    dataset = data.Dataset("my_signs", "laptop", tmp_path)

    def die(self, path):
        path.write_bytes(b"half a clip")
        raise KeyboardInterrupt

    monkeypatch.setattr(Recording, "write_video", die)
    with pytest.raises(KeyboardInterrupt):
        ClipFolder(dataset, ".avi").save("hello", recording())
    assert not list(dataset.video_dir.rglob("*.avi"))


def test_a_new_sign_is_added_to_the_class_list(tmp_path):
    dataset = data.Dataset("my_signs", "laptop", tmp_path)
    dataset.video_dir.mkdir(parents=True)
    write_class_file(dataset.class_file, [Sign("hello", "Hello!", "greeting")])
    folder = ClipFolder(dataset, ".avi")
    for sign in ("hello", "thanks"):
        folder.save(sign, recording())
    assert [sign.name for sign in dataset.signs(["hello", "thanks"])] == ["Hello!", "thanks"]
    assert videocapture.signs_to_record(dataset, None) == ["hello", "thanks"]


@pytest.mark.parametrize("name", ["a/b", "..", "", " x", "a:b", "what?"])
def test_names_that_are_no_folders_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match="--sign becomes the name of a folder"):
        videocapture.signs_to_record(data.Dataset("my_signs", root=tmp_path), [name])


def test_two_at_once_do_not_record_into_one_data_set(tmp_path):
    dataset = data.Dataset("my_signs", "laptop", tmp_path)
    with disk.lock(dataset.video_dir / ".recording.lock", ""):
        with pytest.raises(ValueError, match="Another videocapture.py"):
            videocapture.record(dataset, ["hello"], 1, 0)


def test_wrong_arguments_are_told(tmp_path, monkeypatch):
    monkeypatch.setenv("DISPLAY", "")
    monkeypatch.delenv("QT_QPA_PLATFORM", raising=False)
    for arguments, message in (
        ([], "--dataset my_signs"),
        (["--dataset", "my_signs"], "--sign hello thanks"),
        (["--dataset", "../x", "--sign", "a"], "--dataset is the name of a folder"),
        (["--dataset", "x", "--sign", "a", "--camera", "nothing.avi"], "nothing.avi"),
    ):
        result = run_script("videocapture.py", *arguments, cwd=tmp_path, timeout=30)
        assert result.returncode and message in result.stderr
        assert "Traceback" not in result.stderr
    assert not list(tmp_path.iterdir())


def test_cameras_are_listed_or_said_to_be_missing(tmp_path):
    result = run_script("videocapture.py", "--list", cwd=tmp_path, timeout=60)
    if result.returncode:
        assert "No camera opens" in result.stderr
    else:
        assert "backend" in result.stdout
