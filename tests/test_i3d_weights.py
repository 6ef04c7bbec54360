"""i3d_weights.py: published HDF5 weights by name, and files that do not fit."""

import h5py
import numpy as np
import pytest

import i3d_weights
from model_i3d import build_i3d

SIZE = {"num_frames": 8, "height": 32, "width": 32, "channels": 2, "width_multiplier": 0.0625}


def write_hdf5(path, model, nested=False):
    """The layout of Keras 2: attributes name the groups, and in them the arrays."""
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if nested else file
        root.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
        for layer in model.layers:
            group = root.create_group(layer.name)
            names = [f"{layer.name}/{weight.name}:0" for weight in layer.weights]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, weight in zip(names, layer.weights, strict=True):
                group[name] = np.asarray(weight)


def randomise(model, seed):
    random = np.random.default_rng(seed)
    for layer in model.layers:
        layer.set_weights([random.uniform(0.5, 1.5, array.shape) for array in layer.get_weights()])
    return model


@pytest.fixture(scope="module")
def source():
    return randomise(build_i3d(**SIZE), 1)


@pytest.mark.parametrize("nested", [False, True])
def test_weights_load_by_name_and_the_new_top_stays(source, tmp_path, nested):
    write_hdf5(tmp_path / "weights.h5", source, nested)
    model = randomise(build_i3d(**SIZE, num_classes=5), 2)
    top = model.layers[-4:]
    before = [array.copy() for layer in top for array in layer.get_weights()]
    i3d_weights.load_weights(model, tmp_path / "weights.h5")
    for layer in source.layers:
        for loaded, stored in zip(
            model.get_layer(layer.name).get_weights(), layer.get_weights(), strict=True
        ):
            assert np.array_equal(loaded, stored)
    after = [array for layer in top for array in layer.get_weights()]
    assert len(before) == 2 and all(map(np.array_equal, before, after))


def test_top_of_the_file_is_left_out_where_classes_differ(source, tmp_path):
    write_hdf5(tmp_path / "weights.h5", randomise(build_i3d(**SIZE, top="kinetics"), 3))
    model = randomise(build_i3d(**SIZE), 2)
    i3d_weights.load_weights(model, tmp_path / "weights.h5")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channels": 3}, "Conv3d_1a_7x7_conv has shapes"),
        ({"width_multiplier": 0.125}, "has shapes .* and .* more"),
    ],
)
def test_other_shapes_are_listed(source, tmp_path, change, message):
    write_hdf5(tmp_path / "weights.h5", source)
    with pytest.raises(ValueError, match=message):
        i3d_weights.load_weights(build_i3d(**{**SIZE, **change}), tmp_path / "weights.h5")


def test_missing_unknown_and_infinite_layers_are_listed_and_nothing_is_loaded(source, tmp_path):
    path = tmp_path / "weights.h5"
    write_hdf5(path, source)
    with h5py.File(path, "a") as file:
        names = list(map(i3d_weights._text, file.attrs["layer_names"]))
        names.remove("Conv3d_3b_0a_1x1_conv")
        file.attrs["layer_names"] = [name.encode() for name in [*names, "extra"]]
        file.create_group("extra").attrs["weight_names"] = [b"extra/kernel:0"]
        file["extra/extra/kernel:0"] = np.ones(3)
        file["Conv3d_5c_3b_1x1_bn/Conv3d_5c_3b_1x1_bn/beta:0"][0] = np.nan
    model = randomise(build_i3d(**SIZE), 2)
    before = model.get_weights()
    with pytest.raises(ValueError) as error:
        i3d_weights.load_weights(model, path)
    for part in (
        "missing layer Conv3d_3b_0a_1x1_conv",
        "unknown layer extra",
        "Conv3d_5c_3b_1x1_bn holds values that are not finite",
    ):
        assert part in str(error.value)
    assert all(map(np.array_equal, before, model.get_weights()))


@pytest.mark.parametrize("share", [0, 0.5, 0.95])
def test_truncated_files_are_refused(source, tmp_path, share):
    path = tmp_path / "weights.h5"
    write_hdf5(path, source)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match="not a whole Keras HDF5"):
        i3d_weights.load_weights(build_i3d(**SIZE), path)


def test_published_files_are_found_in_folder_and_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    name = i3d_weights.FILE_NAME.format("flow")
    with pytest.raises(FileNotFoundError, match=name):
        i3d_weights.find_weights("kinetics", "flow")
    (tmp_path / "i3d").mkdir()
    (tmp_path / "i3d" / name).write_bytes(b"weights")
    assert i3d_weights.find_weights("kinetics", "flow") == tmp_path / "i3d" / name
    assert i3d_weights.find_weights(tmp_path / "i3d", "flow") == tmp_path / "i3d" / name
    with pytest.raises(FileNotFoundError, match="rgb"):
        i3d_weights.find_weights(tmp_path / "i3d", "rgb")
