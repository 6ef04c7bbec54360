"""feature.py: what is stored is what the network says; only new clips; nothing mixed."""

import json
import shutil

import h5py
import numpy as np
import pytest

import feature
import opticalflow
import toysigns
from common import dataset as data
from common import network_input
from inference.extractor import build_network
from tests.helpers import run_script


@pytest.fixture(scope="module")
def dataset(stored_dataset, tmp_path_factory):
    """A copy of `stored_dataset` with MobileNet features of its flow."""
    root = tmp_path_factory.mktemp("features")
    shutil.copytree(
        stored_dataset.temp_dir, root / stored_dataset.temp_dir.relative_to(stored_dataset.root)
    )
    dataset = data.Dataset(stored_dataset.name, root=root, stored=True)
    dataset.preset = stored_dataset.preset
    report = feature.extract_features(dataset, "flow", workers=2)
    assert (report.done, report.failed) == (16, [])
    return dataset


def files(dataset):
    return sorted(dataset.feature_dir("flow", "mobilenet").glob("*/*/*.npy"))


def network_answer(dataset, clip, extractor):
    network = build_network(dataset.preset, "flow", extractor, "none")
    stored = opticalflow.load_clip("flow", clip.path)
    inputs = network_input.stream_input("flow", stored, *dataset.preset.input_size)
    return network, inputs


def test_a_row_per_frame_is_what_the_network_says_of_it(dataset):
    clip = dataset.stored_clips("flow")[3]
    network, inputs = network_answer(dataset, clip, "mobilenet")
    stored = np.load(feature.feature_file(dataset.feature_dir("flow", "mobilenet"), clip))
    assert stored.dtype == np.float16 and stored.shape == (8, network.output_shape[-1])
    assert np.allclose(stored, network(inputs), atol=2e-3)


def test_only_new_clips_are_computed(dataset):
    before = {path: path.stat().st_mtime_ns for path in files(dataset)}
    source = dataset.flow_dir / "train" / "left"
    shutil.copytree(source / "0", source / "new")
    try:
        report = feature.extract_features(dataset, "flow")
        assert (report.done, report.skipped) == (1, 16)
        assert before == {path: path.stat().st_mtime_ns for path in before}
    finally:
        shutil.rmtree(source / "new")
        (dataset.feature_dir("flow", "mobilenet") / "train/left/new.npy").unlink()


def test_a_clip_that_cannot_be_read_does_not_stop_the_others(dataset):
    broken = dataset.flow_dir / "train" / "left" / "broken"
    broken.mkdir()
    (broken / "flow0000.jpg").write_bytes(b"no picture")
    try:
        report = feature.extract_features(dataset, "flow")
        assert report.skipped == 16 and str(broken) == report.failed[0][0]
    finally:
        shutil.rmtree(broken)


def test_a_clip_that_lost_a_picture_is_told(dataset):
    source = dataset.flow_dir / "train" / "left"
    shutil.copytree(source / "0", source / "short")
    (source / "short" / "flow0007.jpg").unlink()
    try:
        report = feature.extract_features(dataset, "flow")
        assert report.failed[0][1].count("has 7 pictures instead of 8") == 1
    finally:
        shutil.rmtree(source / "short")


def test_weights_that_do_not_fit_are_told_before_anything_is_written(dataset, tmp_path):
    path = tmp_path / "other.h5"
    with h5py.File(path, "w"):
        pass
    folder = dataset.feature_dir("rgb", "mobilenet")
    with pytest.raises(ValueError, match="other.h5 does not fit mobilenet"):
        feature.extract_features(dataset, "rgb", weights=str(path))
    with pytest.raises(ValueError, match="other.h5"):
        feature.extract_features(dataset, "rgb", "i3d", weights=str(path))
    assert not folder.exists()


def test_features_of_another_network_are_not_mixed(dataset):
    with pytest.raises(ValueError, match="seed is 0, wanted 5.*feature.py.*--seed 5 --rebuild"):
        feature.extract_features(dataset, "flow", seed=5)
    path = dataset.feature_dir("flow", "mobilenet") / "parameters.json"
    there = path.read_text()
    path.write_text(json.dumps({**json.loads(there), "weights": "1234"}))
    with pytest.raises(ValueError, match="weights is 1234, wanted none"):
        feature.check(dataset, "mobilenet", "none", ["flow"])
    path.write_text(there)


def test_missing_features_are_told_with_the_command(dataset):
    feature.check(dataset, "mobilenet", "none", ["flow"])
    with pytest.raises(FileNotFoundError, match="16 of 16 clips.*Run `python feature.py --dataset"):
        feature.check(dataset, "mobilenet", "none", ["rgb"])


def test_i3d_features_are_averaged_over_the_clip(dataset):
    report = feature.extract_features(dataset, "flow", "i3d", "none")
    assert report.done == 16
    clip = dataset.stored_clips("flow")[0]
    network, inputs = network_answer(dataset, clip, "i3d")
    stored = np.load(feature.feature_file(dataset.feature_dir("flow", "i3d"), clip))
    assert stored.shape == (1, network.output_shape[-1])
    assert np.allclose(stored, network(inputs[None])[0], atol=2e-3)


def test_what_has_learned_signing_knows_clips_of_one_size(dataset):
    with pytest.raises(ValueError, match="knows clips of --preset laptop only"):
        feature.extract_features(dataset, "flow", "signs")


def test_wrong_inputs_are_told_before_keras_is_imported(tmp_path):
    result = run_script("feature.py", "--dataset", "moves", cwd=tmp_path, check=1, timeout=30)
    assert "No data set `moves`" in result.stderr and "Traceback" not in result.stderr


@pytest.mark.parametrize("main", [feature.main, toysigns.main])
@pytest.mark.parametrize("seed", ["-1", "1.5", "one"])
def test_a_seed_is_a_whole_number(main, seed, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        main(["--dataset", "moves", "--seed", seed])
    assert caught.value.code == 2
    assert (
        f"--seed: expected a whole number from 0 to 4294967295, received {seed}"
        in capsys.readouterr().err
    )
