"""pretrain.py from nothing to weights that are loaded."""

import json
import subprocess
import sys

import numpy as np
import pytest

import pretrain
from common.command_line import PROJECT
from pretrain import PretrainingOptions
from pretraining import discriminant, drawn
from weights import files

TINY = {"signs": 2, "clips": 2, "people": 2, "epochs": 1, "batch_size": 2, "stream": "flow"}


@pytest.fixture
def few_unseen(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(drawn, "VALIDATION", drawn.Amounts(2, 2, 2))
    monkeypatch.setattr(discriminant, "DIRECTIONS", 1)  # that two signs tell
    return tmp_path


def test_from_nothing_to_weights_that_a_network_loads(few_unseen):
    folder = pretrain.pretrain(PretrainingOptions(**TINY, workers=1))
    recipe = json.loads((folder / pretrain.RECIPE).read_text())
    assert recipe["signs"] == 2 and 0 <= recipe["flow"]["few_shot"] <= 1
    assert recipe["flow"]["sha256"] == files.sha256(folder / "flow.h5")
    stored = files.read(folder / "flow.h5")
    assert stored.stream == "flow" and stored.width_multiplier == 0.25 and stored.even_out
    assert all(np.isfinite(a).all() for each in stored.layers.values() for a in each.values())
    assert stored.discriminant["kernel"].shape == (256, 1)
    assert all(np.isfinite(array).all() for array in stored.discriminant.values())
    import model_i3d
    from i3d_weights import load_weights

    load_weights(model_i3d.build_i3d(32, 56, 56, 2, 5, width_multiplier=0.25), folder / "flow.h5")
    before = (folder / "flow.h5").read_bytes()
    assert pretrain.pretrain(PretrainingOptions(**TINY)) == folder  # is done already
    assert (folder / "flow.h5").read_bytes() == before
    with pytest.raises(ValueError, match="another recipe"):
        pretrain.pretrain(PretrainingOptions(**{**TINY, "epochs": 2}))


def test_clips_of_a_data_set_will_do(stored_dataset, monkeypatch):
    monkeypatch.chdir(stored_dataset.root)
    monkeypatch.setattr(pretrain.data, "Dataset", lambda *_: stored_dataset)  # of smaller clips
    options = PretrainingOptions(dataset=stored_dataset.name, epochs=1, stream="rgb", run="pre")
    folder = pretrain.pretrain(options)
    assert files.read(folder / "rgb.h5").stream == "rgb"


def test_an_unknown_data_set_is_told(few_unseen):
    with pytest.raises((FileNotFoundError, ValueError), match="nowhere"):
        pretrain.pretrain(PretrainingOptions(dataset="nowhere"))


def test_help_needs_no_keras():
    text = subprocess.run(
        [sys.executable, "pretrain.py", "--help"], cwd=PROJECT, capture_output=True, text=True
    ).stdout
    assert "--signs" in text
