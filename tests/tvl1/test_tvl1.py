"""The TV-L1 solver: known motions, OpenCV's accuracy, and the same bytes whoever computes them."""

import os
import shutil
import subprocess
import sys
import threading

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tvl1
from tests.helpers import ROOT, SHARED

MIDDLEBURY = SHARED / "reference" / "middlebury"
UNKNOWN_FLOW = 1e9
HEIGHT, WIDTH = 96, 128
PRINT_FLOW_DIGEST = """
import hashlib, sys
import numpy as np, tvl1
if __name__ == "__main__":
    first, second = np.load(sys.argv[1])
    print(hashlib.sha256(tvl1.TVL1().calc(first, second).tobytes()).hexdigest())
"""
few_examples = settings(max_examples=8, deadline=None)


def texture(height=HEIGHT, width=WIDTH, seed=0):
    """A smooth random pattern, float64 `(height, width)` in 0..255, with detail at all scales."""
    random = np.random.default_rng(seed)
    image = np.zeros((height, width))
    for sigma in (1.5, 3, 6, 12):
        noise = cv2.GaussianBlur(random.normal(size=(height, width)), (0, 0), sigma)
        image += noise / noise.std()
    return np.clip(128 + 20 * image, 0, 255)


def moved_pair(matrix, seed=0):
    """A textured image and itself under an affine motion, uint8, with the true flow in pixels.

    Args:
        matrix: `(2, 3)`, takes (x, y, 1) to the place where the pixel goes.
    """
    margin = 32
    large = texture(HEIGHT + 2 * margin, WIDTH + 2 * margin, seed)
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(float)
    inverse = cv2.invertAffineTransform(matrix)
    source_x = inverse[0, 0] * x + inverse[0, 1] * y + inverse[0, 2] + margin
    source_y = inverse[1, 0] * x + inverse[1, 1] * y + inverse[1, 2] + margin
    moved = cv2.remap(
        large, source_x.astype(np.float32), source_y.astype(np.float32), cv2.INTER_LANCZOS4
    )
    still = large[margin:-margin, margin:-margin]
    flow = np.stack(
        [
            matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2] - x,
            matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2] - y,
        ],
        axis=-1,
    )
    return np.rint(still).astype(np.uint8), np.clip(np.rint(moved), 0, 255).astype(np.uint8), flow


def about_centre(scale, degrees):
    """Matrix `(2, 3)` of a zoom and a rotation about the image's centre."""
    return cv2.getRotationMatrix2D(((WIDTH - 1) / 2, (HEIGHT - 1) / 2), degrees, scale)


def inner_error(flow, truth, border=12):
    """Mean end-point error in pixels without the border, where pixels leave the image."""
    distance = np.linalg.norm(flow - truth, axis=-1)
    return distance[border:-border, border:-border].mean()


def noise_pair(height=HEIGHT, width=WIDTH, seed=0):
    """Two images with a motion no model explains, so that every row of the result is busy."""
    first = texture(height, width, seed)
    second = np.roll(first, (1, 2), (0, 1)) * 0.9 + texture(height, width, seed + 1) * 0.1
    return first.astype(np.uint8), second.astype(np.uint8)


@pytest.mark.parametrize("preset", ["fast", "quality"])
@pytest.mark.parametrize("shift", [(3, 0), (0, -2), (-5, 4), (0.5, 0), (2.5, -1.5)])
def test_translation_is_recovered(preset, shift):
    first, second, truth = moved_pair(np.array([[1, 0, shift[0]], [0, 1, shift[1]]], float))
    assert inner_error(tvl1.TVL1(preset).calc(first, second), truth) < 0.06


@few_examples
@given(dx=st.floats(-3, 3), dy=st.floats(-3, 3), seed=st.integers(0, 5))
def test_any_translation_is_recovered(dx, dy, seed):
    first, second, truth = moved_pair(np.array([[1, 0, dx], [0, 1, dy]]), seed)
    assert inner_error(tvl1.TVL1().calc(first, second), truth) < 0.1


