"""The whole way on a tiny toysigns, as a user starts it, and a second time."""

import json
import re
from pathlib import Path

import pytest

import toysigns
from common import dataset as data
from common import stage
from tests.helpers import make_dataset, run_script
from training import pipeline

QUICK = ("--epochs-all", "1", "--stream", "flow")  # of the LSTM; of few clips I3D's top is solved


@pytest.fixture(scope="module")
def toys(tmp_path_factory):
    """A folder in which a tiny toysigns was made and its pipeline has run: (folder, output)."""
    root = tmp_path_factory.mktemp("toys")
    toysigns.make_dataset(data.Dataset("toysigns", root=root), clips_per_sign=(2, 1, 1))
    result = run_script("pipeline_i3d.py", "--from", "prepare_chalearn", cwd=root, check=0)
    return root, result.stdout


def closing_table(output):
    """{stage: (new, skipped, failed)}."""
    rows = re.findall(r"^(\w+) +[\d.]+ +(\d+) +(\d+) +(\d+)  \S+$", output, re.MULTILINE)
    return {name: tuple(map(int, numbers)) for name, *numbers in rows}


def test_the_closing_table_adds_up_and_keeps_the_worst_status(capsys):
    stages = pipeline.Stages(["zeroth", "first", "second"], "first")
    bad = stage.Report("second", Path("b"), 1, 2, [("clip", "broken")])
    assert stages.run("first", stage.Report, "first", Path("a"), 5, 7).done == 5
    stages.run("second", lambda: bad)
    stages.run("zeroth", pytest.fail)
    assert stages.finish(Path("model/run"), Path("clip.avi")) == 1
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["first", "0.0", "5", "7", "0", "a"] in rows
    assert ["second", "0.0", "1", "2", "1", "b"] in rows


def test_every_stage_does_all_videos(toys):
    root, output = toys
    assert closing_table(output) == {
        "prepare_chalearn": (32, 0, 0),
        "frame": (32, 0, 0),
        "opticalflow": (32, 0, 0),
        "train_i3d": (32, 0, 0),  # 16 clips, two streams
        "evaluate": (8, 0, 0),
    }
    run = root / "model" / "toysigns-laptop-i3d-seed0"
    result = json.loads((run / "evaluation.json").read_text())
    assert list(result) == ["test"] and result["test"]["num_videos"] == 8
    for name in ("rgb.keras", "flow.keras", "history.csv", "curves.png", "confusion.png"):
        assert (run / name).stat().st_size > 100
    assert output.startswith("toysigns, preset laptop: ")
    assert "Without a GPU, training takes about" in output


def test_next_command_works_as_printed(toys):
    root, output = toys
    command = re.search(r"^Next: python (predict.py .*)$", output, re.MULTILINE)[1].split()
    answer = run_script(command[0], *command[1:], cwd=root, check=0).stdout
    assert len(re.findall(r"^ +[\d.]+ %  \w+", answer, re.MULTILINE)) == 5


def test_a_second_run_does_nothing(toys):
    root, _ = toys
    before = {path: path.stat().st_mtime_ns for path in (root / "model").rglob("*.keras")}
    result = run_script("pipeline_i3d.py", "--from", "prepare_chalearn", cwd=root, check=0)
    assert all(new == 0 for new, _, _ in closing_table(result.stdout).values())
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert "training takes" not in result.stdout


def test_the_other_pipeline_starts_from_what_this_one_left_and_its_run_is_used_alike(toys):
    root, _ = toys
    result = run_script("pipeline_mobile_lstm.py", *QUICK, "--from", "frame", cwd=root, check=0)
    assert closing_table(result.stdout) == {
        "frame": (0, 32, 0),
        "opticalflow": (0, 32, 0),
        "train_mobile_lstm": (16, 0, 0),
        "evaluate": (8, 0, 0),
    }
    run = root / "model" / "toysigns-laptop-mobile_lstm-seed0"
    clip = next((root / "data_set" / "toysigns" / "test").glob("*/*.avi"))
    flags = ("--model", run, "--json")
    predicted = run_script("predict.py", *flags, clip, cwd=root, check=0).stdout
    live = run_script("livedemo.py", *flags, "--headless", "--camera", clip, cwd=root, check=0)
    rankings = [json.loads(text)["ranking"] for text in (predicted, live.stdout)]
    assert len(rankings[0]) == 8
    for one, other in zip(*rankings, strict=True):
        assert one["class"] == other["class"]
        assert one["probability"] == pytest.approx(other["probability"], abs=1e-5)


def test_own_videos_need_only_a_folder(tmp_path):
    make_dataset(tmp_path, {"train": 8}, name="my_signs")
    result = run_script(
        "pipeline_i3d.py",
        *("--dataset", "my_signs", "--preset", "laptop", "--stream", "flow"),
        cwd=tmp_path,
        check=0,
    )
    table = closing_table(result.stdout)
    assert list(table) == ["frame", "opticalflow", "train_i3d", "evaluate"]
    assert re.search(r"(\d+) training clips, (\d+) validation clips", result.stdout)
    run = tmp_path / "model" / "my_signs-laptop-i3d-seed0"
    assert list(json.loads((run / "evaluation.json").read_text())) == ["val"]


def test_missing_weights_stop_the_pipeline_before_its_first_stage(tmp_path, monkeypatch):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody listens: no download
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    make_dataset(tmp_path, {"train": 2}, name="my_signs")
    result = run_script(
        "pipeline_i3d.py", "--dataset", "my_signs", cwd=tmp_path, check=1, timeout=30
    )
    assert "--weights none" in result.stderr and not (tmp_path / "data_temp").exists()


@pytest.mark.parametrize(
    ("backend", "flags", "words"),
    [
        ("nosuch", (), "KERAS_BACKEND=nosuch is not installed"),
        ("tensorflow", ("--epochs-top", "0", "--epochs-all", "0"), "No epochs to train"),
        ("tensorflow", ("--seed", "99999999999999"), "from 0 to 4294967295, received 9999"),
    ],
)
def test_what_cannot_be_trained_is_told_before_the_first_stage(
    tmp_path, monkeypatch, backend, flags, words
):
    monkeypatch.setenv("KERAS_BACKEND", backend)
    make_dataset(tmp_path, {"train": 2}, name="my_signs")
    command = ("pipeline_i3d.py", "--dataset", "my_signs", "--preset", "laptop", *flags)
    result = run_script(*command, cwd=tmp_path, timeout=30)
    assert result.returncode and words in result.stderr and "Traceback" not in result.stderr
    assert not (tmp_path / "data_temp").exists() and not (tmp_path / "model").exists()


def test_wrong_dataset_stops_the_pipeline_at_once(tmp_path):
    make_dataset(tmp_path, {"train": 1}, name="my_signs")
    result = run_script(
        "pipeline_i3d.py", "--dataset", "my_sings", cwd=tmp_path, check=1, timeout=30
    )
    assert "Did you mean my_signs" in result.stderr and "Traceback" not in result.stderr


def test_a_single_sign_that_can_be_read_stops_the_pipeline_at_once(tmp_path):
    folder = make_dataset(tmp_path, {"train": 3}, name="my_signs").video_dir / "train"
    for path in (folder / "left").iterdir():
        path.write_bytes(b"no video at all" * 9)
    command = ("pipeline_i3d.py", "--dataset", "my_signs", "--preset", "laptop")
    result = run_script(*command, cwd=tmp_path, check=1, timeout=60)
    assert "Found: only right; no training video can be read of: left." in result.stderr
    assert "Traceback" not in result.stderr and not (tmp_path / "data_temp").exists()
