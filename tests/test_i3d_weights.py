"""i3d_weights.py: weights of all formats in a network, files that do not fit, the command line."""

import dataclasses
import subprocess
import sys

import h5py
import keras
import numpy as np
import pytest

import i3d_weights
from inference import extractor
from model_i3d import build_i3d
from tests.helpers import ROOT, run_script
from tests.weights import formats
from train_i3d import I3DOptions
from weights import files, fit

WIDTH = 0.0625
SIZE = {"num_frames": 8, "height": 32, "width": 32, "channels": 2, "width_multiplier": WIDTH}


def randomise(model, seed):
    random = np.random.default_rng(seed)
    for layer in model.layers:
        layer.set_weights([random.uniform(0.5, 1.5, array.shape) for array in layer.get_weights()])
    return model


def results(model, clips):
    return np.asarray(keras.ops.convert_to_numpy(model(clips, training=False)))


def holds(model, layers, without=()):
    """Whether a network has exactly these weights."""
    return all(
        np.array_equal(weight, layers[layer.name][weight.name])
        for layer in model.layers
        for weight in layer.weights
        if layer.name not in without
    )


@pytest.fixture(scope="module")
def layers():
    return formats.recipe_layers(2, WIDTH)


@pytest.fixture(scope="module")
def network():
    return build_i3d(**SIZE)


@pytest.fixture
def path(layers, tmp_path):
    return formats.write_hdf5(tmp_path / "weights.h5", layers)


def test_all_weights_load_by_name_and_a_new_top_stays(path, layers):
    model = randomise(build_i3d(**SIZE, num_classes=5), 2)
    before = model.get_layer("Conv3d_6a_1x1_conv").get_weights()
    i3d_weights.load_weights(model, path)
    after = model.get_layer("Conv3d_6a_1x1_conv").get_weights()
    assert holds(model, layers, without=["Conv3d_6a_1x1_conv"])
    assert all(map(np.array_equal, before, after))


def test_a_full_width_network_takes_full_width_weights(tmp_path):
    layers = formats.recipe_layers(3)
    model = build_i3d(8, 32, 32, 3)
    i3d_weights.load_weights(model, formats.write_hdf5(tmp_path / "weights.h5", layers))
    assert holds(model, layers)


@pytest.mark.parametrize("num_classes", [400, 600])
def test_the_kinetics_head_gives_the_same_logits_from_every_format(tmp_path, num_classes):
    layers = formats.recipe_layers(2, WIDTH, num_classes)
    size = {**SIZE, "num_frames": 79 if num_classes == 400 else 64}
    model = build_i3d(**size, top="kinetics", num_classes=num_classes)
    clips = np.random.default_rng(8).uniform(-1, 1, (1, *model.input_shape[1:])).astype("float32")
    headless = build_i3d(**size)
    i3d_weights.load_weights(headless, formats.write_hdf5(tmp_path / "weights.h5", layers))
    features = results(headless, clips)[0, :, 0, 0].mean(axis=0)
    top = layers["Conv3d_6a_1x1_conv"]
    wanted = features @ top["kernel"][0, 0, 0] + top["bias"]
    assert wanted.shape == (num_classes,) and np.ptp(wanted) > 0.1
    variables = formats.tensorflow_variables(layers, "Flow/inception_i3d/")
    for path in (
        tmp_path / "weights.h5",
        formats.write_checkpoint(tmp_path / "checkpoint" / "model.ckpt", variables),
        formats.write_torch_legacy(tmp_path / "weights.pt", formats.state_dict(layers)),
        formats.write_safetensors(tmp_path / "weights.safetensors", formats.state_dict(layers)),
    ):
        randomise(model, 3)
        i3d_weights.load_weights(model, path)
        assert np.allclose(results(model, clips)[0], wanted, atol=1e-4)