@few_examples
@given(degrees=st.floats(-3, 3), zoom=st.floats(0.95, 1.05), seed=st.integers(0, 5))
def test_rotation_and_zoom_are_recovered(degrees, zoom, seed):
    first, second, truth = moved_pair(about_centre(zoom, degrees), seed)
    assert inner_error(tvl1.TVL1().calc(first, second), truth) < 0.06


@few_examples
@given(height=st.integers(16, 90), width=st.integers(16, 90))
def test_identical_images_of_any_size_do_not_move(height, width):
    image = texture(height, width).astype(np.uint8)
    flow = tvl1.TVL1().calc(image, image.copy())
    assert flow.shape == (height, width, 2)
    assert flow.dtype == np.float32
    assert not flow.any()


@few_examples
@given(height=st.integers(40, 100), width=st.integers(40, 100))
def test_padding_of_rows_does_not_show_in_the_result(height, width):
    first, second = noise_pair(height, width)
    solver = tvl1.TVL1(num_scales=1, num_warps=1)
    flow = solver.calc(first, second)
    mirrored = solver.calc(first[:, ::-1], second[:, ::-1])[:, ::-1]
    assert np.abs(flow[..., 0].mean() + mirrored[..., 0].mean()) < 0.02
    reference = cv2.optflow.DualTVL1OpticalFlow_create(
        nscales=1, warps=1, scaleStep=0.5, epsilon=0.02
    ).calc(first, second, None)
    assert np.linalg.norm(flow - reference, axis=-1).max() < 0.1


@pytest.mark.parametrize("median_filter", [1, 3, 5])
def test_each_parameter_means_what_it_means_in_opencv(median_filter):
    values = {"tau": 0.2, "theta": 0.25, "epsilon": 0.015}
    counts = {"inner_iterations": 4, "outer_iterations": 3}
    solver = tvl1.TVL1(
        num_scales=3, scale_step=0.6, num_warps=2, lambda_=0.1, median_filter=median_filter,
        **values, **counts,
    )  # fmt: skip
    reference = cv2.optflow.DualTVL1OpticalFlow_create(
        nscales=3, scaleStep=0.6, warps=2, medianFiltering=median_filter,
        innnerIterations=4, outerIterations=3, **values,
    )  # fmt: skip
    reference.setLambda(0.1)
    first, second = noise_pair()
    distance = np.linalg.norm(
        solver.calc(first, second) - reference.calc(first, second, None), axis=-1
    )
    assert distance.mean() < 0.01


@pytest.mark.parametrize(
    ("scene", "preset", "opencv_error"),  # OpenCV's errors in pixels: README beside the scenes
    [
        ("RubberWhale", "fast", 0.178),
        ("RubberWhale", "quality", 0.156),
        ("Dimetrodon", "fast", 0.187),
        ("Dimetrodon", "quality", 0.180),
        ("Venus", "fast", 0.350),
        ("Venus", "quality", 0.306),
    ],
)
def test_error_on_middlebury_is_not_above_opencv(scene, preset, opencv_error):
    folder = MIDDLEBURY / scene
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    first = cv2.imread(str(folder / "frame10.png"), cv2.IMREAD_GRAYSCALE)
    second = cv2.imread(str(folder / "frame11.png"), cv2.IMREAD_GRAYSCALE)
    truth = cv2.readOpticalFlow(str(folder / "flow10.flo"))
    known = (np.abs(truth) < UNKNOWN_FLOW).all(axis=-1)
    error = np.linalg.norm(tvl1.TVL1(preset).calc(first, second) - truth, axis=-1)[known].mean()
    assert error <= opencv_error + 0.005


@pytest.mark.parametrize("size", [(240, 320), (121, 173), (64, 64)])
def test_bytes_do_not_depend_on_the_number_of_threads(size):
    first, second = noise_pair(*size)
    expected = tvl1.TVL1().calc(first, second)
    for num_threads in (2, 3, 5):
        flow = tvl1.TVL1(num_threads=num_threads).calc(first, second)
        np.testing.assert_array_equal(flow, expected)


