"""weights/files.py, weights/names.py, i3d/shapes.py: every format gives the same layers."""

import json

import h5py
import numpy as np
import pytest

from i3d import shapes
from tests.helpers import SHARED
from tests.weights import formats
from weights import files

REFERENCE = SHARED / "reference" / "i3d"
WIDTH = 0.0625


def write_all(folder, layers, scope="RGB/inception_i3d/"):
    """{format: path} of the same weights."""
    tensors = formats.state_dict(layers)
    variables = formats.tensorflow_variables(layers, scope)
    return {
        "hdf5": formats.write_hdf5(folder / "a", layers),
        "nested hdf5": formats.write_hdf5(folder / "b", layers, nested=True),
        "zip": formats.write_torch_zip(folder / "c", tensors),
        "legacy": formats.write_torch_legacy(folder / "d", tensors),
        "safetensors": formats.write_safetensors(folder / "e", tensors),
        "checkpoint": formats.write_checkpoint(folder / "checkpoint" / "model.ckpt", variables),
    }


@pytest.fixture(scope="module")
def layers():
    return formats.recipe_layers(2, WIDTH, num_classes=11)


@pytest.fixture(scope="module")
def paths(layers, tmp_path_factory):
    return write_all(tmp_path_factory.mktemp("weights"), layers, "Flow/inception_i3d/")


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="needs ../shared")
@pytest.mark.parametrize("stream", ["rgb", "flow"])
def test_layers_and_foreign_names_are_the_published_ones(stream):
    published = json.loads((REFERENCE / "keras_layers.json").read_text())[stream]
    ours = shapes.weight_shapes(shapes.CHANNELS_OF_STREAM[stream], 1.0, 400)
    assert {
        layer: {f"{layer}/{name}:0": list(shape) for name, shape in weights.items()}
        for layer, weights in ours.items()
    } == published["headless"] | published["kinetics_top"]
    zeros = {
        layer: {name: np.broadcast_to(np.float32(0), shape) for name, shape in weights.items()}
        for layer, weights in ours.items()
    }
    scope = f"{'RGB' if stream == 'rgb' else 'Flow'}/inception_i3d/"
    variables = formats.tensorflow_variables(zeros, scope)
    wanted = json.loads((REFERENCE / "deepmind_variables.json").read_text())[stream]
    assert {name: list(array.shape) for name, array in variables.items()} == dict(wanted)


def test_full_width_weights_come_through_every_format_unchanged(tmp_path):
    layers = formats.recipe_layers(3, 1.0, num_classes=400)
    for path in write_all(tmp_path, layers).values():
        stored = files.read(path)
        assert formats.equal(stored.layers, layers), path
        facts = stored.stream, stored.width_multiplier, stored.num_classes, stored.num_parameters
        assert facts == ("rgb", 1, 400, 12_704_544), path


@pytest.mark.parametrize(
    "kind", ["hdf5", "nested hdf5", "zip", "legacy", "safetensors", "checkpoint"]
)
def test_stream_width_and_head_are_told(paths, layers, kind):
    stored = files.read(paths[kind])
    assert formats.equal(stored.layers, layers)
    assert (stored.stream, stored.width_multiplier, stored.num_classes) == ("flow", WIDTH, 11)


def test_kinetics_600_checkpoint_has_no_scope_and_sonnet_statistics_five_axes(tmp_path):
    layers = formats.recipe_layers(3, WIDTH, num_classes=600)
    variables = formats.tensorflow_variables(layers, scope="")
    for name, array in variables.items():
        if "batch_norm" in name:
            variables[name] = array.reshape(1, 1, 1, 1, -1)
    variables["global_step"] = np.array(115_000, np.int64)
    prefix = formats.write_checkpoint(tmp_path / "kin600" / "model.ckpt", variables)
    stored = files.read(prefix)
    assert formats.equal(stored.layers, layers) and stored.num_classes == 600


def test_a_checkpoint_is_known_by_prefix_index_or_data(paths):
    prefix = paths["checkpoint"]
    index = prefix.with_name("model.ckpt.index")
    for name in ("model.ckpt", "model.ckpt.index", "model.ckpt.data-00000-of-00001"):
        assert files.checkpoint_index(prefix.with_name(name)) == index
    data = prefix.with_name("model.ckpt.data-00000-of-00001")
    assert files.read(data).paths == [index, data]


def test_checkpoints_that_are_cut_off_or_halved_are_refused(tmp_path, layers):
    variables = formats.tensorflow_variables(layers)
    prefix = formats.write_checkpoint(tmp_path / "c" / "model.ckpt", variables)
    data = prefix.with_name("model.ckpt.data-00000-of-00001")
    content = data.read_bytes()
    middle = len(content) // 2
    one_bit = bytes([content[middle] ^ 1])
    for damaged in (content[:middle], content[:middle] + one_bit + content[middle + 1 :]):
        data.write_bytes(damaged)
        with pytest.raises(ValueError, match="not a whole checkpoint"):
            files.read(prefix)
    data.unlink()
    with pytest.raises(FileNotFoundError, match="data-"):
        files.read(prefix)


