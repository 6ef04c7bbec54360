"""Writes I3D weights in the formats that others publish them in, without their programs."""

import json
import pickle
import re
import struct
import zipfile
import zlib

import h5py
import numpy as np

from i3d.shapes import weight_shapes
from weights import torch_file


def recipe_layers(channels, width_multiplier=1.0, num_classes=None):
    """{layer: {weight: array}}, each array drawn from a seed that its name gives."""
    shapes = weight_shapes(channels, width_multiplier, num_classes)
    return {
        layer: {name: _draw(f"{layer}/{name}:0", shape) for name, shape in weights.items()}
        for layer, weights in shapes.items()
    }


def _draw(name, shape):
    random = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith("/kernel:0"):
        scale = np.sqrt(2 / np.prod(shape[:-1]))
        return (random.standard_normal(shape) * scale).astype(np.float32)
    if name.endswith("/moving_variance:0"):
        return random.uniform(0.5, 1.5, shape).astype(np.float32)
    return (random.standard_normal(shape) * 0.1).astype(np.float32)


def equal(layers, others):
    """Whether two {layer: {weight: array}} are the same, bit by bit."""
    return {name: set(weights) for name, weights in layers.items()} == {
        name: set(weights) for name, weights in others.items()
    } and all(
        array.dtype == np.float32 and np.array_equal(array, others[layer][name])
        for layer, weights in layers.items()
        for name, array in weights.items()
    )


def write_hdf5(path, layers, nested=False):
    """The layout of Keras 2: attributes name the groups, and in them the arrays."""
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if nested else file
        # Layers without weights are listed, too.
        root.attrs["layer_names"] = [name.encode() for name in ["input_1", *layers]]
        root.create_group("input_1").attrs["weight_names"] = np.zeros(0, "S1")
        for layer, weights in layers.items():
            group = root.create_group(layer)
            group.attrs["weight_names"] = [f"{layer}/{name}:0".encode() for name in weights]
            for name, array in weights.items():
                group[f"{layer}/{name}:0"] = array
    return path


def tensorflow_variables(layers, scope="RGB/inception_i3d/"):
    """{DeepMind's variable name: array}."""
    weights = {"kernel": "conv_3d/w", "bias": "conv_3d/b"}
    variables = {}
    for layer, arrays in layers.items():
        unit = layer.removesuffix("_conv").removesuffix("_bn")
        if block := re.fullmatch(r"Conv3d_(\d[b-f])_(\d)(\w)_(\dx\d)", unit):
            letter = "a" if unit == "Conv3d_5b_2b_3x3" else block[3]
            unit = f"Mixed_{block[1]}/Branch_{block[2]}/Conv3d_0{letter}_{block[4]}"
        elif unit == "Conv3d_6a_1x1":
            unit = "Logits/Conv3d_0c_1x1"
        for name, array in arrays.items():
            variables[f"{scope}{unit}/{weights.get(name, f'batch_norm/{name}')}"] = array
    return variables


def write_checkpoint(prefix, variables):
    """`prefix`.index and `prefix`.data-00000-of-00001."""
    import tensorflow

    prefix.parent.mkdir(exist_ok=True)
    tensorflow.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=list(variables),
        shape_and_slices=[""] * len(variables),
        tensors=list(variables.values()),
    )
    return prefix


def state_dict(layers, gammas=None):
    """{name in piergiaj's port: array}, with a gamma for every batch norm, by default 1."""
    weights = {"kernel": "conv3d.weight", "bias": "conv3d.bias", "beta": "bn.bias"}
    weights |= {"moving_mean": "bn.running_mean", "moving_variance": "bn.running_var"}
    tensors = {}
    for layer, arrays in layers.items():
        unit = layer.removesuffix("_conv").removesuffix("_bn")
        if block := re.fullmatch(r"Conv3d_(\d[b-f])_(\d)(\w)_\dx\d", unit):
            unit = f"Mixed_{block[1]}.b{block[2]}{block[3] if block[2] != '0' else ''}"
        unit = "logits" if unit == "Conv3d_6a_1x1" else unit
        for name, array in arrays.items():
            array = array.transpose(4, 3, 0, 1, 2) if name == "kernel" else array
            tensors[f"{unit}.{weights[name]}"] = np.ascontiguousarray(array)
        if layer.endswith("_bn"):
            ones = np.ones_like(arrays["beta"])
            tensors[f"{unit}.bn.weight"] = ones if gammas is None else gammas[layer]
            tensors[f"{unit}.bn.num_batches_tracked"] = np.array(7, np.int64)
    return tensors


