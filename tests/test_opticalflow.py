"""opticalflow.py: motion of known size, storing, streaming, colours and faults."""

import warnings

import numpy as np
import pytest

import frame
import opticalflow
from common import slow_imports
from common.network_input import restore_flow
from common.video import read_image
from tests.helpers import make_dataset, moving_square, run_script

ALGORITHMS = sorted(opticalflow.ALGORITHMS)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("step_px", [(4, 0), (-2, 0), (0, 3)])
def test_flow_of_a_moving_square_is_its_speed(algorithm, step_px):
    frames = moving_square(num_frames=3, step_px=step_px)
    flow = opticalflow.frames_to_flow(frames, algorithm)
    assert flow.dtype == np.float32 and flow.shape == (3, 64, 64, 2)
    flow_px = flow[1] * opticalflow.FLOW_BOUND_PX
    moved = np.median(flow_px[26:38, 26:38], axis=(0, 1))
    assert moved == pytest.approx(step_px, abs=0.35)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_first_flow_and_flow_of_a_still_clip_are_zero(algorithm):
    frames = moving_square(num_frames=1, step_px=(0, 0)).repeat(3, axis=0)
    assert not opticalflow.frames_to_flow(frames, algorithm)[0].any()
    assert np.abs(opticalflow.frames_to_flow(frames, algorithm)).max() < 1e-3


def test_flow_is_clipped_to_the_bound(monkeypatch):
    flow_px = np.broadcast_to(np.float32([30, -50]), (64, 64, 2))
    method = opticalflow.OpenCVFlow(lambda previous, following: flow_px)
    monkeypatch.setitem(opticalflow.ALGORITHMS, "far", lambda: method)
    flow = opticalflow.frames_to_flow(moving_square(2, (0, 0)), "far")
    assert np.array_equal(flow[1], np.broadcast_to([1, -1], (64, 64, 2)))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_stream_gives_the_same_bytes_frame_by_frame(algorithm):
    frames = moving_square(num_frames=4, step_px=(2, 1))
    stream = opticalflow.FlowStream(algorithm)
    streamed = np.stack([stream.next(image) for image in frames])
    assert np.array_equal(streamed, opticalflow.frames_to_flow(frames, algorithm))


def test_stored_flow_errs_by_less_than_its_promise(tmp_path):
    frames = moving_square(num_frames=6, step_px=(3, 1), size=(96, 128))
    flow = opticalflow.frames_to_flow(frames)
    opticalflow.write_flow(tmp_path / "clip", flow)
    stored = restore_flow(opticalflow.load_flow(tmp_path / "clip"))
    assert stored.shape == flow.shape
    error_px = np.abs(stored - flow) * opticalflow.FLOW_BOUND_PX
    assert error_px.mean() <= 0.08
    # dx and dy are not mixed up
    assert np.median(stored[2:, 40:56, 56:72, 0]) > 2 * np.median(stored[2:, 40:56, 56:72, 1]) > 0


def test_colors_follow_the_wheel():
    def color(dx, dy):
        return opticalflow.flow_to_color(np.full((1, 1, 2), [dx, dy], float))[0, 0]

    assert color(0, 0).tolist() == [255, 255, 255]
    blue, green, red = color(1, 0).tolist()
    assert red == 255 and green < 20 and blue < 20  # to the right: red
    blue, green, red = color(-1, 0).tolist()
    assert red == 0 and green > 150 and blue > 150  # to the left: cyan
    blue, green, red = color(0, 1).tolist()
    assert red > 150 and green > 150 and blue == 0  # down: yellow
    blue, green, red = color(0, -1).tolist()
    assert blue == 255 and green < 20  # up: blue to violet
    assert (color(0.1, 0) > color(0.3, 0)).any() and color(0.1, 0)[2] == 255


@pytest.mark.parametrize(
    "frames", [np.zeros((2, 32, 32, 3)), np.zeros((2, 32, 32), np.uint8), np.zeros((32, 32, 3))]
)
def test_other_arrays_are_refused(frames):
    with pytest.raises(ValueError, match="Received: "):
        opticalflow.frames_to_flow(frames)


