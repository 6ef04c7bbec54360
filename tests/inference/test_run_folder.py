"""inference/run_folder.py: finding runs, and refusing what is unsafe, damaged or does not fit."""

import json
import shutil
import sys
import zipfile

import pytest

from common.class_list import Sign
from common.network_input import STREAMS
from inference import run_folder
from weights.keras_file import check_model_file


@pytest.fixture
def run_copy(trained_run, tmp_path):
    return shutil.copytree(trained_run, tmp_path / "model" / "run")


def rewrite(path, change):
    """Replaces the config.json in a `.keras` file by `change(config)`."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    change(config)
    members["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def test_reading_gives_back_what_was_written(trained_run, tmp_path):
    run = run_folder.Run.read(trained_run)
    run.folder = tmp_path / "copy"
    run.fusion_weight = 0.35
    run.write()
    again = run_folder.Run.read(tmp_path / "copy")
    assert again == run and again.streams == []


def test_a_sign_whose_folder_is_no_text_is_written_and_read(run_copy):
    run = run_folder.Run.read(run_copy)
    run.signs = [Sign("caf\udce9", "caf\udce9"), Sign("안녕", "안녕")]
    run.write()
    assert run_folder.Run.read(run_copy).signs == run.signs
    assert "안녕" in (run_copy / "run.json").read_text(encoding="utf-8")


def test_newest_goes_by_the_date_and_needs_a_network(run_copy):
    for name, date in (("old", "2020"), ("new", "2030"), ("empty", "2040")):
        folder = shutil.copytree(run_copy, run_copy.with_name(name))
        run = run_folder.Run.read(folder)
        run.date = f"{date}-01-01T00:00:00.000+00:00"
        run.write()
    for stream in STREAMS:
        (run_copy.with_name("empty") / f"{stream}.keras").unlink()
    assert run_folder.newest(run_copy.parent).name == "new"


def test_newest_means_the_newest_finished_one(run_copy):
    run = run_folder.Run.read(run_copy)
    run.finished = False
    run.write()
    assert run_folder.Run.read(run_copy).title == f"{run_copy}{run_folder.UNFINISHED}"
    with pytest.raises(FileNotFoundError, match="No finished model .*run is unfinished.*--model"):
        run_folder.newest(run_copy.parent)
    older = shutil.copytree(run_copy, run_copy.with_name("older"))
    run = run_folder.Run.read(older)
    run.finished, run.date = True, "2020-01-01T00:00:00.000+00:00"
    run.write()
    assert run_folder.newest(run_copy.parent) == older
    assert run_folder.find("run", run_copy.parent) == run_copy
    assert run_folder.find(run_copy) == run_copy


def test_a_missing_run_names_those_that_there_are(run_copy, tmp_path):
    with pytest.raises(FileNotFoundError, match="There are: .*model/run"):
        run_folder.Run.read(run_copy.with_name("rnu"))
    with pytest.raises(FileNotFoundError, match="There are: .*model/run"):
        run_folder.Run.read(run_folder.find("rnu", run_copy.parent))
    with pytest.raises(FileNotFoundError, match="python pipeline_i3d.py"):
        run_folder.newest(tmp_path / "nowhere")


@pytest.mark.parametrize("content", ["{", "[]", '{"streams": []}'])
def test_malformed_run_json_is_named(run_copy, content):
    (run_copy / "run.json").write_text(content)
    with pytest.raises(ValueError, match="run.json is not a run.json"):
        run_folder.Run.read(run_copy)


def layer_of(config, class_name):
    return next(layer for layer in config["config"]["layers"] if layer["class_name"] == class_name)


def lambda_layer(config):
    layer_of(config, "Dropout").update(class_name="Lambda")


def foreign_module(config):
    layer_of(config, "Dropout").update(module="os", class_name="system")


def nested_function(config):
    layer_of(config, "Activation")["config"]["activation"] = {
        "module": "keras.utils",
        "class_name": "function",
        "config": "get_file",
        "registered_name": "get_file",
    }


def foreign_registered_name(config):
    layer_of(config, "Dropout").update(module="antigravity", registered_name="signs>Dropout")


@pytest.mark.parametrize(
    "change", [lambda_layer, foreign_module, nested_function, foreign_registered_name]
)
def test_unsafe_content_is_refused_without_running_it(run_copy, change):
    from predict import Recognizer

    path = run_copy / "flow.keras"
    check_model_file(path)
    rewrite(path, change)
    with pytest.raises(ValueError, match="flow.keras is refused: it would load"):
        Recognizer(run_copy)
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize("keep", [0, 100, -2000])
def test_damaged_network_is_refused(run_copy, keep):
    path = run_copy / "rgb.keras"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match="rgb.keras is not a whole .keras file"):
        check_model_file(path)


def test_network_that_does_not_fit_run_json_is_refused(run_copy):
    from predict import Recognizer

    content = json.loads((run_copy / "run.json").read_text())
    content["preset"]["num_frames"] = 16
    (run_copy / "run.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"maps clips of \(8, 32, 32, 3\).*\(16, 32, 32, 3\)"):
        Recognizer(run_copy)
