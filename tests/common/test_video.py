"""common/video.py on small files of the kinds that people stumbled over, and on odd names."""

import os
import shutil
import sys
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest

from common import dataset as data
from common.video import read_clip, to_bgr
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


def test_pictures_of_any_camera_become_bgr():
    image = moving_square(1, (0, 0))[0]
    gray = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    three_times = np.repeat(gray[..., None], 3, axis=2)
    assert to_bgr(image) is image
    for gray_one in (gray, gray[..., None], np.dstack([gray, np.zeros_like(gray)])):
        assert np.array_equal(to_bgr(gray_one), three_times)
    assert np.array_equal(to_bgr(cv2.cvtColor(image, cv2.COLOR_BGR2BGRA)), image)
    assert np.array_equal(to_bgr(image.astype(np.uint16) * 257), image)