def test_a_result_is_new_and_does_not_depend_on_earlier_calls():
    first, second = noise_pair()
    solver = tvl1.TVL1()
    flow = solver.calc(first, second)
    kept = flow.copy()
    solver.calc(*noise_pair(80, 60, seed=7))
    solver.calc(*noise_pair(seed=3))
    np.testing.assert_array_equal(flow, kept)
    np.testing.assert_array_equal(solver.calc(first, second), kept)


def test_python_threads_with_own_solvers_agree_with_one_thread():
    pairs = [noise_pair(seed=seed) for seed in range(4)]
    expected = [tvl1.TVL1().calc(*pair) for pair in pairs]
    results = [None] * 4

    def solve(place):
        solver = tvl1.TVL1(num_threads=1 + place % 2)
        results[place] = [solver.calc(*pairs[place]) for _ in range(5)]

    threads = [threading.Thread(target=solve, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for flows, flow in zip(results, expected, strict=True):
        assert all(np.array_equal(other, flow) for other in flows)


def test_next_equals_calc_of_consecutive_images_even_if_the_buffer_is_reused():
    images = [noise_pair(seed=seed)[0].astype(np.float32) for seed in range(4)]
    stream, solver = tvl1.TVL1(), tvl1.TVL1()
    buffer = images[0].copy()
    assert not stream.next(buffer).any()
    for previous, image in zip(images, images[1:], strict=False):
        buffer[:] = image
        np.testing.assert_array_equal(stream.next(buffer), solver.calc(previous, image))


def test_float_images_and_views_give_the_same_as_bytes():
    first, second = noise_pair()
    expected = tvl1.TVL1().calc(first, second)
    as_float = tvl1.TVL1().calc(first.astype(np.float32), second.astype(np.float32))
    np.testing.assert_array_equal(as_float, expected)
    wide = np.stack([first, second], axis=-1)
    np.testing.assert_array_equal(tvl1.TVL1().calc(wide[..., 0], wide[..., 1]), expected)


def flow_digest(folder, images, **environment):
    """Digest of the flow as a fresh process computes it, and what it wrote on stderr."""
    script = [sys.executable, "-c", PRINT_FLOW_DIGEST, str(images)]
    kept = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    done = subprocess.run(
        script,
        cwd=folder,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr


@pytest.fixture(scope="module")
def images_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("images") / "pair.npy"
    np.save(path, np.stack(noise_pair(), axis=0))
    return path


def test_processes_started_together_agree(images_file):
    results = [None] * 3

    def start(place):
        results[place] = flow_digest(ROOT, images_file)[0]

    threads = [threading.Thread(target=start, args=(place,)) for place in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results[0]
    assert len(set(results)) == 1


def copy_solver(folder):
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "tvl1", folder / "tvl1", ignore=ignored)


def quick_digest(folder, images, home="home"):
    """`flow_digest` of code that is compiled sooner, in a world where `home` is the user's."""
    homes = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "LOCALAPPDATA"), str(folder / home))
    return flow_digest(folder, images, NUMBA_OPT="1", **homes)


@pytest.fixture(scope="module")
def compiled_solver(tmp_path_factory, images_file):
    """A folder with a copy of the solver and its compiled code, and the digest of its flow."""
    folder = tmp_path_factory.mktemp("compiled")
    copy_solver(folder)
    return folder, quick_digest(folder, images_file)[0]


def test_without_a_writable_install_folder_code_is_kept_in_the_users_cache(images_file, tmp_path):
    copy_solver(tmp_path)
    # Permissions do not stop root, but nobody can make a folder where a file already is.
    (tmp_path / "tvl1" / "__pycache__").write_text("in the way")
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "home").mkdir()
    nowhere, nowhere_message = quick_digest(tmp_path, images_file, home="file")
    compiled, compiled_message = quick_digest(tmp_path, images_file)
    cached, cached_message = quick_digest(tmp_path, images_file)
    assert "cannot be kept on disk" in nowhere_message
    assert nowhere_message.count("once per") == compiled_message.count("once per") == 1
    assert cached_message == ""
    assert nowhere == compiled == cached


