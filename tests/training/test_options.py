"""training/options.py: every option is declared once, and runs of before it was still open."""

import json
import re
import shutil
from pathlib import Path

import pytest

from inference import run_folder
from tests.helpers import ROOT
from train_i3d import I3DOptions
from train_mobile_lstm import MobileLSTMOptions
from training import start
from training.options import TrainingOptions

HERE = Path(__file__).parent
# run.json files of trainings by the code of November 2026, before this file was.
OLD_RUNS = {
    "run_of_november_2026.json": I3DOptions(weights="none"),
    "mobile_run_of_november_2026.json": MobileLSTMOptions(weights="none"),
}


@pytest.fixture(params=OLD_RUNS)
def old_run(request, tmp_path):
    shutil.copy(HERE / request.param, tmp_path / "run.json")
    return run_folder.Run.read(tmp_path), OLD_RUNS[request.param]


def test_an_old_run_opens_and_goes_on_with_the_same_options(old_run):
    run, options = old_run
    assert run.labels[0] == "c001" and len(run.signs) == 8 and run.preset.num_frames == 32
    further = {key: run.options[key] for key in ("weights_sha256",) if key in run.options}
    run.options = {**options.recorded(), **further}
    start.open_run(run, options)


def test_an_old_run_does_not_go_on_with_other_options(old_run):
    run, options = old_run
    run.options = {**options.recorded(), "flip": True}
    with pytest.raises(ValueError, match="settings: flip was False, is True"):
        start.open_run(run, options)


def test_a_new_run_tells_what_an_old_one_told():
    for name, options in OLD_RUNS.items():
        told = json.loads((HERE / name).read_text(encoding="utf-8"))["options"]
        assert set(told) - {"weights_sha256"} <= set(options.recorded())


def test_streams_of_an_option():
    assert TrainingOptions().streams == ("rgb", "flow")
    assert TrainingOptions(stream="flow").streams == ("flow",)


@pytest.mark.parametrize("name", ["patience", "gradient_accumulation", "mixed_precision", "flip"])
def test_an_option_is_declared_in_one_place(name):
    texts = {
        path.name: path.read_text("utf-8") for path in [*ROOT.glob("*.py"), *ROOT.glob("*/*.py")]
    }
    declaration = re.compile(rf"^    {name}: [^=]* = option\(", re.MULTILINE)
    assert [file for file, text in texts.items() if declaration.search(text)] == ["options.py"]
    assert [file for file, text in texts.items() if f'"--{name.replace("_", "-")}"' in text] == []