def test_both_streams_in_one_checkpoint_are_refused(tmp_path, layers):
    variables = formats.tensorflow_variables(layers, "RGB/inception_i3d/")
    variables |= formats.tensorflow_variables(layers, "Flow/inception_i3d/")
    with pytest.raises(ValueError, match="twice"):
        files.read(formats.write_checkpoint(tmp_path / "c" / "model.ckpt", variables))


def test_checkpoints_are_read_beside_their_recorded_hashes(paths, layers):
    data = paths["checkpoint"].with_name("model.ckpt.data-00000-of-00001")
    record = data.with_name(f"{data.name}.sha256")
    record.write_text("0\n")
    assert data in files.read(data).paths and record not in files.read(data).paths
    record.unlink()


def other_port(layers):
    """The state dict as the other port names it."""
    other = {}
    for name, array in formats.state_dict(layers).items():
        unit, kind, weight = name.rsplit(".", 2)
        block, _, branch = unit.lower().partition(".b")
        if branch:
            place = "" if branch == "0" else f".{'ab'.index(branch[1])}"
            unit = f"{block}.branch_{branch[0]}{place}"
        unit = "conv3d_0c_1x1" if unit == "logits" else unit.lower()
        other[f"{unit}.{kind.replace('bn', 'batch3d')}.{weight}"] = array
    assert "mixed_3b.branch_3.1.conv3d.weight" in other
    return other


PORTS = {"one": formats.state_dict, "other": other_port}
TORCH_WRITERS = {
    "zip": formats.write_torch_zip,
    "legacy": formats.write_torch_legacy,
    "safetensors": formats.write_safetensors,
}
PREFIXES = (
    "",
    "i3d.",
    "model.",
    "module.",
    "module.basenet.",
    "a.b.c.d.",
    "net_",
    "Mixed_3b.",
    "0.",
)
HEADS = {
    "fc.weight": np.ones((5, 64), np.float32),
    "fc.bias": np.ones(5, np.float32),
    "lstm.weight_ih_l0": np.ones((8, 64), np.float32),
}


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("port", PORTS)
@pytest.mark.parametrize("kind", TORCH_WRITERS)
def test_any_prefix_of_all_names_is_found_and_dropped(tmp_path, layers, kind, port, prefix):
    tensors = {prefix + name: array for name, array in PORTS[port](layers).items()}
    stored = files.read(TORCH_WRITERS[kind](tmp_path / "weights", tensors))
    assert formats.equal(stored.layers, layers) and stored.beside == {}


@pytest.mark.parametrize("prefix", ["", "i3d.", "module.basenet."])
@pytest.mark.parametrize("kind", TORCH_WRITERS)
def test_other_heads_are_left_out_and_told(tmp_path, layers, kind, prefix):
    tensors = {prefix + name: array for name, array in formats.state_dict(layers).items()}
    beside = {**HEADS, "num_batches_tracked": np.array(3)}
    beside |= {prefix + name: array for name, array in HEADS.items()}
    if prefix:
        beside["gate.conv3d.weight"] = np.ones((4, 4, 1, 1, 1), np.float32)
    path = TORCH_WRITERS[kind](tmp_path / "weights", {**beside, **tensors})
    stored = files.read(path)
    assert formats.equal(stored.layers, layers)
    del beside["num_batches_tracked"]
    assert stored.beside == {name: array.shape for name, array in beside.items()}


def test_another_convolution_within_the_network_is_no_head(tmp_path, layers):
    tensors = {f"i3d.{name}": array for name, array in formats.state_dict(layers).items()}
    tensors["i3d.Mixed_3b.attention.weight"] = np.ones((4, 4, 1, 1, 1), np.float32)
    stored = files.read(formats.write_torch_zip(tmp_path / "weights", tensors))
    assert stored.layers.keys() - layers.keys() == {"Mixed_3b.attention.weight"}


def nested(keys, state):
    for key in reversed(keys):
        state = formats.dictionary({"epoch": formats.integer(3), key: state})
    return state


@pytest.mark.parametrize(
    "keys",
    [["net"], ["model_state"], ["state_dict"], ["model"], ["anything"], ["run", "weights", "best"]],
    ids=".".join,
)
@pytest.mark.parametrize("kind", ["zip", "legacy"])
def test_a_state_dict_below_any_key_is_found(tmp_path, layers, kind, keys):
    tensors = {f"module.i3d.{name}": array for name, array in formats.state_dict(layers).items()}
    around = nested(keys, formats.state_opcodes(tensors, is_legacy=kind == "legacy"))
    stored = files.read(TORCH_WRITERS[kind](tmp_path / "weights", tensors, around))
    assert formats.equal(stored.layers, layers) and stored.beside == {}


