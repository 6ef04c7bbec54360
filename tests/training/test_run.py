"""train_i3d.py and training/: what a run holds, resuming, refusing."""

import argparse
import dataclasses
import importlib.util
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile

import h5py
import numpy as np
import pytest
from tensorboard.backend.event_processing import event_accumulator

import frame
import opticalflow
import train_i3d
from common import dataset as data
from common.presets import PRESETS
from inference import run_folder
from tests.helpers import (
    ROOT,
    TINY,
    copy_of,
    make_dataset,
    moving_square,
    run_script,
    train_shallow,
    write_video,
)
from train_i3d import I3DOptions
from training import fitting, history, pipeline, schedule, start
from training.options import TrainingOptions, add_arguments, from_arguments
from training.run import is_trained
from training.schedule import Phase, phases

# Waits for the file go-<name>, trains until a chosen batch is read, writes <name>, and holds.
HELD_TRAINING = """
import time
from pathlib import Path
from common.slow_imports import import_keras
import_keras()
import datagenerator
from common import command_line
from common import dataset as data
from tests.helpers import TINY, train_shallow
root = Path({data_root!r})
read = datagenerator.ClipSequence.__getitem__
def read_or_hold(self, index):
    if self.seed is not None and (self.stream, self.epoch, index) == {point!r}:
        (root / {name!r}).touch()
        time.sleep({seconds})
    return read(self, index)
datagenerator.ClipSequence.__getitem__ = read_or_hold
dataset = data.Dataset("moves", root=root)
dataset.preset = TINY
while not (root / ("go-" + {name!r})).exists():
    time.sleep(0.02)
command_line.run(lambda: train_shallow(dataset, {run!r}, resume=True) and None)
"""
LONG, SHORT = 600, 1  # seconds to hold: until it is killed, or until the interrupt has come
HELD = {  # name: (run, (stream, epoch, batch), seconds)
    "killed-1": ("killed", ("rgb", 1, 1), LONG),
    "killed-2": ("killed", ("flow", 0, 0), LONG),
    "killed-3": ("killed", ("flow", 2, 1), LONG),
    "interrupted-0": ("interrupted-0", ("rgb", 0, 1), SHORT),
    "interrupted-1": ("interrupted-1", ("rgb", 1, 1), SHORT),
}


def arrays(path):
    """Every array in a `.keras` file, optimizer included."""
    found = {}
    with zipfile.ZipFile(path) as archive:
        with h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as file:
            file.visititems(
                lambda name, item: (
                    found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None
                )
            )
    return found


def assert_same_weights(run, other):
    for name in (
        "rgb.keras",
        "flow.keras",
        "checkpoint/rgb-0003.keras",
        "checkpoint/flow-0003.keras",
    ):
        one, two = arrays(run / name), arrays(other / name)
        assert one.keys() == two.keys() and len(one) > 5
        assert all(np.array_equal(one[key], two[key]) for key in one), name


def start_held_training(dataset, name):
    run, point, seconds = HELD[name]
    code = HELD_TRAINING.format(
        name=name, run=run, point=point, seconds=seconds, data_root=str(dataset.root)
    )
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def held_trainings(stored_dataset):
    """{name: process} of `HELD`, started together because importing Keras takes long."""
    if os.name == "nt":
        pytest.skip("POSIX signals")
    processes = {name: start_held_training(stored_dataset, name) for name in HELD}
    yield processes
    for process in processes.values():
        process.kill()
        process.wait()
        process.stderr.close()


@pytest.fixture(scope="module")
def shallow_run(stored_dataset):
    """The folder of an undisturbed run of few layers; do not change it."""
    return train_shallow(stored_dataset, "undisturbed")


def let_go(dataset, name, process):
    """Lets a held training run until it reads its batch."""
    (dataset.root / f"go-{name}").touch()
    while not (dataset.root / name).exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)


def test_a_run_holds_everything_to_use_it(stored_dataset, trained_run):
    run = run_folder.Run.read(trained_run)
    assert trained_run.name == "moves-laptop-i3d-seed0"
    assert run.streams == ["rgb", "flow"] and run.preset == TINY
    assert run.labels == ["left", "right"] and run.flow["algorithm"] == "tvl1"
    assert (run.data["train"], run.data["val"]) == (8, 4)
    table = history.read(trained_run)
    assert table["stream"].tolist() == ["rgb"] * 3 + ["flow"] * 3
    assert table["epoch"].tolist() == [1, 2, 3] * 2 and table.notna().all().all()
    assert table["learning_rate"].tolist()[:3] == pytest.approx([1e-3, 7.5e-4, 2.5e-4])
    assert (trained_run / "curves.png").read_bytes()[:4] == b"\x89PNG"
    assert sorted(path.name for path in (trained_run / "checkpoint").iterdir()) == [
        "flow-0003.keras",
        "rgb-0003.keras",
    ]
    assert not any("optimizer" in name for name in arrays(trained_run / "rgb.keras"))


