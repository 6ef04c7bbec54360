"""Reads the tensors of a PyTorch state dict without PyTorch, and without running what is in it.

Both formats of `torch.save` are pickles, which may name any function to be called. Here a pickle
may name only dictionaries, tensors and their storages; anything else is refused by name.

    tensors = torch_file.read_state_dict("rgb_imagenet.pt")     # {name: array}

Source of the formats: PyTorch, torch/serialization.py and torch/_utils.py.
"""

import collections
import io
import math
import pickle
import pickletools
import typing
import zipfile

import numpy as np

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
LEGACY_START = b"\x80\x02\x8a\x0a" + LEGACY_MAGIC.to_bytes(10, "little") + b"."
MAX_PICKLE_BYTES = 2**26  # a state dict of I3D takes 0.1 MB, its numbers are not in the pickle
WRAPPERS = ("state_dict", "model_state_dict", "model")
DTYPES = {
    "FloatStorage": "f4",
    "DoubleStorage": "f8",
    "HalfStorage": "f2",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "i8",
    "IntStorage": "i4",
}
# What reading a damaged or hostile file may raise.
DAMAGE = (
    *(ArithmeticError, AttributeError, EOFError, LookupError, MemoryError, OSError, RuntimeError),
    *(TypeError, ValueError, pickle.UnpicklingError, zipfile.BadZipFile),
)
SAVE_ANEW = (
    "A state dict holds tensors only; make one with `torch.save(model.state_dict(), PATH)`, and "
    "only open files from people you trust with PyTorch itself"
)


class _StorageType(typing.NamedTuple):
    dtype: str


class _Storage(typing.NamedTuple):
    """Numbers in the file that tensors are views of."""

    dtype: str
    key: str
    num_values: int


class _Tensor(typing.NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple
    strides: tuple


class _RebuildTensor:
    """Stands for `torch._utils._rebuild_tensor_v2`: takes its arguments down."""

    __slots__ = ()

    def __call__(self, storage, offset, shape, strides, *_):
        if not isinstance(storage, _Storage):
            raise pickle.UnpicklingError("a tensor without a storage")
        return _Tensor(storage, offset, tuple(shape), tuple(strides))


class _RebuildParameter:
    """Stands for `torch._utils._rebuild_parameter`: the tensor itself."""

    __slots__ = ()

    def __call__(self, tensor, *_):
        return tensor


ALLOWED = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor"): _RebuildTensor(),
    ("torch._utils", "_rebuild_tensor_v2"): _RebuildTensor(),
    ("torch._utils", "_rebuild_parameter"): _RebuildParameter(),
    **{("torch", name): _StorageType(dtype) for name, dtype in DTYPES.items()},
}


