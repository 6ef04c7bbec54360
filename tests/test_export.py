"""export.py: what is written answers as Keras does; what does not is not written."""

import shutil
import sys

import numpy as np
import pytest

import evaluate
import export
from inference import conversion, converted_files, run_folder
from inference.clip import FRAME, REST
from inference.saved_network import load_model
from predict import Recognizer


@pytest.fixture
def run(trained_run, stored_dataset, tmp_path):
    """A run that may be changed, beside its stored clips."""
    shutil.copytree(stored_dataset.root / "data_temp", tmp_path / "data_temp")
    shutil.copytree(stored_dataset.root / "data_set", tmp_path / "data_set")
    folder = shutil.copytree(trained_run, tmp_path / "model" / trained_run.name)
    return run_folder.Run.read(folder)


def random_clip(run, stream):
    shape = (1, *converted_files.input_shape(run, stream))
    return np.random.default_rng(3).uniform(-1, 1, shape).astype(np.float32)


@pytest.mark.parametrize("file_format", export.FORMATS)
def test_an_export_answers_like_keras(run, file_format):
    for package in export.PACKAGES.get(file_format, ()):
        pytest.importorskip(package)
    for _ in range(2):  # a second time in place of the first
        paths = export.export(run.folder, file_format)
    assert [path.name.partition("-")[0].partition(".")[0] for path in paths] == run.streams
    for stream, path in zip(run.streams, paths, strict=True):
        answer = np.asarray(export.FORMATS[file_format][2](path)(random_clip(run, stream)))
        model = load_model(run.model_file(stream), compile=False)
        expected = model.predict(random_clip(run, stream), verbose=0)
        assert np.abs(answer - expected).max() < 1e-4
    assert len(list((run.folder / "export").iterdir())) == len(run.streams)


def test_an_export_that_answers_otherwise_is_not_written(run, monkeypatch, capsys):
    suffix, write, load = export.FORMATS["openvino"]
    wrong = (suffix, write, lambda path: lambda clip: load(path)(clip) + 0.01)
    monkeypatch.setitem(export.FORMATS, "openvino", wrong)
    with pytest.raises(ValueError, match="differs from Keras by 0.01"):
        export.export(run.folder, "openvino")
    assert not list((run.folder / "export").iterdir())
    nothing = (suffix, write, lambda path: lambda clip: load(path)(clip) * np.nan)
    monkeypatch.setitem(export.FORMATS, "openvino", nothing)
    with pytest.raises(ValueError, match="differs from Keras by nan"):
        export.export(run.folder, "openvino")


@pytest.mark.parametrize("arguments", [["--format", "onnx"], ["--int8"]])
def test_a_missing_package_is_named_with_its_command(run, arguments, monkeypatch, capsys):
    for package in ("onnx", "nncf"):
        monkeypatch.setitem(sys.modules, package, None)
    assert export.main(["--model", str(run.folder), *arguments]) == 1
    assert "pip install -r requirements-export.txt" in capsys.readouterr().err
    assert not (run.folder / "export").exists() and not (run.folder / "int8").exists()


def test_accepted_8_bit_networks_are_used(run):
    pytest.importorskip("nncf")
    before, after = export.export_int8(run.folder)
    assert after["fused"] >= before["fused"] - export.MAX_LOSS
    recognizer = Recognizer(run.folder, "int8")
    assert recognizer.engine == "int8"
    place = converted_files.int8_dir(run, "flow")
    openvino = conversion.import_openvino()
    nodes = openvino.Core().read_model(place / "whole.xml").get_ops()
    assert any(node.get_type_name() == "FakeQuantize" for node in nodes)
    clips = evaluate.stored_splits(run)["test"]
    answer, exact = (
        evaluate.score(Recognizer(run.folder, name), clips)[0]["flow"]
        for name in ("int8", "openvino")
    )
    assert 0 < np.abs(answer - exact).max() < 0.2
    assert evaluate.evaluate(run.folder, engine="int8")["num_videos"] == 4
    model = load_model(run.model_file("flow"), compile=False)
    model.set_weights([weight + 0.05 for weight in model.get_weights()])
    model.save(run.model_file("flow"))
    with pytest.raises(FileNotFoundError, match="--int8"):  # they are of the old network
        Recognizer(run.folder, "int8")


def test_8_bit_networks_that_lose_too_much_are_refused(run, monkeypatch, capsys):
    pytest.importorskip("nncf")
    scores = iter(({"fused": 0.9, "rgb": 0.8}, {"fused": 0.88, "rgb": 0.9}))
    monkeypatch.setattr(export, "_top1", lambda recognizer, clips: next(scores))
    monkeypatch.setattr(export, "quantise", lambda models, clips: models)
    with pytest.raises(ValueError, match="falls from 0.900 to 0.880"):
        export.export_int8(run.folder)
    assert not list((run.folder / "int8").iterdir())


def test_the_allowed_loss_is_one_point():
    export._check_loss({"fused": 0.95}, {"fused": 0.94}, 100)
    with pytest.raises(ValueError, match="refused: fused top-1 falls from 0.950 to 0.938"):
        export._check_loss({"fused": 0.95}, {"fused": 0.938}, 160)


def test_8_bits_need_clips_to_be_judged_on(run, monkeypatch):
    monkeypatch.setattr(export, "require", lambda purpose: None)
    shutil.rmtree(run.folder.parent.parent / "data_temp")
    with pytest.raises((FileNotFoundError, ValueError), match="frame.py|No frames|clips"):
        export.export_int8(run.folder)


def test_only_the_part_of_single_frames_is_quantised(monkeypatch):
    nncf = pytest.importorskip("nncf")
    seen = {}

    def quantize(model, dataset, subset_size):
        seen.update(model=model, items=list(dataset.get_inference_data()), size=subset_size)
        return "8 bits"

    monkeypatch.setattr(nncf, "quantize", quantize)
    clips = np.zeros((2, 5, 8, 8, 3), np.float32)
    models = {FRAME: "frame model", REST: "rest model"}
    assert export.quantise(models, clips) == {"frame": "8 bits", "rest": "rest model"}
    assert seen["model"] == "frame model" and seen["size"] == 10
    assert seen["items"][0].shape == (1, 8, 8, 3)