def test_the_kinetics_head_must_be_in_the_file(path):
    with pytest.raises(ValueError, match="no classification layer"):
        i3d_weights.load_weights(build_i3d(**SIZE, top="kinetics"), path)


def test_gammas_are_folded_so_that_results_stay(tmp_path, layers, network):
    random = np.random.default_rng(5)
    gammas = {
        layer: random.uniform(-1.5, 1.5, weights["beta"].shape).astype(np.float32)
        for layer, weights in layers.items()
        if layer.endswith("_bn")
    }
    path = formats.write_torch_zip(tmp_path / "gamma.pt", formats.state_dict(layers, gammas))
    i3d_weights.load_weights(network, path)
    clips = random.uniform(-1, 1, (2, *network.input_shape[1:])).astype(np.float32)
    units = ["Conv3d_1a_7x7", "Conv3d_2b_1x1"]
    outputs = [network.get_layer(name).output for name in units]
    found = keras.Model(network.input, outputs)(clips, training=False)
    x = clips
    for unit, activation, strides in zip(units, found, (2, 1), strict=True):
        kernel = layers[f"{unit}_conv"]["kernel"]
        x = keras.ops.conv(x, kernel, strides=strides, padding="same")
        norm = layers[f"{unit}_bn"]
        scale = gammas[f"{unit}_bn"] / np.sqrt(norm["moving_variance"] + 1e-3)
        x = np.maximum((x - norm["moving_mean"]) * scale + norm["beta"], 0)
        activation = keras.ops.convert_to_numpy(activation)
        assert np.allclose(activation, x, atol=1e-4) and activation.max() > 0.1
        x = keras.ops.max_pool(x, (1, 3, 3), (1, 2, 2), padding="same")


def test_own_runs_are_a_start_for_other_signs(tmp_path):
    source = randomise(build_i3d(**SIZE, num_classes=7), 1)
    source.save(tmp_path / "flow.keras")
    path = i3d_weights.find_weights(tmp_path, "flow")
    model = randomise(build_i3d(**SIZE, num_classes=7), 2)
    top = model.get_layer("Conv3d_6a_1x1_conv").get_weights()
    i3d_weights.load_weights(model, path, with_top=False)
    below = [layer.name for layer in model.layers if layer.name != "Conv3d_6a_1x1_conv"]
    for name in below:
        loaded, stored = model.get_layer(name), source.get_layer(name)
        assert all(map(np.array_equal, loaded.get_weights(), stored.get_weights()))
    assert np.array_equal(model.get_layer("Conv3d_6a_1x1_conv").get_weights()[0], top[0])
    i3d_weights.load_weights(model, path)
    assert all(map(np.array_equal, model.get_weights(), source.get_weights()))


def test_unsafe_keras_files_are_refused(tmp_path):
    unsafe = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    unsafe.save(tmp_path / "unsafe.keras")
    with pytest.raises(ValueError, match="would load .*Sequential"):
        files.read(tmp_path / "unsafe.keras")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"channels": 3},
            "holds the flow stream.*of the rgb stream.*Conv3d_1a_7x7_conv has shapes",
        ),
        (
            {"width_multiplier": 0.125},
            "has width 0.0625.*has width 0.125.*has shapes .* and .* more",
        ),
    ],
)
def test_other_shapes_are_listed(path, change, message):
    with pytest.raises(ValueError, match=message):
        i3d_weights.load_weights(build_i3d(**{**SIZE, **change}), path)


def test_full_width_weights_for_a_narrow_preset_are_refused_without_a_network(tmp_path):
    full = formats.recipe_layers(2)
    formats.write_hdf5(tmp_path / "full.h5", full)
    with pytest.raises(ValueError, match="width 1, .*width 0.25.*--preset full.*--weights none"):
        i3d_weights.check_weights(tmp_path / "full.h5", "flow", 0.25)
    i3d_weights.check_weights(tmp_path / "full.h5", "flow", 1.0)