class _RefusedError(ValueError):
    """The pickle names something that no state dict needs."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        if (module, name) not in ALLOWED:
            raise _RefusedError(f"is refused: it would load {module}.{name}. {SAVE_ANEW}")
        return ALLOWED[module, name]

    def persistent_load(self, identity):
        kind, storage_type, key, _, num_values, *view = identity
        known = kind == "storage" and isinstance(storage_type, _StorageType) and not any(view)
        if not known or type(num_values) is not int or num_values < 0:
            raise pickle.UnpicklingError("an unknown kind of storage")
        return _Storage(storage_type.dtype, str(key), num_values)


def read_state_dict(path):
    """The tensors of a state dict.

    Args:
        path: file of `torch.save`, in the zip format or the one before PyTorch 1.6. A checkpoint
            that has the state dict below one of `WRAPPERS` will do.

    Returns:
        {name: array}; bfloat16 becomes float32.

    Raises:
        ValueError: the file is damaged, holds no tensors, or names anything but tensors.
    """
    try:
        with open(path, "rb") as file:
            is_zip = file.read(4) == b"PK\x03\x04"
            file.seek(0)
            return _read_zip(file) if is_zip else _read_legacy(file)
    except _RefusedError as error:
        raise ValueError(f"{path} {error}.") from None
    except FileNotFoundError:
        raise
    except DAMAGE as error:
        raise ValueError(f"{path} is not a whole PyTorch state dict: {error}") from error


def _read_zip(file):
    with zipfile.ZipFile(file) as archive:
        names = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(names) != 1:
            raise ValueError("no data.pkl in it")
        folder = names[0].removesuffix("data.pkl")
        byte_order = "<"
        if f"{folder}byteorder" in archive.namelist():
            byte_order = {b"little": "<", b"big": ">"}[_member(archive, f"{folder}byteorder", 16)]
        content = _unpickle(io.BytesIO(_member(archive, names[0], MAX_PICKLE_BYTES)))
        tensors = _tensors(content)
        storages = {}
        for storage in {tensor.storage for tensor in tensors.values()}:
            name = f"{folder}data/{storage.key}"
            num_bytes = _num_bytes(storage)
            if archive.getinfo(name).file_size != num_bytes:
                raise ValueError(f"{name} has another size than its tensors")
            storages[storage] = _numbers(_member(archive, name, num_bytes), storage, byte_order)
    return {name: _view(tensor, storages[tensor.storage]) for name, tensor in tensors.items()}


def _read_legacy(file):
    if _unpickle(file) != LEGACY_MAGIC or _unpickle(file) != LEGACY_PROTOCOL:
        raise ValueError("it does not begin as torch.save does")
    byte_order = "<" if _unpickle(file)["little_endian"] else ">"
    content, keys = _unpickle(file), _unpickle(file)
    tensors = _tensors(content)
    declared = _all_storages(content)
    storages = {}
    for key in keys:
        storage = declared[str(key)]
        num_values = int.from_bytes(file.read(8), "little" if byte_order == "<" else "big")
        if num_values != storage.num_values:
            raise ValueError(f"storage {key} has another size than its tensors")
        storages[storage] = _numbers(file.read(_num_bytes(storage)), storage, byte_order)
    return {name: _view(tensor, storages[tensor.storage]) for name, tensor in tensors.items()}


def _unpickle(file):
    """One object; what the pickle may do is checked before it is read."""
    start = file.tell()
    for number, (operation, argument, position) in enumerate(pickletools.genops(file)):
        if position is not None and position - start > MAX_PICKLE_BYTES:
            raise ValueError("its pickle is too large for a state dict")
        # The memo is an array: one wild index would take all memory.
        if operation.name in ("PUT", "BINPUT", "LONG_BINPUT") and argument > number:
            raise ValueError("its pickle is malformed")
    file.seek(start)
    return _Unpickler(file, encoding="utf-8").load()


def _member(archive, name, max_bytes):
    """A stored, not compressed, member: its size in the file is its size in memory."""
    info = archive.getinfo(name)
    if info.compress_type != zipfile.ZIP_STORED or info.file_size > max_bytes:
        raise ValueError(f"{name} is not stored as PyTorch stores it")
    return archive.read(info)


def _tensors(content):
    """{name: `_Tensor`} of a state dict or of a checkpoint around it."""
    if not isinstance(content, dict):
        raise ValueError(f"it holds a {type(content).__name__}, not a state dict")
    for key in WRAPPERS:
        if isinstance(dict.get(content, key), dict):
            content = dict.get(content, key)
            break
    tensors = {
        key: value
        for key, value in dict.items(content)
        if isinstance(key, str) and isinstance(value, _Tensor)
    }
    if not tensors:
        raise ValueError("it holds no tensors")
    return tensors


def _all_storages(content):
    """{key: `_Storage`} of all tensors anywhere in `content`; the file lists all of them."""
    found, todo, seen = {}, [content], set()
    while todo:
        item = todo.pop()
        if isinstance(item, _Tensor):
            found[item.storage.key] = item.storage
        elif isinstance(item, dict | list | tuple) and id(item) not in seen:
            seen.add(id(item))
            todo += dict.values(item) if isinstance(item, dict) else item
    return found


def _num_bytes(storage):
    return storage.num_values * (2 if storage.dtype == "bfloat16" else int(storage.dtype[1:]))


def _numbers(content, storage, byte_order):
    """The 1-D array of a storage."""
    if len(content) != _num_bytes(storage):
        raise ValueError("the file ends in the middle of its numbers")
    if storage.dtype == "bfloat16":
        upper = np.frombuffer(content, byte_order + "u2").astype(np.uint32)
        return (upper << 16).view(np.float32)
    return np.frombuffer(content, byte_order + storage.dtype)


def _view(tensor, numbers):
    """The array of a tensor, after checking that it lies within its storage."""
    sizes = (tensor.offset, *tensor.shape, *tensor.strides)
    if len(tensor.shape) != len(tensor.strides) or not all(type(size) is int for size in sizes):
        raise ValueError("a tensor's shape is malformed")
    last = sum((size - 1) * step for size, step in zip(tensor.shape, tensor.strides, strict=True))
    num_values = math.prod(tensor.shape)
    fits = min(sizes) >= 0 and num_values <= numbers.size and tensor.offset + last < numbers.size
    if num_values and not fits:
        raise ValueError("a tensor is larger than its storage")
    strides = [step * numbers.itemsize for step in tensor.strides]
    window = numbers[tensor.offset :] if num_values else numbers[:0]
    return np.lib.stride_tricks.as_strided(window, tensor.shape, strides, writeable=False).copy()
