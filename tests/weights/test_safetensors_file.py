"""weights/safetensors_file.py: numbers of every type, and damaged files."""

import json

import numpy as np
import pytest

from tests.weights import formats
from weights import safetensors_file

TENSORS = {
    "a.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "a.half": np.linspace(-1, 1, 5).astype(np.float16),
    "a.double": np.array([1e-3, 1e3]),
    "a.nothing": np.zeros((0, 3), np.float32),
    "a.number": np.array(7, np.float32),
}


def test_tensors_come_back_as_they_were_written(tmp_path):
    path = formats.write_safetensors(tmp_path / "weights", TENSORS)
    assert safetensors_file.is_safetensors(path.read_bytes())
    found = safetensors_file.read_state_dict(path)
    assert list(found) == list(TENSORS)
    for name, array in TENSORS.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert np.array_equal(found[name], array)
    assert safetensors_file.tensor_shapes(path)["a.weight"] == (2, 3, 4)
    assert list(safetensors_file.read_state_dict(path, ["a.half"])) == ["a.half"]


def test_bfloat16_becomes_float32(tmp_path):
    numbers = np.array([1, -2.5, 0, 3e38], np.float32)
    upper = (numbers.view(np.uint32) >> 16).astype("<u2")
    header = {"a": {"dtype": "BF16", "shape": [2, 2], "data_offsets": [0, 8]}}
    path = tmp_path / "weights"
    path.write_bytes(formats.safetensors(header, upper.tobytes()))
    found = safetensors_file.read_state_dict(path)["a"]
    assert found.dtype == np.float32
    assert np.allclose(found, numbers.reshape(2, 2), rtol=2**-8)


def test_other_types_may_lie_beside_but_are_not_read(tmp_path):
    path = formats.write_safetensors(tmp_path / "weights", {"n": np.array(7), **TENSORS})
    assert len(safetensors_file.read_state_dict(path, list(TENSORS))) == len(TENSORS)
    with pytest.raises(ValueError, match="n is I64. Read are F64, F32, F16, BF16"):
        safetensors_file.read_state_dict(path)


def entry(begin=0, end=8, shape=(2,), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


TWICE = b'{"a": %b, "a": %b}' % ((json.dumps(entry()).encode(),) * 2)
MALFORMED = {
    "another size than the shape": ({"a": entry(shape=(3,))}, "a is F32 .3,., but has 8 bytes"),
    "end before begin": ({"a": entry(8, 0)}, "but has -8 bytes"),
    "end before begin, of unknown size": ({"a": entry(8, 0, dtype="F4")}, "does not begin"),
    "beyond the end": ({"a": entry(end=800, shape=(200,))}, "end at byte 8.., the file at"),
    "overlap": ({"a": entry(), "b": entry(4, 12)}, "b does not begin where"),
    "the same place": ({"a": entry(), "b": entry()}, "b does not begin where"),
    "a gap": ({"a": entry(4, 12)}, "a does not begin where"),
    "numbers that nobody has": ({"a": entry(end=4, shape=(1,))}, "end at byte"),
    "negative": ({"a": entry(-8, 0)}, "has no dtype, shape"),
    "negative shape": ({"a": entry(shape=(-1, -2))}, "has no dtype, shape"),
    "no whole numbers": ({"a": entry(0.0, 8.0)}, "has no dtype, shape"),
    "truth as a number": ({"a": entry(False, 8)}, "has no dtype, shape"),
    "no numbers": ({"a": entry("0", "8")}, "has no dtype, shape"),
    "three offsets": ({"a": {**entry(), "data_offsets": [0, 4, 8]}}, "has no dtype, shape"),
    "no offsets": ({"a": {"dtype": "F32", "shape": [2]}}, "has no dtype, shape"),
    "a list of dtypes": ({"a": entry(dtype=["F32"])}, "has no dtype, shape"),
    "a thousand dimensions": ({"a": entry(shape=[1] * 1000)}, "has no dtype, shape"),
    "a wild shape": ({"a": entry(0, 0, shape=(0, 10**30)), "b": entry()}, "not a whole"),
    "end before begin, behind another": ({"a": entry(), "b": entry(8, 0, dtype="F4")}, "end at"),
    "no entry": ({"a": 3}, "has no dtype, shape"),
    "a list": (b"[]", "its header is no dictionary"),
    "a name twice": (TWICE, "a name stands twice"),
    "no JSON": (b"{'a'}", "not a whole safetensors file"),
    "no UTF-8": (b'{"\xff": 1}', "not a whole safetensors file"),
    "brackets without end": (b'{"a":' + b"[" * 10**6, "not a whole safetensors file"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_files_are_refused(tmp_path, name):
    header, message = MALFORMED[name]
    path = tmp_path / "weights.safetensors"
    path.write_bytes(formats.safetensors(header, bytes(8 if name != "overlap" else 12)))
    with pytest.raises(ValueError, match=message) as error:
        safetensors_file.read_state_dict(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("share", [0, 0.01, 0.3, 0.9, 0.999])
def test_truncated_files_are_refused(tmp_path, share):
    path = formats.write_safetensors(tmp_path / "weights", TENSORS)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        safetensors_file.read_state_dict(path)


def test_a_file_that_ends_in_its_header_is_told_so(tmp_path):
    path = formats.write_safetensors(tmp_path / "weights", TENSORS)
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(ValueError, match="ends after 20 bytes, in the middle of its header"):
        safetensors_file.tensor_shapes(path)


@pytest.mark.parametrize("length", [2**25, 2**40, 2**64 - 1])
def test_a_huge_header_is_refused_before_it_is_read(tmp_path, length):
    path = tmp_path / "weights"
    path.write_bytes(length.to_bytes(8, "little") + b"{}")
    with path.open("r+b") as file:
        file.truncate(min(length + 8, 2**30))  # takes no room on the disk
    with pytest.raises(ValueError, match="no header, or one of more than"):
        safetensors_file.tensor_shapes(path)


def test_missing_files_are_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        safetensors_file.tensor_shapes(tmp_path / "nowhere")