STORAGES = {"float32": "Float", "float64": "Double", "float16": "Half", "int64": "Long"}
STORAGES |= {"bool": "Bool", "uint8": "Byte", "int8": "Char", "int16": "Short", "int32": "Int"}
SAFETENSORS = {"float32": "F32", "float64": "F64", "float16": "F16", "int64": "I64"}


def text(string):
    return b"X" + struct.pack("<I", len(string.encode())) + string.encode()


def integer(number):
    return b"J" + struct.pack("<i", number)


def integers(numbers):
    return b"(" + b"".join(map(integer, numbers)) + b"t"


def storage(key, kind, num_values, is_legacy=False):
    """Opcodes for a storage: a persistent id."""
    view = b"N" if is_legacy else b""
    content = text("storage") + f"ctorch\n{kind}Storage\n".encode() + text(key) + text("cpu")
    return b"(" + content + integer(num_values) + view + b"tQ"


def tensor(of_storage, offset, shape, strides):
    """Opcodes for a call of `_rebuild_tensor_v2`."""
    arguments = of_storage + integer(offset) + integers(shape) + integers(strides)
    rest = b"\x89ccollections\nOrderedDict\n)R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + rest + b"tR"


def dictionary(items):
    """Opcodes for an OrderedDict of {name: opcodes}."""
    content = b"".join(text(name) + value for name, value in items.items())
    return b"ccollections\nOrderedDict\n)R(" + content + b"u"


def pickled_object(value):
    """Opcodes for anything that Python can pickle."""
    return pickle.dumps(value, 2)[2:-1]


def pickled(opcodes):
    return b"\x80\x02" + opcodes + b"."


def state_opcodes(tensors, is_legacy=False):
    items = {}
    for number, (name, array) in enumerate(tensors.items()):
        kind = STORAGES[str(array.dtype)]
        strides = [stride // array.itemsize for stride in array.strides]
        of_storage = storage(str(number), kind, array.size, is_legacy)
        items[name] = tensor(of_storage, 0, array.shape, strides)
    return dictionary(items)


def write_torch_zip(path, tensors, opcodes=None, compression=zipfile.ZIP_STORED):
    """`torch.save` since PyTorch 1.6."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("weights/data.pkl", pickled(opcodes or state_opcodes(tensors)))
        archive.writestr("weights/byteorder", "little")
        for number, array in enumerate(tensors.values()):
            archive.writestr(f"weights/data/{number}", array.tobytes())
        archive.writestr("weights/version", "3\n")
    return path


def write_safetensors(path, tensors):
    """A JSON header between its length and the numbers."""
    header, numbers = {"__metadata__": {"format": "pt"}}, b""
    for name, array in tensors.items():
        places = [len(numbers), len(numbers) + array.nbytes]
        dtype = SAFETENSORS[str(array.dtype)]
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": places}
        numbers += array.tobytes()
    path.write_bytes(safetensors(header, numbers))
    return path


def safetensors(header, numbers):
    """The content of a file; `header` is bytes or what JSON can say."""
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(header)) + header + numbers


def write_torch_legacy(path, tensors, opcodes=None):
    """`torch.save` before PyTorch 1.6: five pickles, then the numbers."""
    keys = [str(number) for number in range(len(tensors))]
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}
    with path.open("wb") as file:
        for item in (torch_file.LEGACY_MAGIC, torch_file.LEGACY_PROTOCOL, system):
            file.write(pickle.dumps(item, 2))
        file.write(pickled(opcodes or state_opcodes(tensors, is_legacy=True)))
        file.write(pickle.dumps(keys, 2))
        for array in tensors.values():
            file.write(struct.pack("<q", array.size) + array.tobytes())
    return path