def test_missing_unknown_and_infinite_layers_are_listed_and_nothing_is_loaded(
    path, layers, network
):
    with h5py.File(path, "a") as file:
        names = list(layers)
        names.remove("Conv3d_3b_0a_1x1_conv")
        file.attrs["layer_names"] = [name.encode() for name in [*names, "extra"]]
        file.create_group("extra").attrs["weight_names"] = [b"extra/kernel:0"]
        file["extra/extra/kernel:0"] = np.ones(3)
        file["Conv3d_5c_3b_1x1_bn/Conv3d_5c_3b_1x1_bn/beta:0"][0] = np.nan
        del file["Conv3d_4b_0a_1x1_bn"].attrs["weight_names"]
        file["Conv3d_4b_0a_1x1_bn"].attrs["weight_names"] = [b"Conv3d_4b_0a_1x1_bn/beta:0"]
    before = randomise(network, 2).get_weights()
    with pytest.raises(ValueError) as error:
        i3d_weights.load_weights(network, path)
    for part in (
        "missing layer Conv3d_3b_0a_1x1_conv",
        "unknown layer extra",
        "Conv3d_5c_3b_1x1_bn holds values that are not finite",
        "Conv3d_4b_0a_1x1_bn has shapes beta (12,), expected beta (12,), moving_mean (12,)",
    ):
        assert part in str(error.value)
    assert all(map(np.array_equal, before, network.get_weights()))


@pytest.mark.parametrize("share", [0, 0.5, 0.95])
def test_truncated_files_are_refused(path, network, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match="is not a"):
        i3d_weights.load_weights(network, path)


def test_weights_of_the_other_stream_keep_activations(tmp_path):
    rgb = formats.recipe_layers(3, WIDTH)
    path = formats.write_hdf5(tmp_path / "rgb.h5", rgb)
    networks = {channels: build_i3d(**{**SIZE, "channels": channels}) for channels in (3, 2)}
    for network in networks.values():
        i3d_weights.load_weights(network, path, from_other_stream=True)
    gray = np.random.default_rng(0).uniform(-1, 1, (1, 8, 32, 32, 1)).astype(np.float32)
    found = [
        results(network, gray.repeat(channels, axis=4)) for channels, network in networks.items()
    ]
    assert np.allclose(*found, atol=1e-4) and np.ptp(found[0]) > 0.1
    assert holds(networks[3], rgb)


def test_changing_the_stream_twice_averages_the_stem():
    rgb = formats.recipe_layers(3, WIDTH)
    twice = fit.change_stream(fit.change_stream(rgb))
    kernel = rgb["Conv3d_1a_7x7_conv"].pop("kernel")
    mean = kernel.mean(axis=3, keepdims=True).repeat(3, axis=3)
    assert np.allclose(twice["Conv3d_1a_7x7_conv"].pop("kernel"), mean, atol=1e-6)
    assert formats.equal(twice, rgb)


FOLDERS = {
    "published names": [i3d_weights.FILE_NAME.format(stream) for stream in ("rgb", "flow")],
    "a run": ["rgb.keras", "flow.keras", "run.json"],
    "PyTorch": ["rgb_imagenet.pt", "flow_imagenet.pt", "README.md"],
    "safetensors": ["rgb.safetensors", "flow.safetensors", "config.json"],
    "checkpoints": ["rgb_imagenet/model.ckpt.index", "flow_imagenet/model.ckpt.index"],
}


@pytest.mark.parametrize("names", FOLDERS.values(), ids=FOLDERS)
def test_the_file_of_a_stream_is_found_in_a_folder(tmp_path, names):
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for name, stream in zip(names, ("rgb", "flow"), strict=False):
        assert i3d_weights.find_weights(tmp_path, stream) == tmp_path / name
        assert i3d_weights.find_weights(tmp_path / name, stream) == tmp_path / name
    if "/" in names[0]:
        (tmp_path / "rgb_imagenet" / "model.ckpt.data-00000-of-00001").touch()
        prefix = tmp_path / "rgb_imagenet" / "model.ckpt"
        assert i3d_weights.find_weights(prefix, "rgb") == tmp_path / names[0]
        assert i3d_weights.find_weights(prefix.parent, "rgb") == tmp_path / names[0]


