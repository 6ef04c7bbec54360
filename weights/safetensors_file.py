"""Reads the tensors of a safetensors file: a header in JSON, then numbers. Nothing in it can run.

    tensors = safetensors_file.read_state_dict("model.safetensors")     # {name: array}

Source of the format: github.com/huggingface/safetensors, README.md: eight bytes with the header's
length, little-endian; the header, {name: {"dtype", "shape", "data_offsets"}}; the numbers, without
gaps or overlaps.
"""

import contextlib
import json
import math
import os
import typing

from weights.torch_file import as_numbers

LENGTH_BYTES = 8
MAX_HEADER_BYTES = 2**24  # that of I3D takes 0.05 MB
MAX_DIMENSIONS = 32
DTYPES = {"F64": "f8", "F32": "f4", "F16": "f2", "BF16": "bfloat16"}
# Beside a network there may be numbers of any type, which are only measured.
BYTES_OF_DTYPE = {
    **dict.fromkeys(("F64", "I64", "U64"), 8),
    **dict.fromkeys(("F32", "I32", "U32"), 4),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 2),
    **dict.fromkeys(("I8", "U8", "BOOL"), 1),
}


class _Tensor(typing.NamedTuple):
    """`begin` and `end` count bytes from the start of the file."""

    dtype: str
    shape: tuple
    begin: int
    end: int


def is_safetensors(start):
    """Whether a file that begins with these bytes is of this format."""
    return start[LENGTH_BYTES - 1 : LENGTH_BYTES + 1] == b"\0{"


def read_state_dict(path, names=None):
    """The tensors of a file.

    Args:
        path: a `.safetensors` file.
        names: of the tensors to read, by default all.

    Returns:
        {name: array}; bfloat16 becomes float32.

    Raises:
        ValueError: the file is damaged, or a wanted tensor is of none of `DTYPES`.
    """
    with _damage_told(path), open(path, "rb") as file:
        tensors = _read_header(file)
        wanted = tensors if names is None else names
        return {name: _read_tensor(file, name, tensors[name]) for name in wanted}


def tensor_shapes(path):
    """{name: shape} of all tensors, in the header's order; raises as `read_state_dict`."""
    with _damage_told(path), open(path, "rb") as file:
        return {name: tensor.shape for name, tensor in _read_header(file).items()}


@contextlib.contextmanager
def _damage_told(path):
    try:
        yield
    except (ValueError, RecursionError) as error:  # the latter for brackets in brackets
        raise ValueError(f"{path} is not a whole safetensors file: {error}") from error


def _read_header(file):
    """{name: `_Tensor`}, in the header's order."""
    num_bytes = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(LENGTH_BYTES), "little")
    if num_bytes < LENGTH_BYTES or length > MAX_HEADER_BYTES:
        raise ValueError(f"no header, or one of more than {MAX_HEADER_BYTES} bytes")
    start = LENGTH_BYTES + length
    if start > num_bytes:
        raise ValueError(f"the file ends after {num_bytes} bytes, in the middle of its header")
    header = json.loads(file.read(length).decode(), object_pairs_hook=_without_repetition)
    if not isinstance(header, dict):
        raise ValueError("its header is no dictionary")
    header.pop("__metadata__", None)
    tensors = {name: _declared(name, entry, start) for name, entry in header.items()}
    _check_places(tensors, start, num_bytes)
    return tensors


def _without_repetition(pairs):
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in its header")
    return found


def _declared(name, entry, start):
    """The `_Tensor` that an entry of the header describes, as large as its shape says."""
    try:
        dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
        numbers = [begin, end, *shape]
        is_sound = isinstance(dtype, str) and len(shape) <= MAX_DIMENSIONS
        is_sound &= all(type(number) is int and number >= 0 for number in numbers)
    except (KeyError, TypeError, ValueError):
        is_sound = False
    if not is_sound:
        raise ValueError(f"{name} has no dtype, shape and data_offsets as it should")
    size = BYTES_OF_DTYPE.get(dtype)
    if size is not None and math.prod(shape) * size != end - begin:
        raise ValueError(f"{name} is {dtype} {tuple(shape)}, but has {end - begin} bytes")
    return _Tensor(dtype, tuple(shape), start + begin, start + end)


def _check_places(tensors, start, num_bytes):
    """Refuses gaps, overlaps, and an end that is not the file's."""
    at = start
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)):
        if tensor.begin != at:
            raise ValueError(f"{name} does not begin where the tensor before it ends")
        at = tensor.end
    if at != num_bytes:
        raise ValueError(f"its tensors end at byte {at}, the file at {num_bytes}")


def _read_tensor(file, name, tensor):
    if tensor.dtype not in DTYPES:
        raise ValueError(f"{name} is {tensor.dtype}. Read are {', '.join(DTYPES)}")
    file.seek(tensor.begin)
    content = file.read(tensor.end - tensor.begin)
    return as_numbers(content, DTYPES[tensor.dtype]).reshape(tensor.shape)
