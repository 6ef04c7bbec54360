"""inference/engine.py, conversion.py: same answers as Keras, kept on disk, anew when damaged."""

import dataclasses
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

import opticalflow
import train_i3d
from common import network_input
from common.slow_imports import import_keras
from i3d.shapes import TOP_CONVOLUTION
from inference import conversion, converted_files, engine, run_folder, steps, winograd
from inference.clip import FRAME, FrameByFrameClip, StepwiseClip, WholeClip
from inference.saved_network import load_model
from predict import Recognizer
from tests.helpers import ENVIRONMENT, ROOT, TINY, moving_square

TOLERANCE = 1e-4  # in probability
SECOND_START = (
    "import sys; from predict import Recognizer; import numpy as np\n"
    "recognizer = Recognizer({run!r})\n"
    "answer = recognizer.predict(np.zeros((8, 40, 48, 3), np.uint8))\n"
    "heavy = [name for name in ('keras', 'tensorflow', 'openvino_telemetry') "
    "if sys.modules.get(name)]\n"
    "print(recognizer.engine, heavy, len(answer.ranking))\n"
)


@pytest.fixture(scope="module")
def run(trained_run, tmp_path_factory):
    """A run of its own, with its networks converted."""
    folder = shutil.copytree(trained_run, tmp_path_factory.mktemp("engine") / "model" / "run")
    shutil.rmtree(folder / "openvino", ignore_errors=True)
    run = run_folder.Run.read(folder)
    engine.open_networks(run, "openvino")
    return run


