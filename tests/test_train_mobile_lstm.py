"""train_mobile_lstm.py, evaluation/comparison.py: both phases, features, resuming, refusing."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

import evaluate
import feature
import opticalflow
import train_i3d
import train_mobile_lstm
from common import dataset as data
from common import network_input
from common.network_input import STREAMS
from common.presets import MOBILE_LSTM_PRESETS
from evaluation import comparison
from i3d import top
from inference import run_folder
from inference.saved_network import load_model
from tests.helpers import TINY, copy_of, run_script
from train_mobile_lstm import MobileLSTMOptions
from training import fitting, history

MOBILE_TINY = dataclasses.replace(
    MOBILE_LSTM_PRESETS["laptop"],
    num_frames=8,
    frame_size=(40, 48),
    input_size=(32, 32),
    width_multiplier=TINY.width_multiplier,
    epochs_top=3,
    epochs_all=0,
    epochs_for_clips=0,
)


@pytest.fixture(scope="module")
def dataset(stored_dataset, tmp_path_factory):
    """A copy of `stored_dataset` with weights of an extractor and features made with them."""
    import model_mobile

    root = tmp_path_factory.mktemp("mobile")
    dataset = copy_of(stored_dataset, root)
    dataset.preset = MOBILE_TINY
    extractor = model_mobile.build_extractor("mobilenet", 32, 32, 3, TINY.width_multiplier)
    trunk = next(layer for layer in extractor.layers if hasattr(layer, "layers"))
    trunk.save_weights(root / "mobile.weights.h5")
    weights = str(root / "mobile.weights.h5")
    options = MobileLSTMOptions(weights=weights)
    report = feature.extract_streams(dataset, options, "mobilenet")
    assert report.done == 32
    return dataset


@pytest.fixture(scope="module")
def mobile_run(dataset):
    run = train(dataset, units=(8, 8)).output
    evaluate.evaluate(run, engine="keras")
    return run


def train(dataset, **options):
    dataset.preset = MOBILE_TINY
    options = {"weights": str(dataset.root / "mobile.weights.h5"), "units": (8, 8)} | options
    return train_mobile_lstm.train(dataset, MobileLSTMOptions(**options))


def test_a_run_holds_everything_to_use_it(mobile_run):
    run = run_folder.Run.read(mobile_run)
    assert mobile_run.name == "moves-laptop-mobile_lstm-seed0"
    assert run.architecture == "mobile_lstm" and run.streams == ["rgb", "flow"]
    assert run.options["extractor"] == "mobilenet" and run.options["units"] == [8, 8]
    assert len(run.options["weights_sha256"]) == 64
    table = history.read(mobile_run)
    assert table["stream"].tolist() == ["rgb"] * 3 + ["flow"] * 3
    assert set(table["phase"]) == {"top"} and table.notna().all().all()
    result = json.loads((mobile_run / "evaluation.json").read_text())
    assert result["test"]["num_videos"] == 4


def test_the_network_on_frames_answers_as_the_lstm_on_features(dataset, mobile_run):
    run = run_folder.Run.read(mobile_run)
    network = load_model(run.model_file("flow"), compile=False)
    clips = dataset.stored_clips("flow")[:4]
    stored = [opticalflow.load_clip("flow", clip.path) for clip in clips]
    inputs = np.stack([network_input.flow_input(clip, 32, 32) for clip in stored])
    features = [np.load(path) for path in train_mobile_lstm.features(run, "flow", clips)]
    on_features = train_mobile_lstm.top(network)(np.stack(features).astype(np.float32))
    assert np.allclose(network(inputs), on_features, atol=2e-3)


def test_an_interrupted_training_ends_as_an_undisturbed_one(dataset, mobile_run, monkeypatch):
    finish_epoch = fitting.EpochKeeper.on_epoch_end

    def interrupt(keeper, epoch, logs=None):
        finish_epoch(keeper, epoch, logs)
        raise KeyboardInterrupt

    monkeypatch.setattr(fitting.EpochKeeper, "on_epoch_end", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(dataset, run="interrupted", stream="rgb")
    monkeypatch.undo()
    with pytest.raises(ValueError, match="unfinished.*--resume"):
        train(dataset, run="interrupted", stream="rgb")
    folder = train(dataset, run="interrupted", stream="rgb", resume=True).output
    runs = [run_folder.Run.read(path) for path in (folder, mobile_run)]
    one, other = (load_model(run.newest_checkpoint("rgb")[1]) for run in runs)
    for weight, expected in zip(one.get_weights(), other.get_weights(), strict=True):
        assert np.array_equal(weight, expected)


def test_the_second_phase_trains_the_extractor_on_frames(dataset, mobile_run):
    dataset.preset = dataclasses.replace(MOBILE_TINY, epochs_top=1, epochs_all=1)
    weights = str(dataset.root / "mobile.weights.h5")
    options = MobileLSTMOptions(weights=weights, units=(8, 8), run="both", stream="flow")
    report = train_mobile_lstm.train(dataset, options)
    assert history.read(report.output)["phase"].tolist() == ["top", "all"]
    runs = [run_folder.Run.read(path) for path in (report.output, mobile_run)]
    trained, frozen = (load_model(run.newest_checkpoint("flow")[1]) for run in runs)
    one, other = (model.get_layer("per_frame").get_weights() for model in (trained, frozen))
    assert not all(np.array_equal(*pair) for pair in zip(one, other, strict=True))


def test_features_of_other_weights_are_refused(dataset, tmp_path):
    other = shutil.copy(dataset.root / "mobile.weights.h5", tmp_path / "other.weights.h5")
    with open(other, "ab") as file:
        file.write(b"\0")
    with pytest.raises(ValueError, match="weights is .*, wanted .*python feature.py"):
        train(dataset, weights=str(other), run="new")
    with pytest.raises(ValueError, match=r"settings: units was \[8, 8\], is \[8, 16\]"):
        train(dataset, units=(8, 16))


def test_another_number_of_frames_is_refused(dataset, mobile_run):
    preset = dataclasses.replace(MOBILE_TINY, num_frames=16, epochs_top=0)
    dataset.preset = preset
    with pytest.raises(ValueError, match="num_frames is 8, wanted 16"):
        train_mobile_lstm.train(dataset, MobileLSTMOptions(weights="none", run="longer"))


def test_a_changed_class_list_is_refused(dataset, mobile_run):
    dataset.class_file.parent.mkdir(parents=True, exist_ok=True)
    dataset.class_file.write_text("class,name,category\nleft,right,\nright,left,\n")
    try:
        with pytest.raises(ValueError, match="name='left'.* says .*name='right'"):
            evaluate.evaluate(mobile_run)
        with pytest.raises(ValueError, match="names or orders the signs otherwise"):
            train(dataset)
    finally:
        dataset.class_file.unlink()


def test_i3d_solves_its_top_alone_on_stored_features(dataset):
    for stream in STREAMS:
        assert feature.extract_features(dataset, stream, "i3d", "none").done == 16
    dataset.preset = TINY
    options = train_i3d.I3DOptions(weights="none", top_only=True, run="top")
    folder = train_i3d.train(dataset, options).output
    run = run_folder.Run.read(folder)
    assert run.architecture == "i3d" and run.preset.epochs_all == 0
    assert history.read(folder)["phase"].tolist() == ["top", "top"]  # one epoch a stream
    network = load_model(run.model_file("flow"), compile=False)
    clip = dataset.stored_clips("flow")[0]
    stored = opticalflow.load_clip("flow", clip.path)
    inputs = network_input.flow_input(stored, 32, 32)[None]
    features = np.load(feature.files(run, "flow", [clip], "i3d")[0]).astype(np.float32)
    kernel, biases = network.get_layer("Conv3d_6a_1x1_conv").get_weights()
    on_features = top.probabilities(features, kernel[0, 0, 0], biases)
    assert np.allclose(network(inputs), on_features, atol=2e-3)


def test_runs_of_one_data_set_compare(dataset, mobile_run, capsys):
    rows = comparison.compare([mobile_run, mobile_run], engine="keras")
    table = history.read(mobile_run)
    network = load_model(mobile_run / "flow.keras", compile=False)
    assert rows[0]["run"] == mobile_run.name and rows[0]["answer"] > 0
    assert rows[0]["training"] == pytest.approx(table["seconds"].sum())
    assert comparison.num_parameters(mobile_run / "flow.keras") == network.count_params()
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith(mobile_run.name) for line in lines) == 2


def test_runs_of_different_clips_do_not_compare(mobile_run, tmp_path):
    other = shutil.copytree(mobile_run, tmp_path / "model" / "other")
    path = other / "evaluation.json"
    result = json.loads(path.read_text())["test"]
    path.write_text(json.dumps({"test": {**result, "num_videos": 5}}))
    with pytest.raises(
        ValueError, match="4 clips of test of moves, but .*other on 5 clips of test"
    ):
        comparison.compare([mobile_run, other])
    path.write_text(json.dumps({"val": result}))
    with pytest.raises(ValueError, match="share no split .*: test; .*other: val"):
        comparison.compare([mobile_run, other])
    path.unlink()
    with pytest.raises(FileNotFoundError, match="Run `python evaluate.py --model .*other` first"):
        comparison.compare([mobile_run, other])


def test_random_weights_are_trained_as_long_as_the_top_would_be():
    dataset = data.Dataset("my_signs", "full", presets=MOBILE_LSTM_PRESETS)
    assert train_mobile_lstm.set_weights(dataset, "none", "mobilenet") == "none"
    assert (dataset.preset.epochs_top, dataset.preset.epochs_all) == (0, 20)


def test_missing_weights_stop_the_pipeline_before_its_first_stage(stored_dataset):
    result = run_script(
        "pipeline_mobile_lstm.py",
        *("--dataset", "moves", "--weights", "nowhere.h5"),
        cwd=stored_dataset.root,
        check=1,
        timeout=30,
    )
    assert "No file nowhere.h5" in result.stderr and "Traceback" not in result.stderr