def test_folders_without_or_with_several_weights_are_refused(tmp_path):
    (tmp_path / "rgb_imagenet.pt").touch()
    with pytest.raises(FileNotFoundError, match="flow.keras of a run"):
        i3d_weights.find_weights(tmp_path, "flow")
    other = i3d_weights.find_weights(tmp_path, "flow", from_other_stream=True)
    assert other == tmp_path / "rgb_imagenet.pt"
    (tmp_path / "rgb_charades.pt").touch()
    with pytest.raises(ValueError, match=r"rgb_charades.pt, rgb_imagenet.pt\. Name one"):
        i3d_weights.find_weights(tmp_path, "rgb")
    with pytest.raises(FileNotFoundError, match="No file"):
        i3d_weights.find_weights(tmp_path / "nowhere.h5", "rgb")


def test_inspect_and_convert_on_the_command_line(tmp_path, capsys):
    layers = formats.recipe_layers(2, WIDTH, 400)
    formats.write_torch_legacy(tmp_path / "in.pt", formats.state_dict(layers))
    assert i3d_weights.main(["inspect", str(tmp_path / "in.pt"), "--layers"]) == 0
    printed = capsys.readouterr().out
    for part in ("PyTorch", "flow", "0.0625", "400 classes", "Conv3d_5c_3b_1x1_conv", "yes"):
        assert part in printed
    assert files.sha256(tmp_path / "in.pt") in printed
    arguments = ["convert", str(tmp_path / "in.pt"), str(tmp_path / "out.h5")]
    assert i3d_weights.main(arguments) == 0
    assert formats.equal(files.read(tmp_path / "out.h5").layers, layers)
    with pytest.raises(FileExistsError, match="out.h5 exists already"):
        i3d_weights.main(arguments)
    rgb = [*arguments[:2], str(tmp_path / "rgb.h5"), "--to-other-stream"]
    assert i3d_weights.main(rgb) == 0
    assert files.read(tmp_path / "rgb.h5").stream == "rgb"


def test_a_training_checkpoint_is_inspected_loaded_and_converted(tmp_path, layers, network, capsys):
    tensors = {f"i3d.{name}": array for name, array in formats.state_dict(layers).items()}
    tensors["head.weight"] = np.ones((7, 64), np.float32)
    around = formats.dictionary(
        {
            "epoch": formats.pickled_object(np.int64(3)),
            "accuracy": formats.pickled_object(np.float64(0.5)),
            "model_state": formats.state_opcodes(tensors),
        }
    )
    path = formats.write_torch_zip(tmp_path / "checkpoint.tar", tensors, around)
    assert i3d_weights.main(["inspect", str(path)]) == 0
    assert "left out     model_state.head.weight (7, 64)\n" in capsys.readouterr().out
    i3d_weights.load_weights(randomise(network, 4), path)
    assert holds(network, layers)
    stored = i3d_weights.convert(path, tmp_path / "out.h5")
    assert formats.equal(stored.layers, layers) and stored.beside == {}


def test_inspect_says_what_is_wrong_and_convert_refuses_it(tmp_path, layers, capsys):
    broken = {name: dict(weights) for name, weights in layers.items() if "_4c_" not in name}
    broken["Conv3d_3b_0a_1x1_bn"]["beta"] = np.full(4, np.inf, np.float32)
    path = formats.write_hdf5(tmp_path / "broken.h5", broken)
    assert i3d_weights.main(["inspect", str(path)]) == 1
    printed = capsys.readouterr().out
    assert "complete     no" in printed and "not finite" in printed and "missing layer" in printed
    with pytest.raises(ValueError, match="does not fit: .*not finite"):
        i3d_weights.convert(path, tmp_path / "out.h5")
    with pytest.raises(ValueError, match="add `--stream"):
        i3d_weights.convert(tmp_path, tmp_path / "out.h5")
    assert not (tmp_path / "out.h5").exists()


