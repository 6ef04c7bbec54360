"""training/fitting.py: mixed precision, gradient accumulation, resumed, saved for use, refused."""

import io
import json
import shutil
import zipfile

import numpy as np
import pytest

import predict
from common.slow_imports import import_keras
from inference import run_folder
from inference.saved_network import load_model
from tests.helpers import TINY, train_shallow
from training import fitting, history

keras = import_keras()


def train(dataset, run_name, **options):
    return train_shallow(dataset, run_name, stream="flow", **options)


def checkpoint_arrays(folder):
    """Weights and state of the optimizer after the last epoch."""
    _, path = run_folder.Run.read(folder).newest_checkpoint("flow")
    model = load_model(path)
    return [np.asarray(value) for value in model.get_weights()] + [
        keras.ops.convert_to_numpy(variable) for variable in model.optimizer.variables
    ]


@pytest.mark.parametrize(
    "settings",
    [{"mixed_precision": "float16", "gradient_accumulation": 3}, {"mixed_precision": "bfloat16"}],
    ids=["float16-accumulated", "bfloat16"],
)
def test_a_resumed_run_ends_like_an_undisturbed_one(stored_dataset, monkeypatch, settings):
    name = settings["mixed_precision"]
    undisturbed = train(stored_dataset, name, **settings)
    save_checkpoint = fitting.save_checkpoint

    def save_and_interrupt(*arguments):
        save_checkpoint(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(fitting, "save_checkpoint", save_and_interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(stored_dataset, f"{name}-resumed", **settings)
    monkeypatch.undo()
    resumed = train(stored_dataset, f"{name}-resumed", resume=True, **settings)
    pairs = zip(checkpoint_arrays(undisturbed), checkpoint_arrays(resumed), strict=True)
    assert all(np.array_equal(one, other) for one, other in pairs)
    losses = [history.read(folder)["loss"].tolist() for folder in (undisturbed, resumed)]
    assert losses[0] == losses[1] and np.isfinite(losses[0]).all()


def test_what_no_checkpoint_holds_is_trained_again_to_the_same_end(stored_dataset, monkeypatch):
    undisturbed = train(stored_dataset, "never-stopped")
    kept = []

    def interrupt(self, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt

    for seconds, checkpoint in ((0, 2), (1000, 1)):
        monkeypatch.setattr(fitting, "CHECKPOINT_SECONDS", seconds)
        monkeypatch.setattr(fitting.progress.Progress, "on_epoch_end", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(stored_dataset, f"stopped-{seconds}")
        monkeypatch.undo()
        run = run_folder.Run.read(stored_dataset.root / "model" / f"stopped-{seconds}")
        assert run.newest_checkpoint("flow")[0] == checkpoint
        kept.append(load_model(run.model_file("flow")).get_weights())
        resumed = train(stored_dataset, f"stopped-{seconds}", resume=True)
        pairs = zip(checkpoint_arrays(undisturbed), checkpoint_arrays(resumed), strict=True)
        assert all(np.array_equal(one, other) for one, other in pairs)
    # Ctrl-C leaves the best epoch, whether a checkpoint was due or not.
    assert all(np.array_equal(one, other) for one, other in zip(*kept, strict=True))


@pytest.fixture(scope="module")
def mixed_run(stored_dataset):
    return train(stored_dataset, "mixed", mixed_precision="float16")


def test_mixed_precision_is_recorded_and_computed_in(mixed_run):
    run = run_folder.Run.read(mixed_run)
    assert run.options["mixed_precision"] == "float16"
    model = load_model(run.newest_checkpoint("flow")[1])
    assert {layer.compute_dtype for layer in model.layers[1:-1]} == {"float16"}
    assert {weight.dtype for weight in model.trainable_weights} == {"float32"}
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)


def test_mixed_precision_is_saved_for_use_in_float32(mixed_run):
    run = run_folder.Run.read(mixed_run)
    model = load_model(run.model_file("flow"), compile=False)
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}
    trained = load_model(run.newest_checkpoint("flow")[1])
    trained.set_weights(model.get_weights())
    clips = np.random.default_rng(0).uniform(-1, 1, (2, *model.input_shape[1:]))
    difference = model.predict(clips, verbose=0) - trained.predict(clips, verbose=0)
    assert 0 < np.abs(difference).max() < 5e-3
    answer = predict.Recognizer(mixed_run).predict(np.zeros((8, 40, 48, 3), np.uint8))
    assert np.isfinite(answer.streams["flow"]).all()


def test_batch_normalization_is_saved_for_one_device(tmp_path, mixed_run):
    model = load_model(run_folder.Run.read(mixed_run).model_file("flow"))
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = True
    fitting.save_for_use(model, tmp_path / "flow.keras")
    with zipfile.ZipFile(io.BytesIO((tmp_path / "flow.keras").read_bytes())) as archive:
        config = archive.read("config.json").decode()
    assert '"synchronized": false' in config and '"synchronized": true' not in config


def test_accumulated_batches_are_one_step_of_their_mean():
    clips = np.random.default_rng(0).uniform(-1, 1, (4, 5)).astype(np.float32)
    labels = np.eye(4, 3, dtype=np.float32)

    def weights_after(batches, accumulated):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3, "softmax")])
        options = {"mixed_precision": None, "gradient_accumulation": accumulated}
        fitting.compile_model(model, 0.1, options)
        for batch in batches:
            model.train_on_batch(clips[batch], labels[batch])
        return model.get_weights()[0]

    halves = [slice(0, 2), slice(2, 4)]
    at_once = weights_after([slice(0, 4)], 1)
    assert weights_after(halves, 2) == pytest.approx(at_once, abs=1e-5)
    assert np.array_equal(weights_after(halves[:1], 2), weights_after([], 1))


def test_a_run_older_than_an_option_goes_on(stored_dataset, mixed_run):
    folder = shutil.copytree(train(stored_dataset, "plain"), mixed_run.with_name("older"))
    content = json.loads((folder / "run.json").read_text())
    for option in ("mixed_precision", "gradient_accumulation"):
        del content["options"][option]
    (folder / "run.json").write_text(json.dumps(content))
    last = folder / "checkpoint" / "flow-0003.keras"
    last.rename(last.with_name("flow-0002.keras"))
    with pytest.raises(ValueError, match="mixed_precision was None, is float16"):
        train(stored_dataset, "older", resume=True, mixed_precision="float16")
    train(stored_dataset, "older", resume=True)
    assert last.is_file()
    assert run_folder.Run.read(folder).options["gradient_accumulation"] == 1
    assert run_folder.Run.read(folder).preset == TINY
