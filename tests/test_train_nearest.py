"""A run of the nearest clip: made in seconds, used like a trained one, without Keras."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

import evaluate
import export
import feature
import frame
import opticalflow
import predict
import train_nearest
from common import dataset as data
from common.class_list import Sign, write_class_file
from evaluation import comparison
from inference import run_folder
from nearest import files
from nearest.comparison import HOG_HOF, SIGNS
from tests.helpers import ENVIRONMENT, ROOT, moving_square, run_script

TEACH = """
import sys
sys.argv = ["pipeline_nearest.py", "--dataset", "moves", "--preset", "laptop", "--workers", "1"]
import pipeline_nearest
assert pipeline_nearest.main(sys.argv[1:]) == 0
import evaluate, livedemo, predict
predict.Recognizer("moves-laptop-nearest-seed0")
found = sorted({"keras", "tensorflow", "torch", "jax"} & set(sys.modules))
assert not found, found
"""


def nearest_dataset(root):
    dataset = data.Dataset("moves", "laptop", root, train_nearest.NEAREST_PRESETS)
    frame.extract_frames(dataset, workers=1)
    opticalflow.extract_flow(dataset, workers=1)
    options = train_nearest.NearestOptions(workers=1)
    feature.extract_streams(dataset, options, *train_nearest.extractors(dataset.preset))
    return dataset


@pytest.fixture(scope="module")
def nearest_run(stored_dataset, tmp_path_factory):
    """(dataset, folder of its run) in a folder of their own; do not change them."""
    root = tmp_path_factory.mktemp("nearest")
    shutil.copytree(stored_dataset.root / "data_set", root / "data_set")
    dataset = nearest_dataset(root)
    run = train_nearest.train(dataset).output
    evaluate.evaluate(run)
    return dataset, run


@pytest.fixture
def moved(nearest_run, tmp_path):
    dataset, run = nearest_run
    shutil.copytree(dataset.root, tmp_path / "root")
    other = data.Dataset("moves", "laptop", tmp_path / "root", train_nearest.NEAREST_PRESETS)
    return other, other.root / "model" / run.name


def test_what_former_weights_of_the_project_made_is_made_anew(moved, capsys):
    dataset, run = moved
    folder = dataset.feature_dir("rgb", "signs")
    parameters = folder / "parameters.json"
    there = parameters.read_text()
    file = feature.files(run_folder.Run.read(run), "rgb", dataset.stored_clips("rgb"), "signs")[0]
    expected = file.read_bytes()
    parameters.write_text(json.dumps({**json.loads(there), "weights": "former"}))
    file.write_bytes(b"former")
    with pytest.raises(ValueError, match="weights is former"):
        train_nearest.train(dataset)
    predict.Recognizer(train_nearest.open_dataset(dataset, 1).run.folder)
    assert "made anew" in capsys.readouterr().out
    assert file.read_bytes() == expected and parameters.read_text() == there
    parameters.write_text(json.dumps({**json.loads(there), "extractor": "other"}))
    with pytest.raises(ValueError, match="extractor is other"):
        feature.extract_features(dataset, "rgb", "signs")


def test_the_whole_way_imports_no_keras(stored_dataset, tmp_path):
    shutil.copytree(stored_dataset.root / "data_set", tmp_path / "data_set")
    result = subprocess.run(
        [sys.executable, "-c", TEACH],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "livedemo.py --model" in result.stdout
    again = run_script(
        *("pipeline_nearest.py", "--dataset", "moves", "--preset", "laptop"), cwd=tmp_path, check=0
    )
    assert "0 done, 16 skipped" in again.stdout  # of frames, flow, both features


def test_clips_are_named_and_judged_like_by_a_network(nearest_run):
    _, folder = nearest_run
    result = json.loads((folder / "evaluation.json").read_text())["test"]
    assert result["streams"]["fused"]["top1"] == 1
    assert set(result["unknown"]) == {"lost", "refused", "area"} and "nearest" not in result
    assert (folder / "confusion.png").is_file()
    run = run_folder.Run.read(folder)
    assert run.architecture == "nearest" and run.finished and run.streams == ["rgb", "flow"]


def test_a_clip_is_not_compared_with_itself_when_training_clips_are_judged(nearest_run, capsys):
    _, folder = nearest_run
    evaluate.evaluate(folder, "train")
    assert "compared with all others, not with itself" in capsys.readouterr().out


def test_video_files_are_named_frame_by_frame_as_at_once(nearest_run):
    dataset, folder = nearest_run
    recognizer = predict.Recognizer(folder)
    preset = dataset.preset
    video = next(clip for clip in dataset.videos() if clip.split == "test")
    frames = frame.read_clip(video.path, preset.num_frames, *preset.frame_size)
    answer = recognizer.predict(frames)
    assert answer.ranking[0][0] == video.label
    total = sum(probability for *_, probability in answer.ranking) + answer.unknown
    assert total == pytest.approx(1, abs=1e-3)
    assert answer.to_dict()["unknown"] == answer.unknown


def test_a_second_run_compares_anew_only_what_is_not_the_same(moved, monkeypatch):
    dataset, folder = moved
    before = {name: (folder / name).read_bytes() for name in ("rgb.npz", "flow.npz", "run.json")}
    compared = []
    fit = train_nearest.comparison.fit

    def count(stream, *of):
        compared.append(stream)
        return fit(stream, *of)

    def train():
        compared.clear()
        report = train_nearest.train(dataset)
        assert (report.done, report.skipped) == ((8, 0) if compared else (0, 8))
        return compared

    monkeypatch.setattr(train_nearest.comparison, "fit", count)
    assert train() == []
    assert {name: (folder / name).read_bytes() for name in before} == before
    (folder / "flow.npz").write_bytes(b"damaged")
    assert train() == ["rgb", "flow"]
    (folder / "run.json").unlink()
    assert train() == ["rgb", "flow"] and train() == []
    for name in ("rgb.npz", "flow.npz"):
        assert (folder / name).read_bytes() == before[name]
    features = dataset.feature_dir("rgb", HOG_HOF)
    path = next((features / "train").rglob("*.npy"))
    np.save(path, np.load(path) + np.float16(0.5))
    assert train() == ["rgb", "flow"]
    assert (folder / "rgb.npz").read_bytes() != before["rgb.npz"]
    write_class_file(dataset.class_file, [Sign("left", "links"), Sign("right", "rechts")])
    assert train() == ["rgb", "flow"]
    assert [sign.name for sign in run_folder.Run.read(folder).signs] == ["links", "rechts"]


def test_one_stream_is_enough(moved):
    dataset, folder = moved
    train_nearest.train(dataset, train_nearest.NearestOptions(stream="flow"))
    assert run_folder.Run.read(folder).streams == ["flow"]
    assert evaluate.evaluate(folder)["num_videos"] == 4


def test_missing_features_and_foreign_runs_are_told(moved):
    dataset, folder = moved
    content = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**content, "architecture": "i3d"}))
    with pytest.raises(ValueError, match="holds a run of train_i3d.py.*--run NAME"):
        train_nearest.train(dataset)
    features = dataset.feature_dir("rgb", HOG_HOF)
    next(features.rglob("*.npy")).unlink()
    with pytest.raises(FileNotFoundError, match="1 of .* --extractor hog_hof` first"):
        train_nearest.train(dataset, train_nearest.NearestOptions(run="other"))


def test_a_damaged_run_is_told(moved):
    _, folder = moved
    (folder / "rgb.npz").write_bytes(b"PK")
    with pytest.raises(ValueError, match="rgb.npz holds no examples"):
        predict.Recognizer(folder)


def test_a_run_of_other_weights_is_told(moved):
    _, folder = moved
    with np.load(folder / "rgb.npz") as file:
        arrays = dict(file)
    np.savez(folder / "rgb.npz", **{**arrays, files.WEIGHTS: np.array("of another project")})
    with pytest.raises(ValueError, match="made with other weights.*train_nearest.py"):
        predict.Recognizer(folder)


def test_features_are_those_of_descriptors_and_network(nearest_run):
    dataset, folder = nearest_run
    known, _ = files.load(folder / "rgb.npz")
    assert list(known) == [HOG_HOF, SIGNS]
    for name, examples in known.items():
        paths = sorted(dataset.feature_dir("rgb", name).glob("train/*/*.npy"))
        assert len(paths) == len(examples)
        np.testing.assert_array_equal(np.load(paths[0]), examples.rows[0])
    parameters = json.loads((dataset.feature_dir("flow", HOG_HOF) / "parameters.json").read_text())
    assert parameters["extractor"] == HOG_HOF and parameters["still"] > 0


def test_teaching_makes_a_new_recognizer_and_can_be_taken_back(nearest_run):
    dataset, folder = nearest_run
    known = predict.Recognizer(folder)
    frames = np.random.default_rng(0).integers(0, 255, (40, 90, 120, 3), np.uint8)
    taught = train_nearest.with_clip(known, "noise", frames)
    assert taught.run.labels == [*known.run.labels, "noise"]
    assert len(taught.predict(frames[:, 1:-1, 1:-1]).ranking) == len(known.run.signs) + 1
    back = train_nearest.without_last_clip(taught)
    assert back.run.labels == known.run.labels
    clip = frames[:, :70, :92]
    expected = known.predict(clip).streams["rgb"]
    assert back.predict(clip).streams["rgb"] == pytest.approx(expected, rel=1e-3)


def test_an_empty_data_set_opens_and_learns(tmp_path):
    dataset = data.Dataset("none", "laptop", tmp_path, train_nearest.NEAREST_PRESETS)
    recognizer = train_nearest.open_dataset(dataset)
    frames = np.random.default_rng(0).integers(0, 255, (32, 70, 92, 3), np.uint8)
    assert recognizer.predict(frames).ranking == []
    assert recognizer.predict(frames).is_unknown
    taught = train_nearest.with_clip(recognizer, "first", frames)
    assert [label for label, *_ in taught.predict(frames[:, ::-1]).ranking] == ["first"]
    back = train_nearest.without_last_clip(taught)
    assert back.run.signs == [] and back.predict(frames).ranking == []


def test_a_network_is_shown_beside_the_nearest_clip(trained_run, capsys):
    result = json.loads((trained_run / "evaluation.json").read_text())["test"]["nearest"]
    assert result["num_videos"] == 4 and result["num_examples"] == 8
    assert 0 <= result["top1"] <= 1
    evaluate.evaluate_if_new(trained_run)
    output = capsys.readouterr().out
    assert "nearest clip, without training:" in output
    if result["network"] <= result["top1"]:
        assert "pipeline_nearest.py --dataset moves" in output


def test_it_stands_beside_others_in_a_table(nearest_run, capsys):
    _, folder = nearest_run
    (row,) = comparison.compare([folder])
    assert row["parameters"] > 1000 and row["training"] == 0
    assert "nearest" in capsys.readouterr().out


def test_there_is_no_network_to_export(nearest_run):
    with pytest.raises(ValueError, match="no network to export"):
        export.export(nearest_run[1], "openvino")


def test_scripts_say_what_is_wrong(tmp_path):
    result = run_script("pipeline_nearest.py", "--dataset", "nothing", cwd=tmp_path)
    assert result.returncode == 1 and "No data set `nothing`" in result.stderr
    assert str(ROOT) not in result.stderr


def test_a_sign_that_is_taught_has_its_name_of_class_csv(tmp_path):
    dataset = data.Dataset("mine", "laptop", tmp_path, train_nearest.NEAREST_PRESETS)
    dataset.video_dir.mkdir(parents=True)
    write_class_file(dataset.class_file, [Sign("c007", "hello")])
    frames = moving_square(12, (3, 0), size=(70, 92))
    taught = train_nearest.with_clip(train_nearest.without_clips(dataset), "c007", frames)
    assert taught.run.signs == [Sign("c007", "hello")]
