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

    def undo():
        return bool(kept) and bool(kept.pop())

    capture = Capture(["hello", "thanks"], 2, SECONDS, lambda sign, clip: kept.append(sign), undo)
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


def keep(capture, now):
    """Records a clip and keeps it; returns the time then."""
    now = record(capture, now)
    capture.key(" ", now)
    capture.saved(now)
    return now


def test_the_clip_that_was_kept_last_can_be_taken_back(capture):
    now = 1.0
    for _ in range(3):
        now = keep(capture, now)
    assert (capture.sign, capture.number) == ("thanks", 2)
    for expected in (("thanks", 1), ("hello", 2), ("hello", 1), ("hello", 1)):
        capture.key("u", now)
        assert (capture.sign, capture.number) == expected
    assert capture.num_kept == 0 and capture.kept == []
    keep(capture, now)
    assert capture.kept == ["hello"]


def test_a_clip_is_taken_back_only_before_the_next_is_begun(capture):
    now = keep(capture, 1.0)
    capture.key(" ", now)
    capture.key("u", now)
    assert capture.state is State.COUNTDOWN and capture.num_kept == 1


def test_help_hides_and_quits(capture):
    capture.key("?", 1.0)
    assert capture.shows_help
    capture.key(" ", 1.0)
    assert not capture.shows_help and capture.state is State.READY
    capture.key("?", 1.0)
    capture.key("q", 1.0)
    assert capture.wants_quit


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


def test_the_window_counts_clips_of_the_sign_and_of_all(capture):
    camera = types.SimpleNamespace(fps=30.0, problem=None)
    shot = Shot(0.0, np.zeros((48, 64, 3), np.uint8))

    def note(now):
        return videocapture.view_of(capture, camera, shot, now).note

    assert note(0.0) == "clip 1 of 2 \u00b7 1 of 4 in all"
    now = keep(capture, keep(capture, 1.0))
    assert note(now) == "clip 1 of 2 \u00b7 3 of 4 in all"
    now = keep(capture, keep(capture, now))
    assert capture.state is State.DONE and "4 of 4 in all" in note(now)


def test_all_keys_are_in_the_help(capture):
    capture.key("?", 1.0)
    view = videocapture.view_of(capture, types.SimpleNamespace(fps=30.0), None, 1.0)
    keys = {key for key, _ in view.lines}
    assert {"Space", "r", "u", "Esc", "?", "q"} <= keys


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


def test_undo_deletes_this_sittings_clips_and_no_others(tmp_path, capsys):
    dataset = data.Dataset("my_signs", "laptop", tmp_path)
    folder = ClipFolder(dataset, ".avi")
    older = folder.save("hello", recording())
    camera = types.SimpleNamespace(now=lambda: 0.0)
    session = videocapture.Session(camera, None, folder, ["hello", "thanks"], 1, SECONDS)
    for sign in ("hello", "thanks"):
        session._save(sign, recording())
        session._saver.submit(int).result()  # comes after what is being saved
        session._check_saving(0.0)
    assert len(dataset.videos()) == 3
    assert [session._undo() for _ in range(3)] == [True, True, False]
    assert [clip.path for clip in dataset.videos()] == [older]
    assert not (dataset.video_dir / "train" / "thanks").exists()
    assert capsys.readouterr().out.count("Deleted") == 2


def test_a_clip_that_cannot_be_deleted_is_not_forgotten(tmp_path):
    dataset = data.Dataset("my_signs", "laptop", tmp_path)
    camera = types.SimpleNamespace(now=lambda: 0.0)
    folder = ClipFolder(dataset, ".avi")
    session = videocapture.Session(camera, None, folder, ["hello"], 2, SECONDS)
    session._kept = [tmp_path / "gone.avi"]
    assert not session._undo() and len(session._kept) == 1
    assert "Not deleted" in session._message


def test_what_comes_next_is_commands_that_can_be_typed(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dataset = data.Dataset("my signs", "laptop")
    folder = ClipFolder(dataset, ".avi")
    folder.save("hello", recording())
    videocapture.tell_next(dataset, 1)
    text = capsys.readouterr().out
    assert "at least 2 signs, of about 10 clips each; so far there is hello" in text
    assert text.splitlines()[1] == "  python livedemo.py --dataset 'my signs' --camera 1"
    assert text.splitlines()[3:] == [
        "Next, for many clips or many people:",
        "  python videocapture.py --dataset 'my signs' --sign ANOTHER_SIGN --clips 10 --camera 1",
        "  python pipeline_i3d.py --dataset 'my signs' --preset laptop",
        "  python livedemo.py --model 'model/my signs-laptop-i3d-seed0' --camera 1",
    ]
    folder.save("thanks", recording())
    trained = tmp_path / "model" / "my signs-laptop-i3d-seed0" / "run.json"
    trained.parent.mkdir(parents=True)
    trained.touch()
    videocapture.tell_next(dataset, 0)
    assert capsys.readouterr().out.splitlines() == [
        "They are known at once, without training:",
        "  python livedemo.py --dataset 'my signs'",
        "Next, for many clips or many people:",
        "  python pipeline_i3d.py --dataset 'my signs' --preset laptop --restart",
        "  python livedemo.py --model 'model/my signs-laptop-i3d-seed0'",
    ]


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
    with pytest.raises(ValueError, match="becomes that of a folder"):
        videocapture.signs_to_record(data.Dataset("my_signs", root=tmp_path), [name])


def test_two_at_once_do_not_record_into_one_data_set(tmp_path):
    dataset = data.Dataset("my_signs", "laptop", tmp_path)
    with disk.lock(tmp_path / "data_set" / ".my_signs.recording.lock", ""):
        with pytest.raises(ValueError, match="Another videocapture.py"):
            videocapture.record(dataset, ["hello"], 1, 0)


def test_a_lock_that_is_given_back_is_gone_and_holds_while_it_is_there(tmp_path):
    path = tmp_path / "folder" / ".lock"
    for _ in range(2):
        with disk.lock(path, "busy", remove=True):
            with pytest.raises(ValueError, match="busy"), disk.lock(path, "busy", remove=True):
                pass
            assert path.exists()
        assert not path.exists()
    path.touch()  # of a process that was killed
    with disk.lock(path, "busy", remove=True):
        pass
    assert not path.exists()


@pytest.mark.parametrize("is_made_anew", [False, True])
def test_a_lock_on_a_deleted_file_is_none(tmp_path, monkeypatch, is_made_anew):
    """Another process deletes the file between its being opened and locked, or makes it anew."""
    path, try_lock, deleted = tmp_path / ".lock", disk._try_lock, []

    def delete_and_lock(file):
        if not deleted:
            path.unlink()
            deleted.append(path)
            if is_made_anew:
                path.touch()
        return try_lock(file)

    monkeypatch.setattr(disk, "_try_lock", delete_and_lock)
    with disk.lock(path, "busy"):
        with pytest.raises(ValueError, match="busy"), disk.lock(path, "busy"):
            pass


def test_without_a_display_what_to_do_instead_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("DISPLAY", "")
    monkeypatch.delenv("QT_QPA_PLATFORM", raising=False)
    arguments = ("--dataset", "my_signs", "--sign", "hello")
    result = run_script("videocapture.py", *arguments, cwd=tmp_path, check=1, timeout=30)
    assert "DISPLAY" in result.stderr and "data_set/my_signs/train/SIGN/" in result.stderr
    assert "livedemo" not in result.stderr and "--headless" not in result.stderr
    assert not list(tmp_path.iterdir())


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