@pytest.fixture
def fresh_run(run, tmp_path, monkeypatch):
    """A copy that may be changed; the user's cache folder is an empty one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return run_folder.Run.read(shutil.copytree(run.folder, tmp_path / "model" / "run"))


@pytest.fixture(scope="module")
def i3d_run(run, tmp_path_factory):
    """A run with an I3D of random weights, of rgb alone; do not change it."""
    folder = tmp_path_factory.mktemp("i3d") / "model" / "run"
    run = run_folder.Run.read(shutil.copytree(run.folder, folder))
    run.model_file("flow").unlink()
    run.write()
    save_random_networks(run)
    return run


@pytest.fixture(scope="module")
def per_frame_run(run, tmp_path_factory):
    """A run whose networks look at every frame by itself, then at all features with an LSTM."""
    import_keras()
    import keras

    import model_lstm

    keras.utils.set_random_seed(0)
    folder = shutil.copytree(run.folder, tmp_path_factory.mktemp("per_frame") / "model" / "run")
    for stream, channels in (("rgb", 3), ("flow", 2)):
        frame = keras.Input((*TINY.input_size, channels))
        x = keras.layers.Conv2D(8, 3, strides=4, activation="relu")(frame)
        features = keras.layers.GlobalAveragePooling2D()(keras.layers.DepthwiseConv2D(3)(x))
        extractor = keras.Model(frame, features)
        network = model_lstm.build_lstm(extractor, TINY.num_frames, 2, units=(8, 8))
        network.set_weights([3 * weight + 0.1 for weight in network.get_weights()])
        network.save(folder / f"{stream}.keras")
    return run_folder.Run.read(folder)


def save_random_networks(run):
    """I3Ds with a top so steep that clips do not look alike, around the answer to gray clips."""
    keras = import_keras()
    for stream in run.streams:
        model = train_i3d.build(run, stream)
        top = model.get_layer(TOP_CONVOLUTION)
        kernel, bias = top.get_weights()
        top.set_weights([300 * kernel, 0 * bias])
        logits = keras.Model(model.input, model.get_layer("logits").output)
        gray = np.zeros((1, *model.input_shape[1:]), np.float32)
        top.set_weights([300 * kernel, -logits.predict_on_batch(gray)[0]])
        model.save(run.model_file(stream))


def clips_of(run, stream, number=3):
    shape = converted_files.input_shape(run, stream)
    return np.random.default_rng(0).uniform(-1, 1, (number, *shape)).astype(np.float32)


def converted_dir(run, stream):
    return run.folder / "openvino" / converted_files.folder_name(run, stream)


def forbid_conversion(monkeypatch):
    def refuse(model):
        raise AssertionError("converted again")

    monkeypatch.setattr(conversion, "convert", refuse)


@pytest.mark.parametrize("which", ["run", "i3d_run", "per_frame_run"])
def test_openvino_answers_like_keras(which, request):
    run = request.getfixturevalue(which)
    used, reason, networks = engine.open_networks(run, "auto")
    assert (used, reason) == ("openvino", "")
    _, _, of_keras = engine.open_networks(run, "keras")
    for stream in run.streams:
        clips = clips_of(run, stream)
        answer = networks[stream](clips)
        assert answer.dtype == np.float32 and answer.shape == (3, 2)
        assert not np.allclose(answer[0], answer[1], atol=1e-6)  # clips differ, so do answers
        assert np.abs(answer - of_keras[stream](clips)).max() < TOLERANCE
        model = load_model(run.model_file(stream), compile=False)
        assert np.abs(answer - model.predict(clips, verbose=0)).max() < TOLERANCE


@pytest.mark.parametrize("used", ["keras", "openvino"])
def test_networks_that_see_single_frames_work_while_frames_arrive(per_frame_run, used):
    recognizer = Recognizer(per_frame_run.folder, used)
    networks = recognizer.networks.values()
    assert recognizer.engine == used
    assert all(type(network.clip()) is FrameByFrameClip for network in networks)
    frames = moving_square(8, (1, 0), (40, 48))
    clip = recognizer.stream(8)
    for image in frames:
        clip.add(image)
    stored = {"rgb": frames, "flow": opticalflow.frames_to_flow(frames)}
    whole = {
        stream: recognizer.probabilities(
            stream, network_input.stream_input(stream, stored[stream], *TINY.input_size)[None]
        )[0]
        for stream in recognizer.streams
    }
    for network in networks:  # all frames have been seen, so nothing needs the first part any more
        network._parts[FRAME] = None
    for stream, scores in clip.answer().streams.items():
        assert scores == pytest.approx(whole[stream], abs=TOLERANCE)


def test_a_sliding_window_answers_like_a_clip_of_the_same_frames(per_frame_run):
    recognizer = Recognizer(per_frame_run.folder)
    frames = moving_square(9, (1, 0), (40, 48))
    window = recognizer.stream(8)
    for image in frames[:8]:
        window.add(image)
    window.slide()
    window.add(frames[8])
    expected = recognizer.predict(frames[1:]).streams
    for stream, scores in window.copy().answer().streams.items():
        assert scores == pytest.approx(expected[stream], abs=1e-3)


@pytest.fixture(scope="module")
def long_run(run, tmp_path_factory):
    """A run with networks of I3D that are long enough for steps."""
    folder = tmp_path_factory.mktemp("long") / "model" / "run"
    run = run_folder.Run.read(shutil.copytree(run.folder, folder))
    run.preset = dataclasses.replace(run.preset, num_frames=14, subtract_mean=False)
    run.write()
    save_random_networks(run)
    return run


@pytest.fixture
def stepwise_run(long_run, monkeypatch):
    """The same, where they count as large; do not change it."""
    monkeypatch.setattr(steps, "MIN_PARAMETERS", 0)
    monkeypatch.setattr(winograd, "MIN_GFLOP", 0)
    return long_run


@pytest.mark.parametrize("used", ["openvino", "keras"])
def test_i3d_answers_to_a_clip_that_arrives_as_to_the_whole(stepwise_run, used):
    live, whole = (Recognizer(stepwise_run.folder, used, stepwise) for stepwise in (True, False))
    kinds = {type(network.clip()) for network in live.networks.values()}
    assert kinds == {StepwiseClip if used == "openvino" else WholeClip}
    assert {type(network.clip()) for network in whole.networks.values()} == {WholeClip}
    frames = moving_square(16, (2, 1), (40, 48))
    window = live.stream(14)
    for image in frames[:14]:
        window.add(image)
    answers = []
    for start in (0, 1, 2):
        if start:
            window.slide()
            window.add(frames[13 + start])
        expected = whole.predict(frames[start : start + 14]).streams
        for stream, scores in window.copy().answer().streams.items():
            assert scores == pytest.approx(expected[stream], abs=TOLERANCE)
        answers.append(expected)
    for stream in live.streams:
        one, two, three = (answer[stream][0] for answer in answers)
        assert min(abs(one - two), abs(two - three)) > 5 * TOLERANCE  # else the test would be blind


def test_clips_that_arrive_together_do_not_mix(stepwise_run):
    recognizer = Recognizer(stepwise_run.folder, "openvino", stepwise=True)
    frames = moving_square(16, (2, 1), (40, 48))
    answers = []
    windows = recognizer.stream(14), recognizer.stream(14)
    for images in zip(frames[:14], frames[2:], strict=True):
        for window, image in zip(windows, images, strict=True):
            window.add(image)
    for start, window in zip((0, 2), windows, strict=True):
        answers.append(window.answer().streams)
        expected = recognizer.predict(frames[start : start + 14]).streams
        assert answers[-1] == {name: pytest.approx(expected[name], abs=1e-6) for name in expected}
    assert abs(answers[0]["flow"][0] - answers[1]["flow"][0]) > TOLERANCE


def test_steps_are_kept_on_disk(stepwise_run, tmp_path, monkeypatch):
    new = shutil.ignore_patterns("openvino", "rgb.keras")
    run = run_folder.Run.read(shutil.copytree(stepwise_run.folder, tmp_path / "new", ignore=new))
    converted = engine.open_networks(run, "openvino")[2]["flow"]
    assert type(converted.clip()) is WholeClip
    forbid_conversion(monkeypatch)
    kept = engine.open_networks(run, "openvino", stepwise=True)[2]["flow"]
    assert type(kept.clip()) is StepwiseClip
    place = converted_dir(run, "flow")
    (place / "step.bin").write_bytes(b"damaged")
    for path in place.glob("step-*.compiled"):
        path.unlink()
    assert converted_files.load_parts(place, run, "flow", stepwise=True) is None
    assert converted_files.load_parts(place, run, "flow")


def test_second_start_needs_no_keras(run):
    code = SECOND_START.format(run=str(run.folder))
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        cwd=ROOT.parent,
        timeout=120,
    )
    assert result.stdout == "openvino [] 2\n", result.stdout + result.stderr
    assert result.stderr == ""


@pytest.mark.skipif(
    import_keras().backend.backend() != "tensorflow",
    reason="only on TensorFlow, poolings that train fast are no poolings",
)
def test_the_plain_layers_are_converted(i3d_run):
    openvino = conversion.import_openvino()
    engine.open_networks(i3d_run, "openvino")
    whole = converted_dir(i3d_run, "rgb") / "whole.xml"
    kinds = [node.get_type_name() for node in openvino.Core().read_model(whole).get_ops()]
    assert kinds.count("MaxPool") == 13  # as poolings of frames they would be reshaped
    assert "Reshape" not in kinds and "FakeQuantize" not in kinds


@pytest.mark.parametrize("suffix", [".xml", ".bin", ".compiled", ".json", "all"])
@pytest.mark.parametrize("damage", ["truncated", "flipped"])
def test_damaged_files_are_made_anew(fresh_run, suffix, damage):
    expected = engine.open_networks(fresh_run, "openvino")[2]["flow"](clips_of(fresh_run, "flow"))
    place = converted_dir(fresh_run, "flow")
    damaged = [path for path in place.iterdir() if suffix in (path.suffix, "all")]
    assert damaged
    if suffix in (".xml", ".bin"):  # else they are not read at all
        damaged += place.glob("*.compiled")
    for path in damaged:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 0x55
        path.write_bytes(content if damage == "flipped" else content[: len(content) // 2])
    networks = engine.open_networks(fresh_run, "openvino")[2]
    assert np.array_equal(networks["flow"](clips_of(fresh_run, "flow")), expected)
    for name, digest in json.loads((place / "contents.json").read_text()).items():
        assert converted_files._digest((place / name).read_bytes()) == digest


def test_a_retrained_network_is_converted_anew(fresh_run):
    old = converted_dir(fresh_run, "flow")
    model = load_model(fresh_run.model_file("flow"), compile=False)
    model.set_weights([weight + 0.05 for weight in model.get_weights()])
    model.save(fresh_run.model_file("flow"))
    clips = clips_of(fresh_run, "flow")
    networks = engine.open_networks(fresh_run, "openvino")[2]
    assert np.abs(networks["flow"](clips) - model.predict(clips, verbose=0)).max() < TOLERANCE
    assert converted_dir(fresh_run, "flow") != old
    assert not old.exists() and converted_dir(fresh_run, "flow").is_dir()


def test_a_model_that_does_not_fit_run_json_is_refused(fresh_run):
    shutil.copy(fresh_run.model_file("rgb"), fresh_run.model_file("flow"))
    shutil.rmtree(converted_dir(fresh_run, "rgb").parent)
    with pytest.raises(ValueError, match="but run.json beside it says"):
        engine.open_networks(fresh_run, "auto")


def test_files_that_fit_another_run_are_not_used(fresh_run):
    flow = converted_dir(fresh_run, "flow")
    shutil.rmtree(flow)
    shutil.copytree(converted_dir(fresh_run, "rgb"), flow)
    assert converted_files.load_parts(flow, fresh_run, "flow") is None
    assert converted_files.load_parts(flow, fresh_run, "rgb")


def test_an_unsafe_network_is_refused_although_it_was_converted(fresh_run):
    fresh_run.model_file("flow").write_bytes(b"no zip file")
    with pytest.raises(ValueError, match="not a whole .keras file"):
        engine.open_networks(fresh_run, "auto")


@pytest.mark.parametrize("obstacle", ["run", "both"])
def test_where_nothing_can_be_written(fresh_run, tmp_path, obstacle, monkeypatch):
    shutil.rmtree(fresh_run.folder / "openvino")
    (fresh_run.folder / "openvino").write_text("a file, so that no folder can be made")
    cache = converted_files.cache_dir()
    assert cache.is_relative_to(tmp_path)
    if obstacle == "both":
        cache.parent.mkdir(parents=True)
        cache.write_text("another one")
    networks = engine.open_networks(fresh_run, "auto")[2]
    assert networks["flow"](clips_of(fresh_run, "flow")).shape == (3, 2)
    if obstacle == "run":
        assert len(list(cache.glob("*/*/contents.json"))) == 2
        forbid_conversion(monkeypatch)
        assert engine.open_networks(fresh_run, "auto")[0] == "openvino"


def test_two_processes_at_once(fresh_run):
    shutil.rmtree(fresh_run.folder / "openvino")
    place = converted_dir(fresh_run, "flow")
    code = f"from predict import Recognizer\nprint(Recognizer({str(fresh_run.folder)!r}).engine)"
    command = [sys.executable, "-c", code]
    processes = [
        subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert [process.communicate(timeout=180)[0] for process in processes] == ["openvino\n"] * 2
    assert len(list(place.parent.glob("*/contents.json"))) == 2
    assert not list(place.parent.glob(".partial"))


def test_auto_falls_back_to_keras_and_says_why(run, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "openvino", None)
    recognizer = Recognizer(run.folder)
    assert recognizer.engine == "keras" and "cannot be imported" in recognizer.engine_note
    with pytest.raises(ValueError, match="OpenVINO cannot be imported"):
        Recognizer(run.folder, "openvino")


def test_auto_falls_back_where_openvino_cannot_take_the_network(fresh_run, monkeypatch):
    shutil.rmtree(fresh_run.folder / "openvino")
    monkeypatch.setattr(conversion, "_tensorflow_function", lambda model, shape: None)
    monkeypatch.setattr(conversion.import_keras().backend, "backend", lambda: "jax")
    used, reason, _ = engine.open_networks(fresh_run, "auto")
    assert used == "keras" and "backend jax" in reason


def test_int8_names_the_command_that_makes_it(run):
    with pytest.raises(FileNotFoundError, match="export.py --model .* --int8"):
        Recognizer(run.folder, "int8")