def test_killed_training_ends_with_the_weights_of_an_undisturbed_one(
    stored_dataset, held_trainings, shallow_run
):
    folder = stored_dataset.root / "model" / "killed"
    for name, checkpoint in (("killed-1", "rgb-0001"), ("killed-2", "rgb-0003"), ("killed-3", "")):
        process = held_trainings[name]
        let_go(stored_dataset, name, process)
        with pytest.raises(ValueError, match="Another process is training"):
            train_shallow(stored_dataset, "killed", resume=True)
        process.kill()
        process.wait()
        assert not checkpoint or (folder / "checkpoint" / f"{checkpoint}.keras").is_file()
        assert not is_trained(run_folder.Run.read(folder), "flow")
    train_shallow(stored_dataset, "killed", resume=True)
    assert_same_weights(folder, shallow_run)
    timeless = [name for name in history.COLUMNS if name != "seconds"]
    assert history.read(folder)[timeless].equals(history.read(shallow_run)[timeless])


@pytest.mark.parametrize("epochs_before", [0, 1])
def test_ctrl_c_leaves_a_usable_model(stored_dataset, held_trainings, epochs_before):
    from predict import Recognizer

    name = f"interrupted-{epochs_before}"
    folder = stored_dataset.root / "model" / name
    process = held_trainings[name]
    let_go(stored_dataset, name, process)
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130 and "Traceback" not in process.stderr.read()
    assert run_folder.Run.read(folder).newest_checkpoint("rgb")[0] == epochs_before
    answer = Recognizer(folder).predict(np.zeros((8, 40, 48, 3), np.uint8))
    assert list(answer.streams) == ["rgb"]
    assert sum(probability for _, _, probability in answer.ranking) == pytest.approx(1)
    shutil.rmtree(folder)


def test_finished_training_is_skipped(stored_dataset, trained_run):
    before = (trained_run / "rgb.keras").read_bytes()
    report = train_i3d.train(stored_dataset)
    assert (report.done, report.skipped) == (0, 16)
    assert (trained_run / "rgb.keras").read_bytes() == before


def test_unfinished_training_wants_a_word(stored_dataset, trained_run):
    folder = shutil.copytree(trained_run, trained_run.with_name("unfinished"))
    last = folder / "checkpoint" / "flow-0003.keras"
    last.rename(last.with_name("flow-0002.keras"))
    with pytest.raises(ValueError, match=r"unfinished \(flow\).*--resume.*--restart"):
        train_i3d.train(stored_dataset, I3DOptions(run="unfinished"))
    shutil.rmtree(folder)


def test_other_data_or_settings_are_refused_with_both_sides(stored_dataset, trained_run):
    with pytest.raises(ValueError, match="settings: flip was False, is True"):
        train_i3d.train(stored_dataset, I3DOptions(flip=True))
    other = data.Dataset("moves", root=stored_dataset.root)
    other.preset = dataclasses.replace(TINY, epochs_all=4)
    with pytest.raises(ValueError, match="settings: epochs were 3, now 4 are .*--restart"):
        train_i3d.train(other)
    other.preset = dataclasses.replace(TINY, num_frames=9)
    with pytest.raises(ValueError, match="num_frames is 8, wanted 9.*frame.py .*--rebuild"):
        train_i3d.train(other)