def test_help_and_inspect_do_not_import_keras(path):
    script = (
        "import sys, i3d_weights; i3d_weights.main(['inspect', sys.argv[1]]); "
        "assert not {'keras', 'tensorflow', 'torch'} & set(sys.modules)"
    )
    command = [sys.executable, "-c", script, str(path)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("even_out", [False, True])
def test_weights_tell_how_their_network_sees_a_clip(tmp_path, trained_run, even_out):
    """In every file that they are written to, and a training that begins with them sees it so."""
    import train_i3d
    from inference.run_folder import Run

    run = Run.read(trained_run)
    run.preset = dataclasses.replace(run.preset, subtract_mean=True)
    preset, signs = run.preset, len(run.signs)
    shape = preset.num_frames, *preset.input_size, 3, signs, preset.width_multiplier
    build_i3d(*shape, even_out=even_out).save(tmp_path / "rgb.keras")
    i3d_weights.convert(tmp_path / "rgb.keras", tmp_path / "rgb.h5")
    i3d_weights.convert(tmp_path / "rgb.h5", tmp_path / "again.h5")
    first = "even_out" if even_out else "subtract_mean"
    for path in sorted(tmp_path.iterdir()):
        assert files.read(path).even_out == even_out, path
        lines, problems = i3d_weights.describe(path)
        assert even_out == any(line.startswith("sees  ") for line in lines) and not problems
        run.options["weights"] = str(path)
        assert train_i3d.build(run, "rgb").layers[1].name == first, path
        network = extractor.build_network(run.preset, "rgb", "i3d", str(path))
        assert network.layers[1].name == first, path


def test_training_starts_from_the_other_stream_and_from_a_run(
    stored_dataset, trained_run, tmp_path
):
    """Through the command's own functions: the recorded options are those that `build` reads."""
    import train_i3d
    from inference.run_folder import Run

    run = Run.read(trained_run)
    source = train_i3d.build(run, "rgb")
    source.save(tmp_path / "rgb.keras")
    weights = train_i3d._set_weights(
        stored_dataset, I3DOptions(weights=tmp_path, weights_from_other_stream=True)
    )
    run.options["weights"] = weights
    rgb, flow = (train_i3d.build(run, stream) for stream in ("rgb", "flow"))
    for name in ("Conv3d_1a_7x7_conv", "Conv3d_5c_3b_1x1_bn"):
        stored = source.get_layer(name).get_weights()
        assert all(map(np.array_equal, rgb.get_layer(name).get_weights(), stored))
    kernel = source.get_layer("Conv3d_1a_7x7_conv").get_weights()[0]
    averaged = flow.get_layer("Conv3d_1a_7x7_conv").get_weights()[0]
    assert np.allclose(averaged[..., 0, :], kernel.sum(axis=3) / 2, atol=1e-6)
    with pytest.raises(FileNotFoundError, match="flow"):
        train_i3d._set_weights(stored_dataset, I3DOptions(weights=tmp_path))
    with pytest.raises(ValueError, match="--stream rgb"):
        train_i3d._set_weights(stored_dataset, I3DOptions(weights=tmp_path / "rgb.keras"))


def test_training_with_weights_that_do_not_fit_stops_at_once(tmp_path, layers):
    path = formats.write_hdf5(tmp_path / "narrow.h5", layers)
    (tmp_path / "data_set" / "signs" / "train" / "a").mkdir(parents=True)
    result = run_script(
        "train_i3d.py", "--dataset", "signs", "--weights", path, cwd=tmp_path, timeout=30
    )
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert "holds the flow stream" in result.stderr
