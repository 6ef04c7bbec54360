"""common/video.py on small files of the kinds that people stumbled over, and on odd names."""

import lzma
import os
import shutil
import struct
import sys
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest

from common import dataset as data
from common.video import bits_of, longest_jump, read_clip, to_bgr
from tests.helpers import SHARED, moving_square, numbered_frames, numbers_of, write_video

REPORTS = SHARED / "data" / "reports"
with_reports = pytest.mark.skipif(not REPORTS.is_dir(), reason="the reported files are not here")


def read(name, num_frames=8):
    """(clip, warnings) of a reported file."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        return read_clip(REPORTS / name, num_frames, 120, 160), [str(w.message) for w in caught]


@with_reports
@pytest.mark.parametrize(
    "name",
    ["animation.gif", "camcorder.m2ts", "picture_after_sound.mp4", "variable_rate.mkv"]
    + ["pixels_4_to_3.mp4"],
)
def test_files_that_decode_do_so_without_a_word(name):
    clip, messages = read(name)
    assert messages == [] and len(np.unique(clip.reshape(8, -1), axis=0)) == 8


@with_reports
def test_time_stamps_that_jump_are_told_and_all_of_the_motion_is_seen():
    clip, messages = read("late_second_frame.mkv")
    assert len(messages) == 1 and "jump by 10.0 s after frame 1" in messages[0]
    assert np.abs(clip.astype(int) - read("camcorder.m2ts")[0]).mean() < 2


@with_reports
def test_sound_with_a_cover_picture_is_no_video():
    with pytest.raises(ValueError, match="sound with a cover picture, no video"):
        read("music_with_cover.mp4")


@with_reports
def test_pixels_that_are_not_square_are_shown_with_their_true_width():
    shown, plain = read("pixels_4_to_3.mp4")[0], read("camcorder.m2ts")[0]
    wide = cv2.resize(plain[4], (213, 120))[:, 26:186]
    assert np.abs(shown[4].astype(int) - wide).mean() < 8
    assert np.abs(shown[4].astype(int) - plain[4]).mean() > 10


@with_reports
def test_camcorders_and_animations_are_clips_of_a_data_set(tmp_path):
    folder = tmp_path / "data_set" / "mine" / "train" / "wave"
    folder.mkdir(parents=True)
    for name in ("camcorder.m2ts", "animation.gif"):
        shutil.copy(REPORTS / name, folder)
    assert len(data.Dataset("mine", root=tmp_path).videos()) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes there")
@pytest.mark.parametrize("name", [b"bad\xff.avi", b"a:b.avi", b"rtsp:.avi"])
def test_odd_names_open_like_any_other(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write_video(Path("clip.avi"), numbered_frames(12))
    os.rename("clip.avi", name)
    clip = read_clip(Path(os.fsdecode(name)), 12, 64, 64)
    assert numbers_of(clip) == list(range(12))


def test_a_single_picture_is_told(tmp_path):
    path = write_video(tmp_path / "clip.avi", numbered_frames(1))
    with pytest.warns(UserWarning, match="it has a single picture, which is repeated"):
        assert numbers_of(read_clip(path, 4, 64, 64)) == [0] * 4


def test_a_picture_that_begins_long_after_the_sound_is_decoded(tmp_path):
    path = tmp_path / "late.ts"
    path.write_bytes(lzma.decompress((Path(__file__).parent / "late_picture.ts.xz").read_bytes()))
    assert numbers_of(read_clip(path, 8, 48, 64)) == [0, 1, 2, 3, 4, 5, 6, 7]


def test_the_length_of_the_sound_promises_no_pictures(tmp_path):
    """A file whose header tells the length of its longest stream, and one that ends early."""
    path = write_video(tmp_path / "clip.mkv", numbered_frames(30), fps=10, fourcc="MJPG")
    content = path.read_bytes()
    at = content.index(bytes.fromhex("448988"))  # the duration, a float64 in ms
    content = content[: at + 3] + struct.pack(">d", 5000) + content[at + 11 :]
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert numbers_of(read_clip(path, 10, 64, 64)) == list(range(0, 30, 3))
    path.write_bytes(content[: len(content) // 2])
    with pytest.warns(UserWarning, match="of 50 promised frames decode"):
        read_clip(path, 10, 64, 64)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        ([0, 0.1, 0.2, 60.3, 60.4, 120.5], "jump by 60.1 s after frame 3 (and 1 more)"),
        ([0, 0.1, 0.2, 10.3], "jump by 10.1 s after frame 3"),
        ([0, 0.1, 0.2, 0.9, 1.0], ""),
        ([1, 1, 1, 0], ""),
        ([0, 2, 4, 6, 8], ""),  # as often as that is how it was recorded
    ],
)
def test_steps_of_time_that_cannot_be_are_told(seconds, words):
    assert longest_jump(np.array(seconds) * 1000).removeprefix("the time stamps ") == words


def test_pictures_of_cameras_with_10_bits_in_16_are_as_bright(tmp_path):
    picture = np.full((4, 6), 700, np.uint16)
    assert bits_of(picture) == 10 and np.all(to_bgr(picture, 10) == 700 >> 2)
    assert bits_of(picture * 64) == 16 and np.all(to_bgr(picture * 64) == 700 >> 2)
    assert bits_of(picture.astype(np.uint8)) == 8


def test_pictures_of_any_camera_become_bgr():
    image = moving_square(1, (0, 0))[0]
    gray = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    three_times = np.repeat(gray[..., None], 3, axis=2)
    assert to_bgr(image) is image
    for gray_one in (gray, gray[..., None], np.dstack([gray, np.zeros_like(gray)])):
        assert np.array_equal(to_bgr(gray_one), three_times)
    assert np.array_equal(to_bgr(cv2.cvtColor(image, cv2.COLOR_BGR2BGRA)), image)
    assert np.array_equal(to_bgr(image.astype(np.uint16) * 257), image)
