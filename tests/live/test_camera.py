"""Cameras: time stamps, dropping, files as cameras, faults, and recordings picked by time."""

import argparse
import contextlib
import time
from pathlib import Path

import numpy as np
import pytest

from common.video import open_video, read_clip, sample_times
from live import camera as camera_module
from live import recording as recording_module
from live.camera import KEPT_SHOTS, Camera, Shot, is_black
from live.recording import Picker, Recording, save
from live.recording import write_video as write_whole_video
from tests.helpers import SHARED, numbered_frames, numbers_of, write_video


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A file of 1 s at 20 frames a second whose frames show their numbers."""
    return write_video(tmp_path_factory.mktemp("clip") / "clip.avi", numbered_frames(20), fps=20)


class Device:
    """Stands in for a webcam, which a test cannot unplug: `read` follows a script.

    Each letter is one call: p delivers a picture, x fails, and h hangs.
    """

    def __init__(self, *scripts, opening_seconds=0.0):
        self._opening_seconds = opening_seconds
        self._scripts = list(scripts)
        self.script = ""

    @contextlib.contextmanager
    def open(self, source):
        if not self._scripts:
            raise OSError("There is no camera any more.")
        self.script = self._scripts.pop(0)
        time.sleep(self._opening_seconds)
        yield self

    def read(self):
        time.sleep(0.01)
        letter, self.script = self.script[:1] or "x", self.script[1:]
        if letter == "h":
            time.sleep(60)
        return letter == "p", np.full((48, 64, 3), 99, np.uint8)

    @staticmethod
    def get(key):
        return 0.0


@pytest.fixture
def open_camera(monkeypatch):
    """Opens cameras that are closed after the test; waits are short."""
    monkeypatch.setattr(camera_module, "SILENT_SECONDS", 0.4)
    monkeypatch.setattr(camera_module, "UNREADABLE_SECONDS", 0.1)
    monkeypatch.setattr(camera_module, "RETRY_SECONDS", 0.05)
    with contextlib.ExitStack() as cameras:

        def open_one(*arguments, **settings):
            camera = Camera(*arguments, **settings)
            cameras.callback(camera.close)
            return camera

        yield open_one


def wait_for(condition, seconds=5.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def shots_of(camera, count):
    shots = []
    while len(shots) < count:
        new = camera.take(5.0)
        assert new, "no picture came"
        shots += new
    return shots


def test_a_file_is_played_at_its_own_speed_again_and_again(open_camera, clip):
    camera = open_camera(clip)
    shots = shots_of(camera, 30)
    numbers = numbers_of(np.stack([shot.image for shot in shots]))
    assert numbers[:30] == [n % 20 for n in range(30)]
    steps = np.diff([shot.seconds for shot in shots])
    assert np.median(steps) == pytest.approx(0.05, abs=0.002) and np.all(steps > 0)
    assert camera.fps == pytest.approx(20, rel=0.1)
    assert camera.times_ended == 1 and camera.problem is None


def test_unpaced_nothing_is_dropped_and_time_is_that_of_the_file(open_camera, clip):
    camera = open_camera(clip, unpaced=True)
    started = time.monotonic()
    shots = shots_of(camera, 100)
    assert time.monotonic() - started < 3
    numbers = numbers_of(np.stack([shot.image for shot in shots]))
    assert numbers == [n % 20 for n in range(100)]
    assert np.diff([shot.seconds for shot in shots]) == pytest.approx(0.05, abs=1e-3)
    assert camera.now() == shots[-1].seconds and camera.num_dropped == 0


def test_a_file_that_is_played_once_ends(open_camera, clip):
    camera = open_camera(clip, unpaced=True, loop=False)
    count = 0
    while not camera.has_ended:
        count += len(camera.take(0.1))
    assert count == 20


def test_what_nobody_takes_is_dropped_not_queued(open_camera):
    camera = open_camera(0, open_source=Device("p" * 60 + "h").open)
    wait_for(lambda: camera.num_dropped >= 60 - KEPT_SHOTS)
    shots = camera.take()
    assert len(shots) == KEPT_SHOTS
    assert np.all(np.diff([shot.seconds for shot in shots]) > 0)


@pytest.mark.parametrize("script", ["h", "x", "pph", "ppx"])
def test_a_camera_that_delivers_nothing_is_a_message_not_a_hang(open_camera, script):
    camera = open_camera(0, open_source=Device(script, *["x"] * 999).open)
    wait_for(lambda: camera.problem)
    assert "Camera 0" in camera.problem and "no picture" in camera.problem


def test_an_unplugged_camera_comes_back_by_itself(open_camera):
    camera = open_camera(0, open_source=Device("p" * 5, "x", "p" * 500).open)
    wait_for(lambda: camera.problem)
    assert "unplugged" in camera.problem
    wait_for(lambda: camera.problem is None)
    assert camera.take(1.0)


def test_single_unreadable_pictures_do_not_lose_a_camera(open_camera):
    camera = open_camera(0, open_source=Device("xp" + "pxx" * 20 + "p" * 500).open)
    shots = shots_of(camera, 40)
    assert len(shots) >= 40 and camera.problem is None


def test_a_camera_that_opens_slowly_is_waited_for(open_camera, monkeypatch):
    camera = open_camera(0, open_source=Device("p" * 500, opening_seconds=0.8).open)
    end = time.monotonic() + 0.7
    while time.monotonic() < end:
        assert camera.problem is None
        time.sleep(0.02)
    assert camera.take(5.0) and camera.problem is None
    monkeypatch.setattr(camera_module, "OPENING_SECONDS", 0.2)
    stuck = open_camera(0, open_source=Device("p", opening_seconds=2.0).open)
    wait_for(lambda: stuck.problem)
    assert "does not open" in stuck.problem


def test_a_missing_camera_is_named(open_camera):
    camera = open_camera(97)
    wait_for(lambda: camera.problem, 20)
    assert "camera 97" in camera.problem.lower() and "--list" in camera.problem


def test_an_address_without_an_answer_is_told_as_one():
    with pytest.raises(OSError, match="No pictures come from http://127.0.0.1:9/x: check address"):
        with camera_module.open_device("http://127.0.0.1:9/x"):
            pass
    for text in ("", "-1"):
        with pytest.raises(argparse.ArgumentTypeError, match="expected a camera or a file"):
            camera_module.parse_source(text)


def test_files_that_are_no_videos_are_refused_at_once(tmp_path, clip):
    with pytest.raises(FileNotFoundError, match="nothing.avi"):
        Camera(tmp_path / "nothing.avi")
    bad = tmp_path / "bad.avi"
    bad.write_bytes(b"RIFF but no more")
    with pytest.raises(ValueError, match="bad.avi cannot stand in for a camera"):
        Camera(bad)


BOX = (0.2, 0.2, 0.6, 0.6)


@pytest.mark.parametrize(
    ("face", "is_outside"),
    [
        ((0.3, 0.4, 0.2, 0.2), False),
        ((0.19, 0.4, 0.2, 0.2), False),  # by less than a tenth
        ((0.1, 0.4, 0.2, 0.2), True),
        ((0.7, 0.4, 0.2, 0.2), True),
        ((0.3, 0.7, 0.2, 0.2), True),
        (None, False),
    ],
)
def test_a_head_that_leaves_the_box_is_told_for_a_while(monkeypatch, face, is_outside):
    monkeypatch.setattr(recording_module, "find_face", lambda image: face)
    watch = recording_module.HeadWatch()
    watch.look(Shot(1.0, None), BOX)
    assert watch.is_outside(1.1) is is_outside
    monkeypatch.setattr(recording_module, "find_face", lambda image: None)
    watch.look(Shot(2.0, None), BOX)  # it is not found: nothing new is known
    assert watch.is_outside(2.1) is is_outside and not watch.is_outside(3.1)
    monkeypatch.setattr(recording_module, "find_face", lambda image: (0.4, 0.4, 0.1, 0.1))
    watch.look(Shot(2.2, None), BOX)  # it has just looked
    assert watch.is_outside(2.3) is is_outside
    watch.look(Shot(2.6, None), BOX)
    assert not watch.is_outside(2.7)


def test_an_opencv_without_a_detector_sees_no_face(monkeypatch):
    assert recording_module.find_face(np.zeros((90, 120, 3), np.uint8)) is None
    monkeypatch.setattr(recording_module, "FACE_FILE", "no_such_file.xml")
    recording_module._face_detector.cache_clear()
    assert recording_module.find_face(np.zeros((90, 120, 3), np.uint8)) is None
    recording_module._face_detector.cache_clear()


@pytest.mark.skipif(
    not (SHARED / "data" / "karsl").is_dir(), reason="the recorded clips are not here"
)
def test_the_face_of_a_signer_is_found_where_it_is():
    path = sorted((SHARED / "data" / "karsl").rglob("*.mp4"))[0]
    image = read_clip(path, 3, 256, 256)[1]
    top, left, height, width = recording_module.find_face(image)
    assert 0.05 < top < 0.3 and 0.25 < left < 0.45 and 0.15 < width < 0.35
    moved = np.roll(image, -40, axis=0)  # upwards
    assert recording_module.find_face(moved)[0] < top - 0.1


def test_black_pictures_are_recognised():
    assert is_black(np.full((480, 640, 3), 2, np.uint8))
    assert not is_black(np.full((480, 640, 3), 30, np.uint8))


def test_picked_moments_are_those_of_training():
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.uniform(0.02, 0.2, 60))  # a frame rate that varies a lot
    step = np.median(np.diff(times))
    seconds = times[-1] - times[0] + step
    picker = Picker(times[0], seconds / 40)
    images = []
    for number, start in enumerate(times):
        images += picker.add(Shot(start, number))
    images += picker.advance(times[0] + seconds - 1e-9)
    assert images == sample_times(times, 40)


def recorded(num_frames=30, fps=15.0, size=(48, 64)):
    frames = numbered_frames(num_frames, size)
    recording = Recording(0.0, num_frames / fps, 8)
    for number, image in enumerate(frames):
        recording.add(Shot(number / fps, image))
    recording.advance(recording.end)
    return recording


def test_a_saved_recording_is_whole(tmp_path):
    recording = recorded()
    folder = save(recording, {"ranking": []}, tmp_path / "recording")
    frames = read_clip(folder / "frames", 8, 48, 64)
    assert np.array_equal(frames, np.stack(recording.picked))  # lossless
    video = read_clip(folder / "recording.avi", 30, 48, 64)
    assert numbers_of(video) == list(range(30))
    assert (folder / "answer.json").is_file()
    again = save(recording, {"ranking": []}, tmp_path / "recording")
    assert again != folder
    assert sorted(path.name for path in (tmp_path / "recording").iterdir()) == sorted(
        [folder.name, again.name]
    )


@pytest.mark.parametrize("suffix", [".avi", ".mp4"])
def test_a_slow_camera_gives_a_video_as_long_as_the_recording(tmp_path, suffix):
    recording = Recording(0.0, 2.0, 8)
    for number, image in enumerate(numbered_frames(14, (64, 64))):
        recording.add(Shot(number / 7, image))
    recording.write_video(tmp_path / f"clip{suffix}")
    with open_video(tmp_path / f"clip{suffix}") as video:
        fps, count = (video.get(key) for key in (5, 7))  # CAP_PROP_FPS, CAP_PROP_FRAME_COUNT
    assert count / fps == pytest.approx(2.0)


def test_a_full_disk_leaves_nothing_behind(tmp_path):
    resource = pytest.importorskip("resource", reason="limits of a process are POSIX only")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    recording = recorded(size=(240, 320))
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(OSError):
            save(recording, {}, tmp_path)
        with pytest.raises(OSError, match="disk full"):
            write_whole_video(tmp_path / "clip.avi", recording.picked * 9, 10, 72)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] in ([], ["clip.avi"])


@pytest.mark.parametrize(
    ("text", "source"),
    [("0", 0), ("12", 12), ("/dev/video0", "/dev/video0"), ("rtsp://a/b", "rtsp://a/b")]
    + [("http://a/b.mjpg", "http://a/b.mjpg"), ("clip.mp4", Path("clip.mp4"))],
)
def test_a_source_is_a_camera_or_a_file(text, source):
    assert camera_module.parse_source(text) == source
    assert camera_module.is_device(source) != isinstance(source, Path)


def test_a_pattern_that_the_shell_did_not_expand_stands_for_one_file(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "clip1.avi").write_bytes(b"")
    assert camera_module.parse_source("~/cl*.avi") == tmp_path / "clip1.avi"
    assert camera_module.parse_source("~/x*.avi") == Path("~/x*.avi")  # not there: told later
    (tmp_path / "clip2.avi").write_bytes(b"")
    with pytest.raises(argparse.ArgumentTypeError, match="2 files match ~/cl"):
        camera_module.parse_source("~/cl*.avi")
