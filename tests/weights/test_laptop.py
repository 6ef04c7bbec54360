"""The weights that come with the project: whole, small, and they know what signing is."""

import dataclasses
import json

import numpy as np
import pytest

import frame
import i3d_weights
import opticalflow
import train_i3d
from common import dataset as data
from common.network_input import STREAMS, stream_input
from common.presets import PRESETS
from i3d.shapes import TOP_CONVOLUTION
from inference import run_folder
from inference.extractor import SignsNetwork
from inference.saved_network import load_model
from nearest.examples import Examples
from nearest.kinds import Whole
from pretraining import drawn
from tests.helpers import make_dataset
from training import fitting, history
from weights import files as weight_files
from weights.files import sha256

FOLDER = i3d_weights.SIGNS_DIR
WAYS = 20


def test_they_are_those_of_their_recipe_and_small():
    recipe = json.loads((FOLDER / "recipe.json").read_text())
    files = [i3d_weights.find_weights("signs", stream) for stream in STREAMS]
    assert [recipe[stream]["sha256"] for stream in STREAMS] == [sha256(path) for path in files]
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 4_000_000
    assert recipe["version"] == drawn.VERSION


def test_their_directions_are_told_and_stay_when_they_are_converted(tmp_path):
    path = i3d_weights.find_weights("signs", "rgb")
    lines, problems = i3d_weights.describe(path)
    assert "compared     in 64 directions in which signs differ" in lines and not problems
    found = i3d_weights.convert(path, tmp_path / "rgb.h5").discriminant
    expected = weight_files.read(path).discriminant
    assert all(np.array_equal(found[name], expected[name]) for name in ("kernel", "bias"))
    assert i3d_weights.convert(path, tmp_path / "flow.h5", other_stream=True).discriminant is None


@pytest.fixture(scope="module")
def unseen(tmp_path_factory):
    """Folder and `DrawnClip`s of signs and people of another seed: two clips of each sign."""
    folder = tmp_path_factory.mktemp("unseen")
    clips = drawn.clips_of("val", drawn.Amounts(WAYS, 2, 30), seed=77)
    report = drawn.draw(folder, clips, PRESETS["laptop"], workers=2)
    assert report.done == 2 * WAYS
    return folder, clips


@pytest.mark.parametrize("stream", STREAMS)
def test_signs_that_nobody_has_seen_are_known_from_one_clip_by_another_person(unseen, stream):
    folder, clips = unseen
    network = SignsNetwork(stream)
    stored = [drawn.read_clip(folder / clip.place(), stream)[0] for clip in clips]
    rows = np.stack([network.features(stream_input(stream, s, *network.size)) for s in stored])
    known = Examples(rows[:WAYS], np.arange(WAYS), WAYS, (Whole,))
    found = [known.distances(row[None]).argmin() for row in rows[WAYS:]]
    assert np.sum(found == np.arange(WAYS)) >= WAYS / 2  # guessing names one


@pytest.fixture(scope="module")
def moves(tmp_path_factory):
    """Stored clips of two signs in the size that the network knows."""
    root = tmp_path_factory.mktemp("moves")
    make_dataset(root)
    dataset = data.Dataset("moves", "laptop", root)
    frame.extract_frames(dataset)
    opticalflow.extract_flow(dataset)
    return dataset


def layers_of(folder):
    network = load_model(run_folder.Run.read(folder).model_file("flow"), compile=False)
    return {layer.name: layer.get_weights() for layer in network.layers if layer.weights}


def share_outside(directions, layers):
    """How much of a top is in other directions than these."""
    weights = layers[TOP_CONVOLUTION][0].reshape(len(directions), -1)
    best = np.linalg.lstsq(directions, weights)[0]
    return np.linalg.norm(weights - directions @ best) / np.linalg.norm(weights)


def test_training_solves_the_top_of_the_network_and_leaves_the_rest_as_it_is(
    moves, monkeypatch, capfd
):
    views = []
    predict = fitting.ClipSequence.__getitem__

    def read(self, index):
        views.append((len(self.clips), self.augment, self.epoch))
        return predict(self, index)

    monkeypatch.setattr(fitting.ClipSequence, "__getitem__", read)
    options = {"stream": "flow", "workers": 1}
    solved = train_i3d.train(moves, train_i3d.I3DOptions(**options, run="solved")).output
    assert capfd.readouterr().err.split("\r")[-1].startswith("flow, epoch 1 of 1: 100%")
    assert run_folder.Run.read(solved).options["weights"] == "signs"
    # Training clips as they are, sixteen times changed, then those of validation.
    changed = [(8, "strong", number) for number in range(16)]
    assert list(dict.fromkeys(views)) == [(8, "none", 0), *changed, (4, "none", 0)]
    rows = history.read(solved)
    assert rows["phase"].tolist() == ["top"]
    assert rows["accuracy"].tolist() == rows["val_accuracy"].tolist() == [1]
    stored = weight_files.read(i3d_weights.find_weights("signs", "flow"))
    shipped, directions = stored.layers, stored.discriminant["kernel"]
    network = load_model(run_folder.Run.read(solved).model_file("flow"), compile=False)
    assert network.layers[1].name == "even_out"  # what they have learned to see
    trained = layers_of(solved)
    assert trained.keys() - shipped.keys() == {TOP_CONVOLUTION}
    assert share_outside(directions, trained) < 1e-5
    for name, values in shipped.items():
        for value, found in zip(values.values(), trained[name], strict=True):
            assert np.array_equal(value, found), name
    views.clear()
    monkeypatch.setattr(train_i3d, "FEW_CLIPS", 4)  # of a sign, that are not few
    plain = train_i3d.I3DOptions(**options, run="plain", augment="none")
    folder = train_i3d.train(moves, plain).output
    assert share_outside(directions, layers_of(folder)) > 0.1
    assert list(dict.fromkeys(views)) == [(8, "none", 0), (4, "none", 0)]


def test_everything_is_trained_after_the_top_where_that_is_asked_for(moves):
    dataset = data.Dataset("moves", "laptop", moves.root)
    dataset.preset = dataclasses.replace(dataset.preset, epochs_all=1, min_clips_all=0)
    options = train_i3d.I3DOptions(stream="flow", workers=1, run="everything")
    folder = train_i3d.train(dataset, options).output
    assert history.read(folder)[["phase", "epoch"]].values.tolist() == [["top", 1], ["all", 2]]
    checkpoint = load_model(run_folder.Run.read(folder).newest_checkpoint("flow")[1])
    shipped = weight_files.read(i3d_weights.find_weights("signs", "flow")).layers
    first = checkpoint.get_layer("Conv3d_1a_7x7_conv").get_weights()[0]
    assert not np.array_equal(first, *shipped["Conv3d_1a_7x7_conv"].values())