@pytest.mark.parametrize("damaged", ["*.nbi", "*.nbc"])
def test_damaged_code_on_disk_is_replaced(compiled_solver, images_file, tmp_path, damaged):
    folder, expected = compiled_solver
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    assert quick_digest(tmp_path, images_file) == (expected, "")
    (path,) = (tmp_path / "tvl1" / "__pycache__").glob(damaged)
    os.truncate(path, path.stat().st_size // 2)
    healed, message = quick_digest(tmp_path, images_file)
    assert healed == expected
    assert "compiling" in message and "cannot be kept" not in message
    assert quick_digest(tmp_path, images_file) == (expected, "")


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("tvl1/row.py", "CUBIC = -0.75", "CUBIC = -0.5"),
        ("tvl1/llvm.py", "range(16)]", "range(16)][::-1]"),
    ],
)
def test_a_change_in_any_compiled_module_is_noticed(
    compiled_solver, images_file, tmp_path, module, old, new
):
    folder, before = compiled_solver
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    source = (tmp_path / module).read_text()
    assert source.count(old) == 1
    (tmp_path / module).write_text(source.replace(old, new))
    after, message = quick_digest(tmp_path, images_file)
    assert "compiling" in message
    assert after != before


def test_a_solver_works_on_after_an_interrupt():
    first, second = noise_pair()
    solver = tvl1.TVL1(num_threads=2, num_scales=1)  # smaller scales are left to one thread
    expected = solver.calc(first, second)
    solve_band = solver._solve_band

    def interrupted(*task):
        if task[-1] == 0:  # where Ctrl-C arrives: the thread that calls
            raise KeyboardInterrupt
        solve_band(*task)

    solver._solve_band = interrupted
    with pytest.raises(KeyboardInterrupt):
        solver.calc(first, second)
    solver._solve_band = solve_band
    np.testing.assert_array_equal(solver.calc(first, second), expected)


def test_importing_does_not_load_numba():
    code = "import sys, tvl1; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


GRAY = np.zeros((32, 32), np.uint8)


@pytest.mark.parametrize(
    ("previous", "following", "message"),
    [
        (GRAY, np.zeros((32, 33), np.uint8), r"\(32, 32\).*\(32, 33\)"),
        (GRAY.astype(np.float64), GRAY, "uint8 or float32.*float64"),
        (GRAY.tolist(), GRAY, "uint8 or float32.*list"),
        (np.zeros((32, 32, 3), np.uint8), GRAY, r"\(height, width\).*\(32, 32, 3\)"),
        (np.zeros((15, 32), np.uint8), GRAY, r"at least 16 px.*\(15, 32\)"),
        (GRAY, np.full((32, 32), np.nan, np.float32), "next_gray.*finite"),
    ],
)
def test_bad_images_are_refused(previous, following, message):
    with pytest.raises(ValueError, match=message):
        tvl1.TVL1().calc(previous, following)


def test_a_stream_whose_images_change_size_is_refused():
    stream = tvl1.TVL1()
    stream.next(GRAY)
    with pytest.raises(ValueError, match=r"\(32, 32\).*\(40, 32\)"):
        stream.next(np.zeros((40, 32), np.uint8))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"preset": "best"}, "fast.*quality.*best"),
        ({"num_scale": 3}, "num_scales.*num_scale"),
        ({"tau": 0}, "tau.*above 0.*0"),
        ({"epsilon": float("nan")}, "epsilon.*nan"),
        ({"scale_step": 1.0}, "between 0 and 1.*1.0"),
        ({"num_warps": 2.5}, "whole number.*2.5"),
        ({"median_filter": 7}, "1, 3 or 5.*7"),
        ({"num_threads": 0}, "num_threads.*whole number.*0"),
        ({"theta": "0.3"}, "theta.*'0.3'"),
    ],
)
def test_bad_parameters_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        tvl1.TVL1(**arguments)


def test_more_scales_than_the_image_has_are_left_out():
    first, second = noise_pair()
    expected = tvl1.TVL1(num_scales=3).calc(first, second)  # 96, 48 and 24 rows; 12 are too few
    np.testing.assert_array_equal(tvl1.TVL1(num_scales=50).calc(first, second), expected)


def test_parameters_tell_what_is_in_force():
    assert tvl1.TVL1("quality", num_warps=2).parameters == {
        **tvl1.PRESETS["quality"],
        "num_warps": 2,
    }
