"""Reads the tensors of a PyTorch state dict without PyTorch, and without running what is in it.

Both formats of `torch.save` are pickles, which may name any function to be called. Here a pickle
may name only dictionaries, tensors and their storages, and what checkpoints hold beside them
(`BESIDE`: NumPy's numbers, arguments and the like), in whose place a class is put that can do
nothing. Anything else is refused by name.

    tensors = torch_file.read_state_dict("rgb_imagenet.pt")     # {name: array}
    torch_file.tensor_shapes("checkpoint.pt")                   # {"net.Mixed_3b.b0...": shape}

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

from weights.fit import shorten

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
LEGACY_START = b"\x80\x02\x8a\x0a" + LEGACY_MAGIC.to_bytes(10, "little") + b"."
MAX_PICKLE_BYTES = 2**26  # a state dict of I3D takes 0.1 MB, its numbers are not in the pickle
MAX_LEAVES, MAX_NAME_LENGTH = 10**5, 1000  # of all that a checkpoint holds
DTYPES = {
    "FloatStorage": "f4",
    "DoubleStorage": "f8",
    "HalfStorage": "f2",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "b1",
}
# What checkpoints hold beside tensors and plain Python; never imported, only stood in for.
BESIDE = (
    "numpy.dtype numpy.ndarray numpy.core.multiarray.scalar numpy._core.multiarray.scalar "
    "numpy.core.multiarray._reconstruct numpy._core.multiarray._reconstruct "
    "_codecs.encode __builtin__.set builtins.set __builtin__.dict builtins.dict "
    "__builtin__.list builtins.list __builtin__.int builtins.int __builtin__.float builtins.float "
    "collections.Counter torch.Size torch.device torch.float16 torch.bfloat16 "
    "torch.float32 torch.float64 torch.int32 torch.int64 argparse.Namespace types.SimpleNamespace "
    "pathlib.PosixPath pathlib.WindowsPath pathlib.PurePosixPath pathlib.PureWindowsPath "
    "pathlib._local.PosixPath pathlib._local.WindowsPath datetime.datetime datetime.date "
    "datetime.timedelta datetime.timezone uuid.UUID"
).split()
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


class _Other:
    """Stands for a function or class of `BESIDE` and for what it makes; it does nothing."""

    kind = ""  # what it stands for

    def __new__(cls, *_, **__):
        return super().__new__(cls)

    def __setstate__(*_):
        pass


class _DefaultDict(dict):
    """Stands for `collections.defaultdict`: what it holds, without what makes more."""

    def __init__(self, *_):
        super().__init__()


ALLOWED = {
    **{name: type("Other", (_Other,), {"kind": name}) for name in BESIDE},
    "collections.OrderedDict": collections.OrderedDict,
    "collections.defaultdict": _DefaultDict,
    "torch._utils._rebuild_tensor": _RebuildTensor(),
    "torch._utils._rebuild_tensor_v2": _RebuildTensor(),
    "torch._utils._rebuild_parameter": _RebuildParameter(),
    **{f"torch.{name}": _StorageType(dtype) for name, dtype in DTYPES.items()},
}


class _RefusedError(ValueError):
    """The file may be whole, but is no state dict; the message goes on after its path."""


class _Unpickler(pickle.Unpickler):
    def __init__(self, file, storages):
        super().__init__(file, encoding="latin1")  # Python 2 wrote NumPy's numbers as text
        self.storages = storages

    def find_class(self, module, name):
        place = f"{module}.{name}"
        if place not in ALLOWED:
            raise _RefusedError(f"is refused: it would load {place}. {SAVE_ANEW}")
        return ALLOWED[place]

    def persistent_load(self, identity):
        kind, storage_type, key, _, num_values, *view = identity
        known = kind == "storage" and isinstance(storage_type, _StorageType) and not any(view)
        if not known or type(num_values) is not int or num_values < 0:
            raise pickle.UnpicklingError("an unknown kind of storage")
        storage = _Storage(storage_type.dtype, str(key), num_values)
        self.storages[storage.key] = storage
        return storage


def read_state_dict(path, names=None):
    """The tensors of a state dict, or of a checkpoint that has one or several anywhere in it.

    Args:
        path: file of `torch.save`, in the zip format or the one before PyTorch 1.6.
        names: of the tensors to read, by default all.

    Returns:
        {name: array}; a name begins with the keys that its tensor lies below, joined by dots:
        "state_dict.Mixed_3b.b0.bn.bias". bfloat16 becomes float32.

    Raises:
        ValueError: the file is damaged, holds no tensors, or would load anything but tensors and
            what is in `BESIDE`.
    """
    return _read(path, names)[1]


def tensor_shapes(path):
    """{name: shape} of all tensors, in the file's order; as `read_state_dict`, without numbers."""
    return {name: tensor.shape for name, tensor in _read(path, ())[0].items()}


def _read(path, names):
    """({name: `_Tensor`} of all, {name: array} of those in `names`)."""
    try:
        with open(path, "rb") as file:
            is_zip = file.read(4) == b"PK\x03\x04"
            file.seek(0)
            tensors, storages = (_read_zip if is_zip else _read_legacy)(file, names)
            wanted = tensors if names is None else names
            arrays = {name: _view(tensors[name], storages) for name in wanted}
            return tensors, arrays
    except _RefusedError as error:
        raise ValueError(f"{path} {error}.") from None
    except FileNotFoundError:
        raise
    except DAMAGE as error:
        raise ValueError(f"{path} is not a whole PyTorch state dict: {error}") from error


