"""weights/torch_file.py: state dicts in both formats of torch.save, damaged and hostile ones."""

import pickle
import zipfile

import numpy as np
import pytest

from tests.weights import formats
from weights import torch_file

TENSORS = {
    "a.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "a.half": np.linspace(-1, 1, 5).astype(np.float16),
    "a.double": np.array([1e-3, 1e3]),
    "a.num_batches_tracked": np.array(7, np.int64),
}
WRITERS = {"zip": formats.write_torch_zip, "legacy": formats.write_torch_legacy}


@pytest.mark.parametrize("kind", WRITERS)
def test_tensors_come_back_as_they_were_written(tmp_path, kind):
    path = WRITERS[kind](tmp_path / "weights", TENSORS)
    found = torch_file.read_state_dict(path)
    assert found.keys() == TENSORS.keys()
    for name, array in TENSORS.items():
        assert found[name].dtype == array.dtype and np.array_equal(found[name], array)


@pytest.mark.parametrize("kind", WRITERS)
def test_a_checkpoint_around_the_state_dict_is_opened(tmp_path, kind):
    state = formats.state_opcodes(TENSORS, is_legacy=kind == "legacy")
    around = formats.dictionary({"epoch": formats.integer(3), "state_dict": state})
    path = WRITERS[kind](tmp_path / "weights", TENSORS, around)
    assert torch_file.read_state_dict(path).keys() == TENSORS.keys()


def test_bfloat16_and_views_into_one_storage(tmp_path):
    numbers = np.arange(12, dtype=np.float32)
    upper = (numbers.view(np.uint32) >> 16).astype(np.uint16)
    shared = formats.storage("0", "BFloat16", 12)
    opcodes = formats.dictionary(
        {
            "transposed": formats.tensor(shared, 0, (3, 4), (1, 3)),
            "tail": formats.tensor(shared, 10, (2,), (1,)),
        }
    )
    path = formats.write_torch_zip(tmp_path / "weights", {"numbers": upper}, opcodes)
    found = torch_file.read_state_dict(path)
    assert np.array_equal(found["transposed"], numbers.reshape(4, 3).T)
    assert np.array_equal(found["tail"], [10, 11])


CALLS = {
    "posix.system": b"cposix\nsystem\n",
    "builtins.eval": b"c__builtin__\neval\n",
    "os.system": formats.text("os") + formats.text("system") + b"\x93",
    "torch.load": b"ctorch\nload\n",
    "torch.storage._load_from_bytes": b"ctorch.storage\n_load_from_bytes\n",
    "numpy.core.multiarray.scalar": b"cnumpy.core.multiarray\nscalar\n",
    "__main__.InceptionI3d": b"c__main__\nInceptionI3d\n",
}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("name", CALLS)
def test_anything_but_tensors_is_refused_by_name(tmp_path, kind, name):
    command = formats.text(f"touch {tmp_path / 'executed'}")
    call = CALLS[name] + b"(" + command + b"tR"
    opcodes = formats.dictionary({"a.weight": call})
    path = WRITERS[kind](tmp_path / "weights", TENSORS, opcodes)
    with pytest.raises(ValueError, match="is refused: it would load") as error:
        torch_file.read_state_dict(path)
    assert name.replace("builtins", "__builtin__").split(".")[-1] in str(error.value)
    assert "state_dict()" in str(error.value) and not (tmp_path / "executed").exists()


WHOLE = formats.storage("0", "Float", 24)
MALFORMED = {
    "too large a shape": formats.tensor(WHOLE, 0, (5, 5), (5, 1)),
    "beyond the end": formats.tensor(WHOLE, 20, (5,), (1,)),
    "a billion times one number": formats.tensor(WHOLE, 0, (1000, 1000, 1000), (0, 0, 0)),
    "before the start": formats.tensor(WHOLE, 4, (4,), (-1,)),
    "negative shape": formats.tensor(WHOLE, 0, (-2, -2), (1, 1)),
    "shape without strides": formats.tensor(WHOLE, 0, (4,), ()),
    "no such storage": formats.tensor(formats.storage("99", "Float", 4), 0, (4,), (1,)),
    "another size": formats.tensor(formats.storage("0", "Float", 8), 0, (8,), (1,)),
    "no storage at all": formats.tensor(formats.text("numbers"), 0, (4,), (1,)),
    "another persistent id": formats.text("storage") + b"Q",
    "attributes for a function": b"ctorch._utils\n_rebuild_tensor_v2\n"
    + formats.dictionary({"__defaults__": b"N"})
    + b"b",
    "no tensor": formats.integer(3),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_tensors_are_refused(tmp_path, name):
    opcodes = formats.dictionary({"a.weight": MALFORMED[name]})
    path = formats.write_torch_zip(tmp_path / "weights", TENSORS, opcodes)
    with pytest.raises(ValueError, match="not a whole PyTorch state dict"):
        torch_file.read_state_dict(path)


def test_a_wild_memo_index_is_refused_before_it_takes_all_memory(tmp_path):
    opcodes = formats.dictionary({"a.weight": b"Nr\xff\xff\xff\x7f"})
    path = formats.write_torch_zip(tmp_path / "weights", TENSORS, opcodes)
    with pytest.raises(ValueError, match="its pickle is malformed"):
        torch_file.read_state_dict(path)


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.99])
def test_truncated_files_are_refused(tmp_path, kind, share):
    path = WRITERS[kind](tmp_path / "weights", TENSORS)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match="not a whole PyTorch state dict"):
        torch_file.read_state_dict(path)


def test_compressed_numbers_are_refused(tmp_path):
    zeros = {"bomb": np.zeros(10**6, np.float32)}
    path = formats.write_torch_zip(tmp_path / "weights", zeros, None, zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match="not stored as PyTorch stores it"):
        torch_file.read_state_dict(path)


def test_other_pickles_and_missing_files_are_refused(tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(pickle.dumps({"a.weight": [1.0, 2.0]}, 2))
    with pytest.raises(ValueError, match="not a whole PyTorch state dict"):
        torch_file.read_state_dict(path)
    with pytest.raises(FileNotFoundError):
        torch_file.read_state_dict(tmp_path / "nowhere")
