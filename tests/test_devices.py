"""devices.py: which devices there are, what cannot be shared, and that sharing changes nothing."""

import json
import subprocess
import sys

import pytest
from conftest import ROOT, SHALLOW

import run_folder
import training

keras = run_folder.import_keras()
import devices  # noqa: E402

BACKEND = keras.backend.backend()
on_tensorflow = pytest.mark.skipif(BACKEND != "tensorflow", reason="TensorFlow shares batches")

# Trains one run on one and on two devices, and prints where they end.
SHARED_TRAINING = """
import dataclasses, json, sys
sys.path[:0] = [{root!r}, {tests!r}]
import run_folder
keras = run_folder.import_keras()
import numpy as np
import tensorflow
halves = [tensorflow.config.LogicalDeviceConfiguration()] * 2
tensorflow.config.set_logical_device_configuration(
    tensorflow.config.list_physical_devices("CPU")[0], halves
)
from conftest import SHALLOW, TINY
import dataset as data, devices, fitting, training
dataset = data.Dataset("moves", root={data_root!r})
# Each device would draw its own dropout.
dataset.preset = dataclasses.replace(TINY, dropout=0.0)
weights, losses = [], []
for gpus in (1, "all"):
    devices.gpu_names = lambda: ["CPU:0", "CPU:1"] if gpus == "all" else []
    folder = training.train_run(
        dataset, SHALLOW, run_name=f"shared-{{gpus}}", streams=("flow",), gpus=gpus
    ).output
    _, path = run_folder.Run.read(folder).newest_checkpoint("flow")
    weights.append(run_folder.load_model(path).get_weights())
    rows = (folder / "history.csv").read_text().splitlines()[1:]
    losses.append([[float(number) for number in row.split(",")[3:7]] for row in rows])
    config = run_folder.load_model(folder / "flow.keras").get_config()
print(json.dumps({{
    "weights": max(float(np.abs(one - two).max()) for one, two in zip(*weights)),
    "losses": float(np.abs(np.subtract(*losses)).max()),
    "synchronized": "'synchronized': True" in str(config),
}}))
"""


@on_tensorflow
def test_two_devices_end_where_one_does(stored_dataset):
    places = {"root": str(ROOT), "tests": str(ROOT / "tests")}
    code = SHARED_TRAINING.format(data_root=str(stored_dataset.root), **places)
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout.splitlines()[-1])
    assert found["weights"] < 1e-5 and found["losses"] < 1e-5 and not found["synchronized"]


def test_batch_normalisation_inside_an_extractor_is_shared_too():
    import model_lstm
    import model_mobile

    extractor = model_mobile.build_extractor("mobilenet", 32, 32, 2, width_multiplier=0.25)
    network = model_lstm.build_lstm(extractor, num_frames=8, num_classes=2, units=(4, 4))
    inside = [
        layer
        for layer in network.get_layer("per_frame").network.get_layer("mobilenet_0.25_32").layers
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    assert len(inside) == 27
    for num_devices in (2, 1):
        devices.synchronize(network, num_devices)
        assert {layer.synchronized for layer in inside} == {num_devices == 2}


def test_no_gpu_is_said_before_anything_is_written(stored_dataset, monkeypatch):
    monkeypatch.setattr(devices, "gpu_names", list)
    with pytest.raises(ValueError, match="--gpus all.*(finds no GPU|needs Keras on TensorFlow)"):
        training.train_run(stored_dataset, SHALLOW, run_name="nowhere", gpus="all")
    assert not (stored_dataset.root / "model" / "nowhere").exists()


@on_tensorflow
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 4}, "multiple of 3. Found: 4"),
        ({"batch_size": 6, "mixed_precision": "float16"}, "--mixed-precision bfloat16"),
        ({"batch_size": 6, "gradient_accumulation": 2}, "no --gradient-accumulation"),
    ],
)
def test_what_gpus_cannot_share_is_refused(monkeypatch, settings, message):
    monkeypatch.setattr(devices, "gpu_names", lambda: ["gpu:0", "gpu:1", "gpu:2"])
    with pytest.raises(ValueError, match=message):
        devices.check("all", **settings)
    devices.check("all", batch_size=6, mixed_precision="bfloat16")
    devices.check(1, **settings)


def test_every_backend_tells_its_gpus():
    assert isinstance(devices.gpu_names(), list)