def _read_zip(file, names):
    """({name: `_Tensor`} of all, {storage: its numbers} of those in `names`)."""
    with zipfile.ZipFile(file) as archive:
        pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError("no data.pkl in it")
        folder = pickles[0].removesuffix("data.pkl")
        byte_order = "<"
        if f"{folder}byteorder" in archive.namelist():
            byte_order = {b"little": "<", b"big": ">"}[_member(archive, f"{folder}byteorder", 16)]
        tensors = _tensors(_unpickle(io.BytesIO(_member(archive, pickles[0], MAX_PICKLE_BYTES))))
        numbers = {}
        for storage in _storages_of(tensors, names):
            name = f"{folder}data/{storage.key}"
            num_bytes = _num_bytes(storage)
            if archive.getinfo(name).file_size != num_bytes:
                raise ValueError(f"{name} has another size than its tensors")
            content = _member(archive, name, num_bytes)
            numbers[storage] = as_numbers(content, storage.dtype, byte_order)
    return tensors, numbers


def _read_legacy(file, names):
    """As `_read_zip`; behind its pickles a file has all storages, one after the other."""
    if _unpickle(file) != LEGACY_MAGIC or _unpickle(file) != LEGACY_PROTOCOL:
        raise ValueError("it does not begin as torch.save does")
    byte_order = "<" if _unpickle(file)["little_endian"] else ">"
    declared, numbers = {}, {}
    tensors = _tensors(_unpickle(file, declared))
    wanted = _storages_of(tensors, names)
    for key in _unpickle(file) if wanted else ():
        storage = declared[str(key)]
        num_values = int.from_bytes(file.read(8), "little" if byte_order == "<" else "big")
        if num_values != storage.num_values:
            raise ValueError(f"storage {key} has another size than its tensors")
        content = file.read(_num_bytes(storage))
        if len(content) != _num_bytes(storage):
            raise ValueError("the file ends in the middle of its numbers")
        if storage in wanted:
            numbers[storage] = as_numbers(content, storage.dtype, byte_order)
    return tensors, numbers


def _unpickle(file, storages=None):
    """One object; what the pickle may do is checked before it is read.

    Its storages are added to `storages`, by their keys.
    """
    start = file.tell()
    for number, (operation, argument, position) in enumerate(pickletools.genops(file)):
        if position is not None and position - start > MAX_PICKLE_BYTES:
            raise ValueError("its pickle is too large for a state dict")
        # The memo is an array: one wild index would take all memory.
        if operation.name in ("PUT", "BINPUT", "LONG_BINPUT") and argument > number:
            raise ValueError("its pickle is malformed")
    file.seek(start)
    return _Unpickler(file, {} if storages is None else storages).load()


def _member(archive, name, max_bytes):
    """A stored, not compressed, member: its size in the file is its size in memory."""
    info = archive.getinfo(name)
    if info.compress_type != zipfile.ZIP_STORED or info.file_size > max_bytes:
        raise ValueError(f"{name} is not stored as PyTorch stores it")
    return archive.read(info)


def _tensors(content):
    """{name: `_Tensor`} of everything in `content`."""
    tensors, others = {}, []
    for number, (name, item) in enumerate(_leaves(content)):
        if name in tensors or len(name) > MAX_NAME_LENGTH or number > MAX_LEAVES:
            raise ValueError("its names are malformed")
        if isinstance(item, _Tensor):
            tensors[name] = item
        else:
            kind = getattr(item, "kind", type(item).__name__)
            others.append(f"{name} ({kind})" if name else kind)
    if not tensors:
        held = ", ".join(shorten(others)) or "nothing"
        raise _RefusedError(f"holds no PyTorch tensors. What it holds: {held}")
    return tensors


def _leaves(item, name="", seen=None):
    """Yields (name, object) of all that is no container; the name is the keys that lead to it.

    A container at several places is entered where it is first, and a list of numbers nowhere.
    """
    seen = set() if seen is None else seen
    items = ()
    if isinstance(item, dict):
        items = dict.items(item)
    elif type(item) in (list, tuple):
        items = enumerate(item) if any(map(_may_lead_to_tensors, item)) else ()
    if not items:
        yield name, item
    elif id(item) not in seen:
        seen.add(id(item))
        for key, value in items:
            yield from _leaves(value, f"{name}.{key}" if name else str(key), seen)


def _may_lead_to_tensors(item):
    return isinstance(item, dict | list | tuple)


def _storages_of(tensors, names):
    wanted = tensors if names is None else names
    return {tensors[name].storage for name in wanted}


def _num_bytes(storage):
    return storage.num_values * (2 if storage.dtype == "bfloat16" else int(storage.dtype[1:]))


def as_numbers(content, dtype, byte_order="<"):
    """The 1-D array of bytes that are "bfloat16" (as float32) or of a type that NumPy knows."""
    if dtype == "bfloat16":
        upper = np.frombuffer(content, byte_order + "u2").astype(np.uint32)
        return (upper << 16).view(np.float32)
    return np.frombuffer(content, byte_order + dtype)


def _view(tensor, storages):
    """The array of a tensor, after checking that it lies within its storage."""
    numbers = storages[tensor.storage]
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
