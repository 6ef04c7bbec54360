"""training/devices.py: which there are, what cannot be shared, that sharing changes nothing."""

import json
import subprocess
import sys

import pytest

from common.slow_imports import import_keras
from tests.helpers import ROOT, train_shallow
from training import devices
from training.options import TrainingOptions

keras = import_keras()

BACKEND = keras.backend.backend()
on_tensorflow = pytest.mark.skipif(BACKEND != "tensorflow", reason="TensorFlow shares batches")

# Trains one run on one and on two devices, and prints where they end.
SHARED_TRAINING = """
import dataclasses, json
from common import dataset as data
from inference import run_folder
from common.slow_imports import import_keras
import_keras()
from inference.saved_network import load_model
from tests.helpers import TINY, train_shallow
from training import devices
import numpy as np
import tensorflow
halves = [tensorflow.config.LogicalDeviceConfiguration()] * 2
tensorflow.config.set_logical_device_configuration(
    tensorflow.config.list_physical_devices("CPU")[0], halves
)
dataset = data.Dataset("moves", root={data_root!r})
# Each device would draw its own dropout.
dataset.preset = dataclasses.replace(TINY, dropout=0.0)
weights, losses = [], []
for gpus in (1, "all"):
    devices.gpu_names = lambda: ["CPU:0", "CPU:1"] if gpus == "all" else []
    folder = train_shallow(dataset, f"shared-{{gpus}}", stream="flow", gpus=gpus)
    _, path = run_folder.Run.read(folder).newest_checkpoint("flow")
    weights.append(load_model(path).get_weights())
    rows = (folder / "history.csv").read_text().splitlines()[1:]
    losses.append([[float(number) for number in row.split(",")[3:7]] for row in rows])
    config = load_model(folder / "flow.keras").get_config()
print(json.dumps({{
    "weights": max(float(np.abs(one - two).max()) for one, two in zip(*weights)),
    "losses": float(np.abs(np.subtract(*losses)).max()),
    "synchronized": "'synchronized': True" in str(config),
}}))
"""


@on_tensorflow
def test_two_devices_end_where_one_does(stored_dataset):
    code = SHARED_TRAINING.format(data_root=str(stored_dataset.root))
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
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
        train_shallow(stored_dataset, "nowhere", gpus="all")
    assert not (stored_dataset.root / "model" / "nowhere").exists()


@on_tensorflow
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "multiple of 3. Found: 4"),
        ({"mixed_precision": "float16"}, "--mixed-precision bfloat16"),
        ({"gradient_accumulation": 2}, "no --gradient-accumulation"),
    ],
)
def test_what_gpus_cannot_share_is_refused(monkeypatch, settings, message):
    monkeypatch.setattr(devices, "gpu_names", lambda: ["gpu:0", "gpu:1", "gpu:2"])
    with pytest.raises(ValueError, match=message):
        devices.check(TrainingOptions(gpus="all", **settings), 6 if settings else 4)
    devices.check(TrainingOptions(gpus="all", mixed_precision="bfloat16"), 6)
    devices.check(TrainingOptions(**settings), 4)


def test_every_backend_tells_its_gpus():
    assert isinstance(devices.gpu_names(), list)
