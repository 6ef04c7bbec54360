"""weights/torch_file.py: state dicts in both formats of torch.save, damaged and hostile ones."""

import argparse
import collections
import datetime
import pathlib
import pickle
import types
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
    "a.mask": np.array([True, False]),
    "a.bytes": np.array([0, 255], np.uint8),
    "a.small": np.array([-128, 127], np.int8),
    "a.short": np.array([-32768, 32767], np.int16),
    "a.int": np.array([-(2**31), 2**31 - 1], np.int32),
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
def test_tensors_are_found_wherever_they_are_and_named_by_the_way(tmp_path, kind):
    state = formats.state_opcodes(TENSORS, is_legacy=kind == "legacy")
    deep = b"]" + formats.integer(1) + b"a" + formats.dictionary({"net": state}) + b"a"
    for around, prefix in (
        (formats.dictionary({"epoch": formats.integer(3), "net": state}), "net."),
        (formats.dictionary({"run": formats.dictionary({"": state})}), "run.."),
        (deep, "1.net."),
        (b"}" + formats.integer(0) + state + b"s", "0."),
    ):
        path = WRITERS[kind](tmp_path / "weights", TENSORS, around)
        found = torch_file.read_state_dict(path)
        assert list(found) == [prefix + name for name in TENSORS]
        assert all(map(np.array_equal, found.values(), TENSORS.values()))
        assert torch_file.tensor_shapes(path)[f"{prefix}a.weight"] == (2, 3, 4)


@pytest.mark.parametrize("kind", WRITERS)
def test_only_the_wanted_tensors_are_read(tmp_path, kind):
    path = WRITERS[kind](tmp_path / "weights", TENSORS)
    found = torch_file.read_state_dict(path, ["a.double", "a.half"])
    assert list(found) == ["a.double", "a.half"]
    assert np.array_equal(found["a.double"], TENSORS["a.double"])


BESIDE = {
    "best": np.float64(0.9),
    "epochs": np.int64(3),
    "type": np.dtype("f4"),
    "curve": np.arange(3.0),
    "losses": [0.5, np.float32(0.25)],
    "name": "i3d",
    "milestones": collections.Counter([3, 3]),
    "signs": {"hello", "thanks"},
    "raw": b"\xff\x00",
    "args": argparse.Namespace(lr=0.1, where=pathlib.PurePosixPath("a/b")),
    "namespace": types.SimpleNamespace(lr=0.1),
    "begun": datetime.datetime(2026, 11, 28, tzinfo=datetime.UTC),
    "took": datetime.timedelta(hours=3),
    "meters": collections.defaultdict(list, {"loss": [0.5]}),
    "optimizer": {"state": {0: {"step": 3}}, "param_groups": [{"lr": 0.1, "params": [0, 1]}]},
}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("core", [b"numpy._core", b"numpy.core"])
def test_numbers_of_numpy_strings_and_an_optimizer_may_lie_beside(tmp_path, kind, core):
    beside = {name: formats.pickled_object(value) for name, value in BESIDE.items()}
    beside = {name: value.replace(b"numpy._core", core) for name, value in beside.items()}
    assert core + b".multiarray\nscalar" in beside["best"]
    # As Python 2 wrote a number: bytes that are no text.
    beside["old"] = (
        b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(U\x02f8K\x00K\x01tR"
        b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tbU\x08\x9a\x99\x99\x99\x99\x99\xb9?tR"
    )
    state = formats.state_opcodes(TENSORS, is_legacy=kind == "legacy")
    path = WRITERS[kind](
        tmp_path / "weights", TENSORS, formats.dictionary({**beside, "net": state})
    )
    found = torch_file.read_state_dict(path)
    assert list(found) == [f"net.{name}" for name in TENSORS]
    assert all(map(np.array_equal, found.values(), TENSORS.values()))


HARMLESS = {
    # Of these NumPy would make eight terabytes, or open the pickle within.
    "numpy.ndarray": b"cnumpy\nndarray\n(" + formats.integers((2**20, 2**20)) + b"tR",
    "numpy.core.multiarray.scalar": b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n("
    + formats.text("O")
    + b"tR"
    + formats.pickled_object(b"cposix\nsystem\n(S'touch executed'\ntR.")
    + b"tR",
    "numpy.core.multiarray._reconstruct": b"cnumpy.core.multiarray\n_reconstruct\n("
    + b"cnumpy\nndarray\n"
    + formats.integers((2**20, 2**20))
    + formats.text("b")
    + b"tR",
    "_codecs.encode": b"c_codecs\nencode\n(" + formats.text("a") + formats.text("nowhere") + b"tR",
    "attributes": b"cnumpy\ndtype\n" + formats.dictionary({"__call__": b"N", "kind": b"N"}) + b"b",
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_may_lie_beside_is_never_made(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    state = formats.state_opcodes(TENSORS)
    opcodes = formats.dictionary({"beside": HARMLESS[name], "net": state})
    path = formats.write_torch_zip(tmp_path / "weights", TENSORS, opcodes)
    assert list(torch_file.read_state_dict(path)) == [f"net.{each}" for each in TENSORS]
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("opcodes", "message"),
    [
        (formats.integer(3), "holds no PyTorch tensors. What it holds: int."),
        (formats.dictionary({}), "What it holds: OrderedDict."),
        (b"}q\x01" + formats.text("self") + b"h\x01s", "What it holds: nothing."),
        (
            formats.pickled_object({"epoch": 3, "net": {"w": np.arange(3.0), "b": None}}),
            r"epoch \(int\), net.w \(numpy._core.multiarray._reconstruct\), net.b \(NoneType\)\.",
        ),
        (
            formats.pickled_object({f"key{number}": [1] for number in range(30)}),
            r"key0 \(list\), .*key9 \(list\), and 20 more\.",
        ),
    ],
)
def test_a_file_without_tensors_is_told_by_what_is_in_it(tmp_path, opcodes, message):
    path = formats.write_torch_zip(tmp_path / "weights", TENSORS, opcodes)
    with pytest.raises(ValueError, match=message) as error:
        torch_file.read_state_dict(path)
    assert "not a whole" not in str(error.value)


FLOAT = formats.tensor(formats.storage("0", "Float", 24), 0, (24,), (1,))
NAMES = {
    "too long": formats.dictionary({"a" * 2000: FLOAT}),
    "twice": formats.dictionary({"a": formats.dictionary({"b": FLOAT}), "a.b": FLOAT}),
    "too many": formats.pickled_object(dict.fromkeys(range(torch_file.MAX_LEAVES + 2))),
}


@pytest.mark.parametrize("name", NAMES)
def test_malformed_names_are_refused(tmp_path, name):
    path = formats.write_torch_zip(tmp_path / "weights", TENSORS, NAMES[name])
    with pytest.raises(ValueError, match="its names are malformed"):
        torch_file.read_state_dict(path)


def test_a_dictionary_in_itself_ends(tmp_path):
    opcodes = b"}q\x01" + formats.text("self") + b"h\x01s" + formats.text("a") + FLOAT + b"s"
    path = formats.write_torch_zip(tmp_path / "weights", TENSORS, opcodes)
    assert list(torch_file.read_state_dict(path)) == ["a"]


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
    "numpy.load": b"cnumpy\nload\n",
    "numpy.core.multiarray.fromfile": b"cnumpy.core.multiarray\nfromfile\n",
    "_codecs.open": b"c_codecs\nopen\n",
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