def test_of_a_checkpoint_the_network_is_taken_not_its_optimizer_nor_its_average(tmp_path, layers):
    tensors = formats.state_dict(layers)
    moments = {f"optimizer.{number}": array * 0 for number, array in enumerate(tensors.values())}
    averages = {f"average.{name}": array * 0 for name, array in tensors.items()}
    for key in ("state_dict", "model_state_dict", "model_state", "model", "net"):
        around = {**averages, **moments, **{f"{key}.{name}": tensors[name] for name in tensors}}
        stored = files.read(formats.write_safetensors(tmp_path / "weights", around))
        assert formats.equal(stored.layers, layers)
        assert len(stored.beside) > len(tensors)
    # An average of the trained parameters alone is no whole network.
    parameters = {name: array for name, array in averages.items() if ".running_" not in name}
    around = {**parameters, **{f"best.{name}": array for name, array in tensors.items()}}
    stored = files.read(formats.write_safetensors(tmp_path / "weights", around))
    assert formats.equal(stored.layers, layers)


@pytest.mark.parametrize("keys", [("rgb.", "flow."), ("state_dict.rgb.", "state_dict.flow.")])
def test_two_networks_in_one_file_are_named(tmp_path, layers, keys):
    tensors = {key + name: a for key in keys for name, a in formats.state_dict(layers).items()}
    path = formats.write_torch_zip(tmp_path / "weights", tensors)
    with pytest.raises(ValueError, match=f"holds 2 networks: {keys[0][:-1]}, {keys[1][:-1]}. Save"):
        files.read(path)


@pytest.mark.parametrize("kind", TORCH_WRITERS)
def test_another_network_is_told_by_its_names_and_shapes(tmp_path, kind):
    tensors = {"net.conv1.weight": np.ones((64, 3, 7, 7), np.float32)}
    tensors |= {f"net.layer{number}.bias": np.ones(number, np.float32) for number in range(20)}
    path = TORCH_WRITERS[kind](tmp_path / "weights", tensors)
    with pytest.raises(ValueError, match="not the state dict of one I3D") as error:
        files.read(path)
    assert "It holds net.conv1.weight (64, 3, 7, 7), net.layer0.bias (0,), " in str(error.value)
    assert str(error.value).endswith("net.layer8.bias (8,), and 11 more.")


def test_names_of_both_ports_in_one_network_are_refused(tmp_path, layers):
    tensors = {**formats.state_dict(layers), **other_port(layers)}
    with pytest.raises(ValueError, match="not the state dict of one I3D: it holds .* twice"):
        files.read(formats.write_torch_zip(tmp_path / "weights", tensors))


def test_half_precision_becomes_float32(tmp_path, layers):
    halves = {
        name: array.astype(np.float16) if array.dtype == np.float32 else array
        for name, array in formats.state_dict(layers).items()
    }
    stored = files.read(formats.write_torch_zip(tmp_path / "half", halves))
    for layer, weights in layers.items():
        for name, array in weights.items():
            assert stored.layers[layer][name].dtype == np.float32
            assert np.allclose(stored.layers[layer][name], array, atol=1e-3, rtol=1e-3)


def test_written_files_are_laid_out_as_published(tmp_path, layers):
    files.write_keras2(layers, tmp_path / "out.h5")
    formats.write_hdf5(tmp_path / "wanted.h5", layers)
    with h5py.File(tmp_path / "out.h5") as file, h5py.File(tmp_path / "wanted.h5") as wanted:
        assert list(file.attrs["layer_names"]) == list(wanted.attrs["layer_names"])[1:]
        for layer in layers:
            names = file[layer].attrs["weight_names"]
            assert list(names) == list(wanted[layer].attrs["weight_names"])
            for name in names:
                assert np.array_equal(file[layer][name], wanted[layer][name])
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["out.h5", "wanted.h5"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"\n <html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS"),
        (formats.safetensors({}, b"0"), "not a whole safetensors"),
        (b"\x1f\x8b\x08\x00", "archive"),
        (b"\x80\x04\x95", "PyTorch did not write"),
        (b"GARBAGE!", "begins with b'GARBAGE!'"),
        (files.HDF5_START + b"\0" * 40, "not a whole Keras HDF5"),
        (b"PK\x03\x04 and no more", "not a whole PyTorch"),
    ],
)
def test_other_files_are_named(tmp_path, content, message):
    path = tmp_path / "weights.h5"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        files.read(path)


def test_huge_arrays_that_take_no_room_in_the_file_are_refused(tmp_path, layers):
    path = formats.write_hdf5(tmp_path / "huge.h5", layers)
    name = "Conv3d_1a_7x7_conv/Conv3d_1a_7x7_conv/kernel:0"
    with h5py.File(path, "a") as file:
        del file[name]
        file.create_dataset(name, (10**6, 10**6), np.float32, chunks=(100, 100))
    with pytest.raises(ValueError, match="too large"):
        files.read(path)