def test_what_changed_since_a_training_is_told_in_words(stored_dataset, tmp_path):
    dataset = copy_of(stored_dataset, tmp_path)
    train_shallow(dataset, "run", stream="flow")
    for folder in (dataset.video_dir, dataset.frame_dir, dataset.flow_dir):
        shutil.copytree(folder / "train" / "left", folder / "train" / "good morning")
    with pytest.raises(ValueError, match="settings: new sign good morning; 4 clips added. To"):
        train_shallow(dataset, "run", stream="flow")
    for folder in (dataset.video_dir, dataset.frame_dir, dataset.flow_dir):
        shutil.rmtree(folder / "train" / "good morning")
        (folder / "train" / "left" / "0").rename(folder / "train" / "left" / "9") if (
            folder != dataset.video_dir
        ) else (folder / "train" / "left" / "0.avi").rename(folder / "train" / "left" / "9.avi")
    words = r"settings: other clips, as many as before \(left: others\). To"
    with pytest.raises(ValueError, match=words):
        train_shallow(dataset, "run", stream="flow")
    for folder in (dataset.video_dir, dataset.frame_dir, dataset.flow_dir):
        name = "9.avi" if folder == dataset.video_dir else "9"
        (folder / "train" / "left" / name).rename(folder / "train" / "right" / name)
    words = r"settings: other clips, as many as before \(left: 1 fewer, right: 1 more\). To"
    with pytest.raises(ValueError, match=words):
        train_shallow(dataset, "run", stream="flow")
    for folder in (dataset.video_dir, dataset.frame_dir, dataset.flow_dir):
        name = "9.avi" if folder == dataset.video_dir else "9"
        (folder / "train" / "right" / name).rename(folder / "train" / "left" / f"0{name[1:]}")
        for split in ("train", "val", "test"):
            (folder / split / "left").rename(folder / split / "aside")
    with pytest.raises(ValueError, match="settings: new sign aside; without the sign left. To"):
        train_shallow(dataset, "run", stream="flow")


def test_training_without_validation_clips_keeps_the_lowest_loss(stored_dataset, tmp_path):
    dataset = copy_of(stored_dataset, tmp_path)
    for kind in ("frame", "oflow"):
        for split in ("val", "test"):
            shutil.rmtree(dataset.temp_dir / kind / split)
    run = train_shallow(dataset, "all", stream="flow", val_fraction=0)
    table = history.read(run)
    assert table["val_loss"].isna().all() and len(table) == 3
    assert run_folder.Run.read(run).data["val"] == 0
    assert run_folder.Run.read(run).streams == ["flow"]


def test_patience_ends_a_stream_early_and_counts_as_finished(tmp_path):
    past = history.History(tmp_path, "rgb")
    losses = [1.0, 0.8, 0.9, 0.85]
    best = [
        past.append(
            {
                "stream": "rgb",
                "epoch": number + 1,
                "loss": loss,
                "val_loss": loss,
                "val_accuracy": 0.5,
            }
        )
        for number, loss in enumerate(losses)
    ]
    assert best == [True, True, False, False]
    read_again = history.History(tmp_path, "rgb")
    assert [read_again.has_stalled(patience) for patience in (1, 2, 3, None)] == [
        True,
        True,
        False,
        False,
    ]
    assert not history.History(tmp_path, "rgb", epoch=2).has_stalled(1)
    assert not history.History(tmp_path, "flow").has_stalled(1)


def test_accuracy_goes_before_loss(tmp_path):
    past = history.History(tmp_path, "rgb")
    rows = [(0.5, 0.2), (0.6, 0.9), (0.6, 0.8), (0.4, 0.1)]
    best = [
        past.append({"stream": "rgb", "epoch": i, "val_accuracy": accuracy, "val_loss": loss})
        for i, (accuracy, loss) in enumerate(rows)
    ]
    assert best == [True, True, True, False]


def test_phases_follow_the_preset():
    top, everything = phases(PRESETS["full"], 8)
    assert (top.part, top.epochs, top.learning_rate) == ("top", 1, 1e-3)
    assert (everything.part, everything.epochs, everything.learning_rate) == ("all", 17, 1e-4)
    assert everything.learning_rate_at(16) == 1e-4
    falling = Phase("all", 10, 0.1, cosine=True)
    rates = [falling.learning_rate_at(epoch) for epoch in range(10)]
    assert rates[0] == 0.1 and rates == sorted(rates, reverse=True) and rates[-1] < 0.01


def from_random():
    """The `laptop` preset of an I3D that begins with random weights."""
    dataset = data.Dataset("toysigns")
    train_i3d.check_weights(dataset, I3DOptions(weights="none"))
    return dataset.preset


def test_what_has_learned_signing_trains_everything_only_where_clips_are_many():
    preset = PRESETS["laptop"]
    for num_clips, epochs in ((10, [1, 0]), (999, [1, 0]), (1000, [1, 3]), (40_000, [1, 3])):
        assert [phase.epochs for phase in phases(preset, num_clips)] == epochs


@pytest.mark.parametrize(
    ("num_clips", "epochs"), [(0, 100), (16, 100), (48, 70), (480, 7), (40_000, 7)]
)
def test_few_clips_get_as_many_steps_in_more_epochs(num_clips, epochs):
    preset = from_random()
    assert [phase.epochs for phase in phases(preset, num_clips)] == [0, epochs]
    longer = dataclasses.replace(preset, epochs_all=150)
    assert phases(longer, 480)[1].epochs == phases(longer, 16)[1].epochs == 150