def test_unknown_algorithm_is_refused():
    with pytest.raises(ValueError, match="tvl1-opencv.*Received: raft"):
        opticalflow.FlowStream("raft")


def test_flow_needs_frames(tmp_path):
    make_dataset(tmp_path, {"train": 1})
    result = run_script("opticalflow.py", "--dataset", "moves", cwd=tmp_path, check=1)
    assert "python frame.py --dataset moves" in result.stderr
    command = ("opticalflow.py", "--dataset", "moves", "--show", "sheets")
    run_script(*command, cwd=tmp_path, check=1)
    assert not (tmp_path / "sheets").exists()


def test_methods_are_not_mixed_and_pictures_are_written(tmp_path):
    make_dataset(tmp_path, {"train": 1})
    flags = ("--dataset", "moves", "--preset", "laptop")
    run_script("frame.py", *flags, cwd=tmp_path, check=0)
    first = run_script("opticalflow.py", *flags, cwd=tmp_path, check=0)
    assert "2 done, 0 skipped, 0 failed" in first.stdout
    other = run_script("opticalflow.py", *flags, "--algorithm", "dis", cwd=tmp_path, check=1)
    assert "algorithm is tvl1, wanted dis" in other.stderr
    assert "--algorithm dis --rebuild" in other.stderr
    again = run_script("opticalflow.py", *flags, cwd=tmp_path, check=0)
    assert "0 done, 2 skipped, 0 failed" in again.stdout
    run_script("opticalflow.py", *flags, "--show", "sheets", cwd=tmp_path, check=0)
    sheet = read_image(tmp_path / "sheets" / "left_0.png")
    lower_left = sheet[sheet.shape[0] // 2 :, : sheet.shape[1] * 3 // 4]
    assert np.ptp(lower_left.astype(int), axis=2).max() > 60, "no colour in the flow"


def test_a_contact_sheet_tells_the_sign_the_seconds_and_the_colours(tmp_path, monkeypatch):
    titles = []
    from matplotlib import axes, figure

    monkeypatch.setattr(axes.Axes, "set_title", lambda self, text, **_: titles.append(text))
    monkeypatch.setattr(figure.Figure, "suptitle", lambda self, text, **_: titles.append(text))
    frames = np.zeros((10, 40, 48, 3), np.uint8)
    flow = np.zeros((10, 40, 48, 2), np.float32)
    opticalflow.plot_sheet(tmp_path / "sheet.png", "wave", frames, flow, seconds=4)
    assert {"wave", "0.0 s", "3.2 s", "colour: direction\nwhite: rest"} <= set(titles)
    wheel = read_image(tmp_path / "sheet.png")[-60:, -60:]
    assert np.ptp(wheel.astype(int), axis=2).max() > 200


def test_a_contact_sheet_of_a_sign_in_any_script_has_no_boxes(tmp_path, monkeypatch):
    monkeypatch.setattr(slow_imports, "_installed_fonts", list)
    frames = np.zeros((2, 40, 48, 3), np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of letters that are drawn as boxes
        name = "\uc548\ub155 (train/hello/0)"
        opticalflow.plot_sheet(tmp_path / "sheet.png", name, frames, frames[..., :2] / 1.0)
    slow_imports._lacking.clear()
    assert (tmp_path / "sheet.png").is_file()


def test_damaged_frames_are_a_failure_not_a_crash(tmp_path):
    dataset = make_dataset(tmp_path, {"train": 2})
    frame.extract_frames(dataset, workers=1)
    folder = dataset.frame_dir / "train" / "left"
    (folder / "0" / "frame0003.jpg").write_bytes(b"damaged")
    (folder / "1" / "frame0007.jpg").unlink()
    report = opticalflow.extract_flow(dataset, workers=1)
    assert report.done == 2
    reasons = [reason for _, reason in report.failed]
    assert "not a readable image" in reasons[0] and "has 7 pictures instead of 8" in reasons[1]
