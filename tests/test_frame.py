"""frame.py: which frames are picked, how they are fitted, and awkward videos."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import frame
from common.presets import PRESETS
from common.video import fit_frame, open_video, read_clip, sample_indices, sample_times
from tests.helpers import (
    ROOT,
    SHARED,
    make_dataset,
    moving_square,
    numbered_frames,
    numbers_of,
    run_script,
    tree_bytes,
    write_video,
)

COUNTS = st.integers(1, 500)


@given(COUNTS, COUNTS)
def test_indices_are_even_and_within_the_clip(available, wanted):
    indices = sample_indices(available, wanted)
    assert indices == [int(np.floor(i * available / wanted + 1e-9)) for i in range(wanted)]
    assert indices[0] == 0 and indices[-1] < available
    assert set(np.diff(indices)) <= {available // wanted, -(-available // wanted)}


@pytest.mark.parametrize("numbers", [(0, 40), (40, 0), (-1, 3)])
def test_numbers_below_one_are_refused(numbers):
    with pytest.raises(ValueError, match="Received: "):
        sample_indices(*numbers)


@given(COUNTS, COUNTS, st.floats(1, 100))
def test_at_a_constant_rate_times_pick_what_numbers_pick(available, wanted, step):
    times = [17 + step * i for i in range(available)]
    assert sample_times(times, wanted) == sample_indices(available, wanted)


def test_at_a_varying_rate_frames_are_picked_by_time():
    # 10 frames in the first second, 30 in the second one
    times = [100 * i for i in range(10)] + [1000 + 1000 / 30 * i for i in range(30)]
    picked = sample_times(times, 20)
    assert np.allclose([times[i] for i in picked], 100 * np.arange(20), atol=34)


def test_time_stamps_that_go_backwards_are_ignored():
    assert sample_times([0, 40, 20, 60, 10], 5) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("count", [3, 40, 41, 100])
@pytest.mark.parametrize("fourcc", ["MJPG", "XVID"])
def test_clip_holds_the_evenly_picked_frames(tmp_path, count, fourcc):
    path = write_video(tmp_path / "clip.avi", numbered_frames(count), fourcc=fourcc)
    clip = read_clip(path, 40, 64, 64)
    assert clip.shape == (40, 64, 64, 3) and clip.dtype == np.uint8
    assert numbers_of(clip) == sample_indices(count, 40)


def test_header_that_promises_too_many_frames_is_not_believed(tmp_path):
    path = write_video(tmp_path / "clip.avi", numbered_frames(60))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * 0.5)])
    with pytest.warns(UserWarning, match=r"only (\d+) of 60 promised") as caught:
        numbers = numbers_of(read_clip(path, 10, 64, 64))
    decodable = int(re.search(r"only (\d+)", str(caught[0].message))[1])
    assert 10 < decodable < 50
    assert numbers == sample_indices(decodable, 10)


def test_folder_of_images_is_a_clip(tmp_path):
    images = numbered_frames(20)
    for number, image in enumerate(images):
        cv2.imwrite(str(tmp_path / f"{number:03d}.png"), image)
    assert np.array_equal(read_clip(tmp_path, 10, 64, 64), images[::2])


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "empty"), (b"no video at all" * 99, "cannot open")]
)
def test_files_that_are_no_videos_are_refused(tmp_path, content, reason):
    path = tmp_path / "clip.avi"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=reason):
        read_clip(path, 8, 32, 32)


def test_video_that_opens_without_a_decodable_frame_is_refused(tmp_path):
    path = write_video(tmp_path / "clip.mp4", numbered_frames(12), fourcc="mp4v")
    content = path.read_bytes()
    begin = content.index(b"mdat") + 4
    length = int.from_bytes(content[begin - 8 : begin - 4], "big") - 8
    path.write_bytes(content[:begin] + bytes(length) + content[begin + length :])
    assert cv2.VideoCapture(str(path)).isOpened()
    with pytest.raises(ValueError, match="no frame could be decoded"):
        read_clip(path, 8, 32, 32)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the awkward real videos are not here")
class TestAwkwardVideos:
    folder = SHARED / "data" / "odd_videos"

    def test_truncated_video_is_used_as_far_as_it_goes(self):
        path = self.folder / "corrupted.mp4"
        with pytest.warns(UserWarning, match="only 28 of 50"):
            clip = read_clip(path, 28, 90, 160)
        assert len(np.unique(clip.reshape(28, -1), axis=0)) == 28

    def test_rotation_flag_is_respected(self):
        path = self.folder / "video_90.mov"
        video = cv2.VideoCapture(str(path))
        video.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)
        stored = video.read()[1]
        upright = read_clip(path, 1, 568, 320)[0]
        turned = [np.abs(np.rot90(stored, k).astype(int) - upright).mean() for k in (1, 3)]
        assert stored.shape[:2] == (320, 568) and min(turned) < 3 < max(turned)

    @pytest.mark.parametrize("name", ["h265_10bits.mp4", "part_0.mp4", "test.avi", "unordered.mov"])
    def test_every_container_gives_a_picture(self, name):
        clip = read_clip(self.folder / name, 8, 96, 128)
        assert clip.shape == (8, 96, 128, 3) and clip.std() > 10


@pytest.mark.parametrize(
    ("have", "lit_columns", "lit_rows"),
    [
        ((480, 640), 64, 48),  # the same shape
        ((720, 1280), 64, 48),  # wider: cropped left and right
        ((640, 480), 48, 48),  # upright: black bars left and right
        ((24, 32), 64, 48),  # smaller: enlarged
        ((100, 100), 48, 48),
    ],
)
def test_frames_are_fitted_by_their_shorter_side(have, lit_columns, lit_rows):
    fitted = fit_frame(np.full((*have, 3), 200, np.uint8), 48, 64)
    assert fitted.shape == (48, 64, 3)
    lit = fitted[..., 0] > 100
    assert (lit.any(axis=0).sum(), lit.any(axis=1).sum()) == (lit_columns, lit_rows)
    assert np.array_equal(lit, lit[:, ::-1]) and set(np.unique(fitted)) <= {0, 200}


def test_a_circle_stays_round_and_central():
    image = np.zeros((360, 640, 3), np.uint8)
    cv2.circle(image, (320, 180), 90, (255, 255, 255), -1)
    rows, columns = np.nonzero(fit_frame(image, 96, 128)[..., 0] > 127)
    assert np.ptp(rows) == pytest.approx(48, abs=1) and np.ptp(columns) == pytest.approx(48, abs=1)
    assert (rows.mean(), columns.mean()) == pytest.approx((47.5, 63.5), abs=0.6)


def test_bad_videos_are_listed_and_tried_again(tmp_path, capsys):
    dataset = make_dataset(tmp_path, {"train": 2})
    bad = dataset.video_dir / "train" / "left" / "bad.avi"
    bad.write_bytes(b"")
    report = frame.extract_frames(dataset, workers=2)
    assert (report.done, [label for label, _ in report.failed]) == (4, [str(bad)])
    assert (
        report.exit_status == 1 and f"failed: {bad}: the file is empty" in capsys.readouterr().out
    )
    write_video(bad, numbered_frames(12, (40, 48)))
    report = frame.extract_frames(dataset, workers=1)
    assert (report.done, report.skipped, report.exit_status) == (1, 4, 0)
    assert len(list((dataset.frame_dir / "train" / "left" / "bad").glob("*.jpg"))) == 8


def test_stored_frames_are_the_read_ones_up_to_jpeg(tmp_path):
    dataset = make_dataset(tmp_path, {"train": 1})
    frame.extract_frames(dataset, workers=1)
    video = dataset.videos()[0]
    stored = frame.load_frames(dataset.frame_dir / video.place())
    read = read_clip(video.path, 8, 40, 48)
    assert stored.shape == read.shape and np.abs(stored.astype(int) - read).mean() < 4


def test_other_parameters_are_refused_until_rebuilt(tmp_path):
    make_dataset(tmp_path, {"train": 1})
    run_script("frame.py", "--dataset", "moves", "--preset", "laptop", cwd=tmp_path, check=0)
    folder = tmp_path / "data_temp" / "moves" / "laptop" / "frame"
    parameters = folder / "parameters.json"
    parameters.write_text(parameters.read_text().replace('"num_frames": ', '"num_frames": 9'))
    command = ["frame.py", "--dataset", "moves", "--preset", "laptop"]
    refused = run_script(*command, cwd=tmp_path, check=1)
    assert "num_frames" in refused.stderr and "--rebuild" in refused.stderr
    assert "Traceback" not in refused.stderr
    run_script(*command, "--rebuild", cwd=tmp_path, check=0)
    run_script(*command, cwd=tmp_path, check=0)


def test_info_tells_what_is_there(tmp_path):
    make_dataset(tmp_path, {"train": 3, "test": 1})
    table = run_script("frame.py", "--dataset", "moves", "--info", cwd=tmp_path, check=0).stdout
    rows = {line.split()[0]: line.split()[1:] for line in table.splitlines()}
    assert rows["train"][:2] == ["6", "2"] and rows["test"][:2] == ["2", "2"]
    assert "12 / 12 / 12" in table and "1.2 / 1.2 / 1.2" in table and "6 of 48x40" in table
    assert not (tmp_path / "data_temp").exists()


def test_info_lists_what_cannot_be_read_and_goes_on(tmp_path, capsys, monkeypatch):
    dataset = make_dataset(tmp_path, {"train": 3})
    locked, empty = (dataset.video_dir / "train" / "left" / name for name in ("0.avi", "9.avi"))
    empty.write_bytes(b"")

    def open_others(path):
        if path == locked:
            raise PermissionError(13, "Permission denied", str(path))
        return open_video(path)

    monkeypatch.setattr(frame, "open_video", open_others)
    frame.describe_videos(dataset)
    table = capsys.readouterr().out
    assert (
        re.search(r"^train +5 +2  1.2 / 1.2 / 1.2", table, re.MULTILINE) and "5 of 48x40" in table
    )
    assert f"cannot be read: {locked}: Permission denied\n" in table
    assert f"cannot be read: {empty}: the file is empty\n" in table


@pytest.mark.skipif(not SHARED.is_dir(), reason="the awkward real videos are not here")
def test_info_counts_no_cover_picture_as_a_video(tmp_path, capsys):
    dataset = make_dataset(tmp_path, {"train": 2})
    song = dataset.video_dir / "train" / "left" / "song.mp4"
    shutil.copy(SHARED / "data" / "reports" / "music_with_cover.mp4", song)
    frame.describe_videos(dataset)
    table = capsys.readouterr().out
    assert re.search(r"^train +4 +2 ", table, re.MULTILINE) and "270000" not in table
    reason = "it is sound with a cover picture, no video"
    assert f"cannot be read: {song}: {reason}\n" in table
    failed = frame.extract_frames(dataset, workers=1).failed
    assert failed == [(str(song), reason)]


def test_a_header_without_a_length_is_no_broken_video(tmp_path, capsys, monkeypatch):
    dataset = make_dataset(tmp_path, {"train": 1})
    headers = {"left": (-9e18, 30.0, (48, 40)), "right": (12.0, 10.0, (48, 40))}
    monkeypatch.setattr(frame, "_read_header", lambda path: headers[path.parent.name])
    frame.describe_videos(dataset)
    table = capsys.readouterr().out
    assert "2 of 48x40; 1 without a length in the header" in table and "12 / 12 / 12" in table
    assert "cannot be read" not in table
    assert frame.seconds_of(dataset.videos()[0].path) is None


def test_a_sign_of_which_no_video_can_be_read_is_named_before_frames_are_cut(tmp_path, capsys):
    dataset = make_dataset(tmp_path, {"train": 2})
    folder = dataset.video_dir / "train"
    (folder / "broken").mkdir()
    for name in ("broken/0.avi", "broken/1.avi", "left/0.avi"):
        (folder / name).write_bytes(b"no video at all" * 9)
    assert frame.unreadable_signs(dataset.videos()) == {"broken"}
    frame.extract_frames(dataset, workers=1)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "1 sign of which no training video can be read: broken"


def test_of_a_readable_sign_one_video_is_opened(tmp_path, monkeypatch):
    videos = make_dataset(tmp_path, {"train": 3, "test": 2}).videos()
    opened = []
    monkeypatch.setattr(frame, "_read_header", lambda path: opened.append(path.parent.name))
    assert frame.unreadable_signs(videos) == set() and opened == ["left", "right"]


def test_wrong_dataset_name_suggests_the_right_one(tmp_path):
    make_dataset(tmp_path, {"train": 1})
    result = run_script("frame.py", "--dataset", "movse", cwd=tmp_path, check=1)
    assert "Did you mean moves?" in result.stderr and "Traceback" not in result.stderr


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_killed_stage_is_resumed_to_the_same_bytes(tmp_path):
    dataset = make_dataset(tmp_path, {"train": 30})
    command = [sys.executable, str(ROOT / "frame.py"), "--dataset", "moves", "--preset", "laptop"]
    folder = tmp_path / "data_temp" / "moves" / "laptop" / "frame"
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL)
    while len(list(folder.glob("train/*/*"))) < 5:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    killed = len(list(folder.glob("train/*/*")))
    assert 5 <= killed < len(dataset.videos()), "the stage was not caught in the middle"
    assert all(
        len(list(clip.glob("*.jpg"))) == PRESETS["laptop"].num_frames
        for clip in folder.glob("train/*/*")
    )
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    resumed = tree_bytes(folder)
    subprocess.run([*command, "--rebuild"], cwd=tmp_path, check=True, capture_output=True)
    assert resumed == tree_bytes(folder)


def test_remarks_name_what_is_left_out_and_what_cannot_be_learned(tmp_path):
    dataset = make_dataset(tmp_path, {"train": 2, "test": 1})
    for name in ("train/left/notes.txt", "train/left/sub/5.avi", "valid/left/1.avi"):
        path = dataset.video_dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    write_video(dataset.video_dir / "test" / "up" / "0.avi", moving_square(8, (1, 0)))
    result = run_script("frame.py", "--dataset", "moves", "--info", cwd=tmp_path, check=0)
    for line in (
        "left out: 1 x no video by its ending, such as train/left/notes.txt",
        "left out: 1 x in a folder one level too deep, such as train/left/sub/5.avi",
        "left out: 1 x in a folder valid, not train, val or test, such as valid/left/1.avi",
        "1 sign in val or test only, not learned and left out of judging: up",
    ):
        assert line in result.stdout, result.stdout


def test_images_of_a_folder_come_in_the_order_of_their_numbers(tmp_path):
    for number in range(12):
        cv2.imwrite(str(tmp_path / f"img{number}.png"), np.full((24, 32, 3), 20 * number, np.uint8))
    clip = read_clip(tmp_path, 12, 24, 32)
    assert clip[:, 0, 0, 0].tolist() == [20 * number for number in range(12)]