def test_epochs_that_are_asked_for_are_those_that_are_trained():
    parser = argparse.ArgumentParser()
    add_arguments(parser, TrainingOptions, dataset="toysigns")
    arguments = ["--preset", "laptop", "--epochs-all", "9"]
    for weights in ("signs", "none"):
        dataset, _ = from_arguments(parser.parse_args(arguments), TrainingOptions)
        train_i3d.check_weights(dataset, I3DOptions(weights=weights))
        assert phases(dataset.preset, 16)[1].epochs == 9
    for given in ([], ["--epochs-top", "1"]):  # the other phase is as it is without
        dataset, _ = from_arguments(parser.parse_args(arguments[:2] + given), TrainingOptions)
        assert [phase.epochs for phase in phases(dataset.preset, 16)] == [1, 0]


@pytest.mark.parametrize(
    ("num_clips", "per_clip", "duration"),
    [
        (480, 0.0, "a minute"),  # two starts of 15 s
        (480, 0.5, "57 minutes"),
        (480, 1.0, "2 hours"),
        (4800, 6.0, "5 days"),
        (10, 1.0, "36 minutes"),  # 100 epochs of both streams
    ],
)
def test_the_time_that_training_will_take_is_told(
    tmp_path, capsys, monkeypatch, num_clips, per_clip, duration
):
    monkeypatch.setitem(schedule.SECONDS_PER_CLIP, ("i3d", "laptop"), per_clip)
    dataset = data.Dataset("my_signs", "laptop", tmp_path)
    dataset.preset = from_random()
    pipeline.announce(dataset, train_i3d.ARCHITECTURE, num_clips, TrainingOptions())
    assert f"training takes about {duration}." in capsys.readouterr().out


def test_a_training_shows_one_bar_a_stream_and_what_its_best_epoch_was(stored_dataset, capfd):
    train_shallow(stored_dataset, "shown", stream="rgb")
    output, bars = capfd.readouterr()
    words = r"rgb: epoch \d of 3 was the best, accuracy [01]\.\d{3} on \d+ clips of val"
    assert re.search(rf"{words} \(chance 0\.500\), ", output)
    last = bars.split("\r")[-1]
    assert last.startswith("rgb, epoch 3 of 3: 100%") and ", validation " in last
    assert "Epoch 1" not in output + bars and "step" not in output


def test_tensorboard_gets_what_it_reads(stored_dataset):
    run = train_shallow(stored_dataset, "board", stream="rgb", tensorboard=True)
    for split in ("train", "validation"):
        events = event_accumulator.EventAccumulator(str(run / "tensorboard" / "rgb" / split))
        events.Reload()
        accuracies = events.Tags()["tensors"]
        assert "epoch_accuracy" in accuracies and "epoch_loss" in accuracies
        assert [event.step for event in events.Tensors("epoch_loss")] == [0, 1, 2]


def test_tensorboard_that_is_missing_is_told_before_anything_is_trained(
    stored_dataset, monkeypatch
):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install tensorboard"):
        train_shallow(stored_dataset, "no-board", tensorboard=True)
    assert not (stored_dataset.root / "model" / "no-board").exists()


@pytest.fixture
def without_val(tmp_path):
    """A data set of ten clips, of which training keeps two for validation."""
    dataset = make_dataset(tmp_path, {"train": 5})
    frame.extract_frames(dataset, workers=1)
    opticalflow.extract_flow(dataset, workers=1)
    return dataset


def test_a_video_replaced_under_its_name_is_not_trained_already(without_val):
    train_shallow(without_val, "run", stream="rgb")
    path = without_val.video_dir / "train" / "left" / "0.avi"
    write_video(path, moving_square(14, (2, 1), (40, 48)))
    frame.extract_frames(without_val, workers=1)
    with pytest.raises(ValueError, match="videos were replaced by others of the same name"):
        train_shallow(without_val, "run", stream="rgb")


def test_another_share_that_keeps_the_same_clips_for_validation_changes_nothing(
    without_val, capsys
):
    train_shallow(without_val, "run", stream="rgb", val_fraction=0.2)
    train_shallow(without_val, "run", stream="rgb", val_fraction=0.1)
    assert "is trained already" in capsys.readouterr().out
    with pytest.raises(ValueError, match="other clips are kept for validation"):
        train_shallow(without_val, "run", stream="rgb", val_fraction=0.4)


def test_clips_that_were_trained_on_never_become_validation_clips(without_val):
    run = run_folder.Run.read(train_shallow(without_val, "run", stream="rgb"))
    clips = without_val.stored_clips("rgb")
    _, val = start.split_of_run(run, clips)
    assert len(val) == 2
    fewer = [clip for clip in clips if clip != val[0]]
    train, left = start.split_of_run(run, fewer)
    assert left == val[1:] and len(train) == 8


def test_other_epochs_are_told_as_epochs(without_val):
    train_shallow(without_val, "run", stream="rgb")
    without_val.preset = dataclasses.replace(without_val.preset, epochs_for_clips=40)
    with pytest.raises(ValueError, match="epochs were 3, now 15 are asked for"):
        train_shallow(without_val, "run", stream="rgb")


def test_class_weights_balance_the_signs():
    assert fitting.balanced_class_weight(np.array([0, 0, 1, 1]), 2) is None
    classes = np.array([0] * 9 + [1] * 3)
    weights = fitting.balanced_class_weight(classes, 2)
    assert 9 * weights[0] == pytest.approx(3 * weights[1])
    assert np.mean([weights[index] for index in classes]) == pytest.approx(1)


def test_missing_stages_are_named_in_the_first_second(tmp_path):
    make_dataset(tmp_path, {"train": 2})
    flags = ("--dataset", "moves", "--preset", "laptop")
    result = run_script("train_i3d.py", *flags, cwd=tmp_path, check=1, timeout=30)
    assert "python frame.py --dataset moves --preset laptop" in result.stderr
    run_script("frame.py", *flags, cwd=tmp_path, check=0)
    result = run_script("train_i3d.py", *flags, cwd=tmp_path, check=1, timeout=30)
    assert "python opticalflow.py --dataset moves --preset laptop" in result.stderr
    result = run_script(
        "train_i3d.py", *flags, "--weights", "nowhere.h5", cwd=tmp_path, check=1, timeout=30
    )
    assert "No file nowhere.h5" in result.stderr and not (tmp_path / "model").exists()


def test_kinetics_weights_that_are_not_there_say_where_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody listens: no download
    make_dataset(tmp_path, {"train": 2})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    result = run_script("train_i3d.py", "--dataset", "moves", cwd=tmp_path, check=1, timeout=30)
    assert "rgb_inception_i3d_imagenet_and_kinetics" in result.stderr
    assert str(tmp_path / "i3d") in result.stderr and "--weights none" in result.stderr
    wrong_name = run_script("train_i3d.py", "--dataset", "movse", cwd=tmp_path, check=1, timeout=30)
    assert "Did you mean moves" in wrong_name.stderr


def test_clips_without_flow_are_named(stored_dataset, tmp_path):
    dataset = copy_of(stored_dataset, tmp_path)
    shutil.rmtree(dataset.flow_dir / "train" / "right" / "1")
    with pytest.raises(FileNotFoundError, match="Clips without flow: 1, such as train.right.1"):
        train_i3d.train(dataset)


def test_weights_in_the_folder_that_is_to_be_deleted_are_kept(stored_dataset, trained_run):
    before = (trained_run / "rgb.keras").read_bytes()
    for source in (trained_run, trained_run / "flow.keras"):
        with pytest.raises(ValueError, match="--restart would delete .*--run NAME"):
            train_shallow(stored_dataset, weights=str(source), restart=True)
    assert (trained_run / "rgb.keras").read_bytes() == before


def test_kinetics_weights_for_a_narrow_network_are_refused_before_their_download(stored_dataset):
    with pytest.raises(ValueError, match="width 1, that of --preset laptop is 0.0625.*full"):
        train_i3d.train(stored_dataset, I3DOptions(weights="kinetics"))


def test_a_schedule_without_epochs_is_refused(stored_dataset):
    dataset = data.Dataset("moves", root=stored_dataset.root)
    dataset.preset = dataclasses.replace(TINY, epochs_all=0)
    with pytest.raises(ValueError, match="No epochs to train"):
        train_i3d.train(dataset, I3DOptions(run="nothing"))


def test_one_sign_is_too_few(stored_dataset, tmp_path):
    dataset = copy_of(stored_dataset, tmp_path)
    for kind in ("frame", "oflow"):
        for split in data.SPLITS:
            shutil.rmtree(dataset.temp_dir / kind / split / "right")
    with pytest.raises(ValueError, match="at least 2 signs"):
        train_i3d.train(dataset)
