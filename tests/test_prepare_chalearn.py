"""Zips and label lists with known content go in, folders per sign come out; bad ones are named."""

import collections
import contextlib
import errno
import gzip
import hashlib
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

import prepare_chalearn
from chalearn import label_list
from common import dataset as data
from common.class_list import Sign, read_class_file, write_class_file
from prepare_chalearn import prepare
from tests.helpers import run_script

ROOT = Path(prepare_chalearn.__file__).parent
CHALEARN_LISTS = ROOT.parent / "shared" / "data" / "chalearn"


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    """Every test has a working folder of its own, as the scripts use relative paths."""
    monkeypatch.chdir(tmp_path)


def content(path, num_bytes=300):
    return random.Random(path).randbytes(num_bytes)


def rows_of(split, labels, first=1):
    """Rows of a list in ChaLearn's way: (colour, depth, label)."""
    return [
        (f"{split}/001/M_{number:05d}.avi", f"{split}/001/K_{number:05d}.avi", label)
        for number, label in enumerate(labels, first)
    ]


def write_list(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{colour} {depth} {label}\n" for colour, depth, label in rows))


def write_zip(path, names, num_bytes=300, prefix=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(prefix + name, content(name, num_bytes))


def make_source(folder="data_set/tiny", labels=(1, 1, 2, 2, 3), splits=data.SPLITS, **zip_options):
    """Zips and lists of a tiny ChaLearn in which each split has these labels."""
    folder = Path(folder)
    for split in splits:
        rows = rows_of(split, labels)
        write_list(folder / f"{split}.txt", rows)
        write_zip(folder / f"{split}.zip", [p for row in rows for p in row[:2]], **zip_options)
    return folder


def change_zip(path, change):
    """Rewrites a zip: `change(name, bytes)` gives the members [(name or ZipInfo, bytes)]."""
    with zipfile.ZipFile(path) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    with zipfile.ZipFile(path, "w") as archive:
        for member in members:
            for name, packed in change(*member):
                archive.writestr(name, packed)


def prepare_tiny(workers=1, name="tiny", **options):
    return prepare(data.Dataset(name), workers=workers, **options)


def videos(name="tiny"):
    """{`train/c001/M_00001.avi`: bytes} of all prepared videos."""
    folder = Path("data_set") / name
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.glob("*/c*/*"))
    }


def expected_videos(labels=(1, 1, 2, 2, 3), splits=data.SPLITS, kind="M"):
    return {
        f"{split}/c{label:03d}/{kind}_{number:05d}.avi": content(
            f"{split}/001/{kind}_{number:05d}.avi"
        )
        for split in splits
        for number, label in enumerate(labels, 1)
    }


def files_outside(allowed):
    return [path for path in Path().rglob("*") if path.is_file() and path not in allowed]


def failed_text(report):
    return "\n".join(f"{label}: {reason}" for label, reason in report.failed)


# --- what it makes


@pytest.mark.parametrize("workers", [1, 2])
def test_every_colour_video_lies_in_the_folder_of_its_sign(workers):
    make_source()
    report = prepare_tiny(workers=workers)
    assert videos() == expected_videos()
    assert (report.done, report.skipped, report.failed) == (15, 0, [])
    assert not list(Path("data_set").glob("*-depth"))


def test_a_second_run_skips_everything_and_writes_nothing():
    make_source()
    prepare_tiny()
    before = {path: path.stat().st_mtime_ns for path in Path("data_set/tiny").glob("*/*/*")}
    report = prepare_tiny()
    assert (report.done, report.skipped) == (0, 15)
    assert before == {path: path.stat().st_mtime_ns for path in Path("data_set/tiny").glob("*/*/*")}


def test_depth_videos_become_a_data_set_of_their_own():
    make_source()
    report = prepare_tiny(depth=True)
    assert videos("tiny-depth") == expected_videos(kind="K")
    assert videos("tiny") == expected_videos(kind="M")
    assert report.done == 30
    assert len(data.Dataset("tiny-depth").signs(["c001", "c002", "c003"])) == 3


def test_class_file_lists_the_signs_of_the_rows():
    make_source(labels=(10, 9, 9))
    prepare_tiny()
    signs = read_class_file("data_set/tiny/class.csv")
    assert [(sign.label, sign.name) for sign in signs] == [("c009", "c009"), ("c010", "c010")]


def test_chalearn_signs_get_their_names_and_other_labels_are_refused():
    make_source("data_set/chalearn", labels=(26, 30))
    prepare_tiny(name="chalearn")
    signs = read_class_file("data_set/chalearn/class.csv")
    assert "Madonna" in [sign.name for sign in signs]
    write_list(Path("data_set/chalearn/val.txt"), rows_of("val", [26, 250]))
    with pytest.raises(ValueError, match=r"val\.txt, line 2: the label must be one of the 249"):
        prepare_tiny(name="chalearn")


def test_the_project_knows_the_249_signs_and_the_20_of_the_subset():
    whole = read_class_file(ROOT / "data_set/chalearn/class.csv")
    subset = read_class_file(ROOT / "data_set/chalearn-020/class.csv")
    assert [sign.label for sign in whole] == [f"c{number:03d}" for number in range(1, 250)]
    assert len(subset) == 20
    assert all(sign in whole for sign in subset)
    tsv = CHALEARN_LISTS / "signs.tsv"
    if tsv.is_file():
        listed = [line.split("\t") for line in tsv.read_text("utf-8").splitlines()[1:]]
        assert [[s.label, s.category, s.name] for s in whole] == [
            [f"c{int(label):03d}", category, name] for label, category, name in listed
        ]


def test_a_subset_takes_its_signs_from_the_whole_set_beside_it(capsys):
    make_source("data_set/chalearn", labels=(21, 22, 26, 26))
    report = prepare_tiny(name="chalearn-020")
    assert sorted({name.split("/")[1] for name in videos("chalearn-020")}) == ["c021", "c026"]
    assert report.done == 9
    assert "3 rows have a sign that is not selected" in capsys.readouterr().out
    assert not list(Path("data_set/chalearn").glob("*/c*"))


def test_class_file_selects_signs():
    make_source()
    chosen = Path("chosen.csv")
    write_class_file(chosen, [Sign("c002", "two")])
    prepare_tiny(name="some", source="data_set/tiny", class_file=chosen)
    assert set(videos("some")) == {f"{s}/c002/M_0000{n}.avi" for s in data.SPLITS for n in (3, 4)}
    assert read_class_file("data_set/some/class.csv") == [Sign("c002", "two")]


def test_a_selection_without_any_row_is_refused():
    make_source()
    write_class_file("chosen.csv", [Sign("c009", "nine")])
    with pytest.raises(ValueError, match="No row of the lists in data_set/tiny has a sign"):
        prepare_tiny(name="some", source="data_set/tiny", class_file="chosen.csv")


def test_another_selection_never_overwrites_a_class_file():
    source = make_source()
    write_class_file(source / "class.csv", [Sign(f"c00{n}", f"{n}") for n in (1, 2, 3)])
    before = (source / "class.csv").read_bytes()
    write_class_file("chosen.csv", [Sign("c002", "two")])
    with pytest.raises(ValueError, match="other signs than chosen.csv"):
        prepare_tiny(class_file="chosen.csv")
    assert (source / "class.csv").read_bytes() == before
    assert videos() == {}


def test_a_label_that_the_data_sets_class_file_lacks_is_an_error():
    source = make_source()
    write_class_file(source / "class.csv", [Sign("c001", "1"), Sign("c002", "2")])
    with pytest.raises(ValueError, match=r"train\.txt, line 5: .*one of the 2 .*Received: 3"):
        prepare_tiny()


@pytest.mark.parametrize("prefix", ["IsoGD/", "./", "a/b/"])
def test_a_folder_around_everything_in_the_zip_does_not_matter(prefix):
    make_source(prefix=prefix)
    prepare_tiny()
    assert videos() == expected_videos()


def test_a_list_that_says_valid_and_a_zip_that_says_val_fit():
    source = make_source(splits=("train",))
    write_list(source / "valid_list.txt", rows_of("valid", [1, 2]))
    write_zip(source / "val.zip", ["val/001/M_00001.avi", "val/001/M_00002.avi"])
    prepare_tiny()
    assert videos()["val/c002/M_00002.avi"] == content("val/001/M_00002.avi")


def test_the_zips_of_the_challenge_phases_hold_several_splits():
    source = Path("data_set/tiny")
    rows = {"train": rows_of("train", [1, 2]), "valid": rows_of("valid", [2, 1])}
    for split, listed in rows.items():
        write_list(source / f"{split}_list.txt", listed)
    names = [row[0] for listed in rows.values() for row in listed]
    write_zip(source / "IsoGD_Phase_1.zip", names, prefix="IsoGD_phase_1/")
    prepare_tiny()
    assert videos() == {
        "train/c001/M_00001.avi": content("train/001/M_00001.avi"),
        "train/c002/M_00002.avi": content("train/001/M_00002.avi"),
        "val/c002/M_00001.avi": content("valid/001/M_00001.avi"),
        "val/c001/M_00002.avi": content("valid/001/M_00002.avi"),
    }


def test_val_fraction_takes_videos_from_train_sign_by_sign_and_always_the_same():
    make_source(labels=[1] * 60 + [2] * 60, splits=("train", "test"), num_bytes=10)
    prepare_tiny(val_fraction=0.2, depth=True)
    counts = collections.Counter(name.split("/M_")[0] for name in videos())
    assert counts["train/c001"] + counts["val/c001"] == 60
    assert 4 <= counts["val/c001"] <= 20
    assert 4 <= counts["val/c002"] <= 20
    colour = {name for name in videos() if name.startswith("val")}
    assert {name.replace("K_", "M_") for name in videos("tiny-depth") if name[0] == "v"} == colour
    assert prepare_tiny(val_fraction=0.2).skipped == 240
    with pytest.raises(ValueError, match="--rebuild"):
        prepare_tiny(val_fraction=0.4)


def test_val_fraction_is_refused_where_a_val_list_is():
    make_source()
    with pytest.raises(ValueError, match=r"no list for val.*val\.txt"):
        prepare_tiny(val_fraction=0.1)


# --- the same videos unzipped


def unzip(source):
    unzipped = Path("download")
    for split in data.SPLITS:
        with zipfile.ZipFile(source / f"{split}.zip") as archive:
            archive.extractall(unzipped)
        shutil.copy(source / f"{split}.txt", unzipped)
    shutil.rmtree(source)
    return unzipped


@pytest.mark.parametrize("transfer", ["copy", "move", "link"])
def test_unzipped_videos_are_copied_moved_or_linked(transfer):
    source = unzip(make_source())
    first = source / "train/001/M_00001.avi"
    inode = first.stat().st_ino
    prepare_tiny(source=source, transfer=transfer)
    assert videos() == expected_videos()
    assert first.exists() == (transfer != "move")
    target = Path("data_set/tiny/train/c001/M_00001.avi")
    assert (target.stat().st_ino == inode) == (transfer != "copy")
    assert (source / "train/001/K_00001.avi").exists()
    assert prepare_tiny(source=source, transfer=transfer).skipped == 15


def test_a_move_without_hard_links_copies_and_only_then_deletes(monkeypatch):
    monkeypatch.setattr(os, "link", no_links)
    source = unzip(make_source())
    prepare_tiny(source=source, transfer="move")
    assert videos() == expected_videos()
    assert not list(source.rglob("M_*"))


def test_a_link_without_hard_links_becomes_symbolic_and_says_so(monkeypatch):
    monkeypatch.setattr(os, "link", no_links)
    report = prepare_tiny(source=unzip(make_source()), transfer="link")
    assert videos() == expected_videos()
    assert Path("data_set/tiny/train/c001/M_00001.avi").is_symlink()
    assert "symbolic link" in report.warnings[0][1]


def test_a_move_deletes_nothing_that_a_symbolic_link_needs(monkeypatch):
    source = unzip(make_source())
    with monkeypatch.context() as patch:
        patch.setattr(os, "link", no_links)
        prepare_tiny(source=source, transfer="link")
    prepare_tiny(source=source, transfer="move")
    assert videos() == expected_videos()


def no_links(*args, **kwargs):
    raise OSError(errno.EPERM, "no hard links here")


def test_a_move_that_was_killed_before_it_deleted_is_finished_by_the_next():
    source = unzip(make_source())
    prepare_tiny(source=source, transfer="link")
    prepare_tiny(source=source, transfer="move")
    assert videos() == expected_videos()
    assert not list(source.rglob("M_*"))


def test_a_move_deletes_no_source_whose_bytes_are_not_in_place():
    source = unzip(make_source())
    target = Path("data_set/tiny/train/c001/M_00001.avi")
    target.parent.mkdir(parents=True)
    target.write_bytes(b"another video")
    prepare_tiny(source=source, transfer="move")
    assert (source / "train/001/M_00001.avi").read_bytes() == content("train/001/M_00001.avi")


def test_a_subset_is_linked_from_a_prepared_data_set():
    make_source("data_set/chalearn", labels=(21, 22, 26))
    prepare_tiny(name="chalearn")
    for path in Path("data_set/chalearn").glob("*.zip"):
        path.unlink()
    prepare_tiny(name="chalearn-020", transfer="link")
    assert len(videos("chalearn-020")) == 6
    assert prepare_tiny(name="chalearn").skipped == 9
    assert len(videos("chalearn")) == 9


def test_unzipped_videos_inside_the_data_set_are_refused():
    source = unzip(make_source())
    source.rename("data_set/tiny")
    with pytest.raises(ValueError, match="where every folder is a sign.*--source"):
        prepare_tiny()
    assert videos() == {}


# --- lists


WRONG_ROWS = {
    "train/001/M_00009.avi train/001/K_00009.avi": "expected three columns",
    "train/001/M_00009.avi train/001/K_00009.avi 1 1": "expected three columns",
    "train/001/M_00009.avi train/001/K_00009.avi wave": "whole number from 1. Received: wave",
    "train/001/M_00009.avi train/001/K_00009.avi 1.0": "whole number from 1. Received: 1.0",
    "train/001/M_00009.avi train/001/K_00009.avi -1": "whole number from 1. Received: -1",
    "train/001/M_00009.avi train/001/K_00009.avi 0": "whole number from 1. Received: 0",
    "../../M_00009.avi train/001/K_00009.avi 1": "leads out of the data set: ../../M_00009.avi",
    "/train/001/M_00009.avi train/001/K_00009.avi 1": "leads out of the data set",
    "C:/train/M_00009.avi train/001/K_00009.avi 1": "leads out of the data set",
    "train\\..\\M_00009.avi train/001/K_00009.avi 1": "leads out of the data set",
    "train/001/M_00009.avi train/../../K_00009.avi 1": "leads out of the data set",
    "train/001/M_00009.exe train/001/K_00009.avi 1": "expected a video file",
    "train/001/M_00001.avi train/001/K_00001.avi 2": "M_00001.avi is c002 of train here, but c001",
    "train/007/M_00001.avi train/007/K_00001.avi 1": "would become the same clip",
}


@pytest.mark.parametrize("row", WRONG_ROWS)
def test_a_wrong_row_stops_before_anything_is_written(row):
    source = make_source()
    with (source / "train.txt").open("a") as file:
        file.write("\n" + row + "\n")
    before = set(Path().rglob("*"))
    with pytest.raises(ValueError, match=r"train\.txt, line 7: ") as caught:
        prepare_tiny()
    assert WRONG_ROWS[row] in str(caught.value)
    assert set(Path().rglob("*")) == before


def test_a_video_in_the_lists_of_two_splits_is_an_error():
    source = make_source()
    with (source / "val.txt").open("a") as file:
        file.write("train/001/M_00001.avi train/001/K_00001.avi 1\n")
    with pytest.raises(ValueError, match=r"val\.txt, line 6: .* c001 of val here, but c001 of tra"):
        prepare_tiny()


def test_the_first_ten_wrong_rows_of_all_lists_are_named():
    source = make_source()
    right = (source / "train.txt").read_text().splitlines()[0]
    (source / "train.txt").write_text(f"{right}\n" + "wrong\n" * 9)
    (source / "val.txt").write_text("wrong\n" * 3)
    with pytest.raises(ValueError) as caught:
        prepare_tiny()
    message = str(caught.value)
    assert "train.txt, line 10" in message
    assert "val.txt, line 1" in message
    assert "val.txt, line 2" not in message
    assert "and 2 more" in message


def test_a_list_of_another_kind_is_one_word():
    source = make_source()
    for split in ("train", "val", "test"):
        (source / f"{split}.txt").write_text("wave/1.mp4 0\nclap/1.mp4 1\n")
    with pytest.raises(ValueError, match="Not a single row .*line 1.*see prepare_table") as caught:
        prepare_tiny()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(b"\n", b"\r\n"),
        lambda text: b"\xef\xbb\xbf" + text,
        lambda text: b"\n \n" + text.replace(b"\n", b"\n\n") + b"\t\n",
        lambda text: text.replace(b" ", b"\t"),
        lambda text: text.rstrip(b"\n"),
    ],
    ids=["windows", "byte order mark", "blank lines", "tabs", "no end"],
)
def test_lists_of_other_systems_are_read(change):
    source = make_source()
    (source / "train.txt").write_bytes(change((source / "train.txt").read_bytes()))
    prepare_tiny()
    assert videos() == expected_videos()


def test_a_row_that_is_repeated_is_said_and_harmless(capsys):
    source = make_source()
    with (source / "train.txt").open("a") as file:
        file.write("train/001/M_00001.avi train/001/K_00001.avi 1\n")
    assert prepare_tiny().failed == []
    assert "train.txt, line 6: train/001/M_00001.avi is listed before" in capsys.readouterr().out


def test_a_packed_list_is_read_and_two_lists_for_a_split_are_refused():
    source = make_source()
    text = (source / "train.txt").read_bytes()
    (source / "train.txt.gz").write_bytes(gzip.compress(text))
    with pytest.raises(ValueError, match=r"train\.txt, train\.txt\.gz\. Keep one"):
        prepare_tiny()
    (source / "train.txt").unlink()
    prepare_tiny()
    assert videos() == expected_videos()


@pytest.mark.parametrize("text", ["a b 1\n".encode("utf-16"), b"\xff\xfe\xff", b"a\0b"])
def test_a_list_that_is_no_text_is_named(text):
    source = make_source()
    (source / "val.txt").write_bytes(text)
    with pytest.raises(ValueError, match=r"val\.txt is not a"):
        prepare_tiny()


@pytest.mark.skipif(not CHALEARN_LISTS.is_dir(), reason="needs ../shared")
def test_the_real_lists_of_chalearn():
    lists = label_list.find_lists(CHALEARN_LISTS)
    _, labels = label_list.choose_signs(data.Dataset("chalearn"), CHALEARN_LISTS)
    rows, notes = label_list.read_lists(lists, labels)
    assert notes == []
    per_split = collections.Counter(row.split for row in rows)
    assert per_split == {"train": 35_878, "val": 5_784, "test": 6_271}
    train = sorted(collections.Counter(r.label for r in rows if r.split == "train").values())
    assert (len(train), train[0], train[124], train[-1]) == (249, 64, 124, 851)
    assert rows[0].label == "c026"
    assert rows[35_878].colour.startswith("valid/")


# --- zips


def test_members_that_are_missing_fail_one_by_one_and_are_taken_later(capsys):
    source = make_source()
    whole = (source / "val.zip").read_bytes()
    change_zip(source / "val.zip", lambda n, b: [] if n.endswith("M_00002.avi") else [(n, b)])
    report = prepare_tiny()
    assert failed_text(report).count("\n") == 0
    assert "val.txt, line 2: val/001/M_00002.avi: is not in data_set/tiny/val.zip" in failed_text(
        report
    )
    assert (report.done, report.exit_status) == (14, 1)
    (source / "val.zip").write_bytes(whole)
    assert (prepare_tiny().done, len(videos())) == (1, 15)


UNSAFE_NAMES = [
    "/train/001/M_00001.avi",
    "../evil.avi",
    "train/../../../evil.avi",
    "..\\evil.avi",
    "C:\\evil.avi",
    "C:/evil.avi",
]


@pytest.mark.parametrize("name", UNSAFE_NAMES)
def test_unsafe_members_are_named_and_nothing_leaves_the_data_set(name):
    source = make_source()
    with zipfile.ZipFile(source / "train.zip", "a") as archive:
        archive.writestr(name, b"evil")
    report = prepare_tiny()
    assert f"train.zip: {name!r}: the path leads out of the zip" in failed_text(report)
    assert (len(report.failed), report.done) == (1, 15)
    assert videos() == expected_videos()
    assert all(path.is_relative_to("data_set/tiny") for path in files_outside(()))
    assert not any(path.read_bytes() == b"evil" for path in files_outside(()))


def test_a_listed_video_that_is_only_there_as_an_absolute_path_is_not_taken():
    source = make_source()
    change_zip(source / "train.zip", lambda n, b: [("/" + n if n[-5] == "1" else n, b)])
    report = prepare_tiny()
    assert "train.txt, line 1: train/001/M_00001.avi: is not in" in failed_text(report)
    assert len(videos()) == 14


def test_a_symbolic_link_in_a_zip_is_no_video(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    source = make_source()

    def link(name, packed):
        if not name.endswith("M_00001.avi"):
            return [(name, packed)]
        info = zipfile.ZipInfo(name)
        info.create_system = 3
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        return [(info, str(secret).encode())]

    change_zip(source / "train.zip", link)
    report = prepare_tiny()
    assert "M_00001.avi: is a link in data_set/tiny/train.zip" in failed_text(report)
    assert (report.done, len(report.failed)) == (14, 1)
    assert not any(path.is_symlink() for path in Path().rglob("*"))


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("same", [True, False])
def test_a_member_that_is_twice_in_the_zip(same, capsys):
    source = make_source()
    name = "train/001/M_00001.avi"
    with zipfile.ZipFile(source / "train.zip", "a") as archive:
        archive.writestr(name, content(name) if same else b"another")
    report = prepare_tiny()
    if same:
        assert videos() == expected_videos()
        assert "1 names are there twice, as train/001/M_00001.avi" in capsys.readouterr().out
    else:
        assert "is 2 times in data_set/tiny/train.zip, with different" in failed_text(report)
        assert "train/c001/M_00001.avi" not in videos()
        assert len(videos()) == 14


def test_a_video_in_two_folders_of_the_zip_is_ambiguous():
    source = make_source(prefix="a/")
    change_zip(source / "val.zip", lambda n, b: [(n, b), (n.replace("a/", "b/", 1), b"other")])
    report = prepare_tiny()
    assert "may be a/val/001/M_00001.avi or b/val/001/M_00001.avi" in failed_text(report)
    assert {name.split("/")[0] for name in videos()} == {"train", "test"}


def test_a_wrong_checksum_fails_that_video_only():
    source = make_source()
    packed = bytearray((source / "test.zip").read_bytes())
    at = packed.index(content("test/001/M_00003.avi"))
    packed[at + 100] ^= 0xFF
    (source / "test.zip").write_bytes(packed)
    report = prepare_tiny(workers=2)
    assert "test.txt, line 3: test/001/M_00003.avi: is damaged in data_set/" in failed_text(report)
    assert videos() == {k: v for k, v in expected_videos().items() if k != "test/c002/M_00003.avi"}


def test_files_that_no_list_names_are_counted_and_ignored(capsys):
    source = make_source()
    with zipfile.ZipFile(source / "train.zip", "a") as archive:
        archive.writestr("train/001/M_00077.avi", b"unlisted")
        archive.writestr("README", b"unlisted")
    assert prepare_tiny().exit_status == 0
    assert videos() == expected_videos()
    assert "train.zip: 2 files are in no list" in capsys.readouterr().out


def test_encrypted_members_fail_with_a_hint():
    source = make_source()
    packed = bytearray((source / "train.zip").read_bytes())
    name = b"train/001/M_00002.avi"
    packed[packed.rindex(name) - 46 + 8] |= 1  # flags of the central directory
    packed[packed.index(name) - 30 + 6] |= 1  # flags of the member itself
    (source / "train.zip").write_bytes(packed)
    report = prepare_tiny()
    assert "M_00002.avi: is encrypted in data_set/tiny/train.zip: unzip it" in failed_text(report)
    assert len(videos()) == 14


@pytest.mark.parametrize("damage", [lambda packed: b"no zip", lambda packed: packed[:-500]])
def test_a_zip_that_is_none_or_cut_off_fails_its_split_only(damage):
    source = make_source()
    (source / "val.zip").write_bytes(damage((source / "val.zip").read_bytes()))
    report = prepare_tiny()
    assert "val.zip is no zip, or is cut off" in failed_text(report)
    assert (len(report.failed), report.done) == (1, 10)
    assert set(videos()) == set(expected_videos(splits=("train", "test")))


def test_where_no_zip_is_any_good_nothing_is_written():
    source = make_source(splits=("train",))
    (source / "train.zip").write_bytes(b"no zip")
    before = set(Path().rglob("*"))
    with pytest.raises(ValueError, match="no video can be had.*\n.*is no zip"):
        prepare_tiny()
    assert set(Path().rglob("*")) == before


def test_a_list_without_zip_and_a_zip_without_list_are_failures():
    source = make_source()
    (source / "val.zip").unlink()
    (source / "test.txt").unlink()
    report = prepare_tiny()
    assert "neither val.zip or val/ or valid/ is in data_set/tiny" in failed_text(report)
    assert "data_set/tiny/test.zip: there is no test.txt beside it" in failed_text(report)
    assert set(videos()) == set(expected_videos(splits=("train",)))


def test_random_damage_never_crashes_and_never_writes_elsewhere():
    source = make_source(splits=("train",))
    whole = (source / "train.zip").read_bytes()
    expected = expected_videos(splits=("train",))
    for seed in range(60):
        dice = random.Random(seed)
        packed = bytearray(whole)
        for _ in range(dice.choice([1, 3, 30])):
            packed[dice.randrange(len(packed))] = dice.randrange(256)
        (source / "train.zip").write_bytes(packed)
        try:
            report = prepare_tiny()
        except ValueError as error:
            assert "train.zip" in str(error)
        else:
            assert report.done == len(videos())
            assert report.failed or videos() == expected
        assert videos().items() <= expected.items()
        assert {path.name for path in source.iterdir()} <= {
            "train.txt",
            "train.zip",
            "class.csv",
            "train",
        }
        shutil.rmtree(source / "train", ignore_errors=True)


# --- reruns


def test_a_newer_zip_remakes_the_videos_that_differ_and_no_others():
    source = make_source()
    prepare_tiny()
    changed = "train/001/M_00002.avi"
    change_zip(source / "train.zip", lambda n, b: [(n, b"new" if n == changed else b)])
    future = time.time_ns() + 10**9
    os.utime(source / "train.zip", ns=(future, future))
    report = prepare_tiny()
    assert (report.done, report.skipped) == (1, 14)
    assert videos()["train/c001/M_00002.avi"] == b"new"


def test_videos_of_another_list_are_refused_until_rebuild_removes_them():
    source = make_source()
    prepare_tiny()
    own = Path("data_set/tiny/train/c001/mine.mp4")
    own.write_bytes(b"my own video")
    make_source(labels=(1, 2, 2, 2, 3))
    with pytest.raises(ValueError, match=r"3 videos of other lists.*c001/M_00002.*--rebuild"):
        prepare_tiny()
    prepare_tiny(rebuild=True)
    assert own.read_bytes() == b"my own video"
    own.unlink()
    assert videos() == expected_videos(labels=(1, 2, 2, 2, 3))
    assert (source / "train.zip").is_file()


def test_rebuild_deletes_no_video_that_only_exists_prepared():
    source = unzip(make_source())
    prepare_tiny(source=source, transfer="move")
    with pytest.raises(ValueError, match="would delete videos"):
        prepare_tiny(source=source, rebuild=True)
    assert videos() == expected_videos()


def start(*flags):
    return subprocess.Popen(
        [sys.executable, ROOT / "prepare_chalearn.py", "--dataset", "tiny", *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def tree_hash(folder="data_set/tiny"):
    digest = hashlib.sha256()
    for path in sorted(Path(folder).rglob("*")):
        digest.update(path.relative_to(folder).as_posix().encode())
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()


@pytest.fixture
def large_source():
    """Enough bytes that a run can be hit in the middle."""
    source = make_source(labels=[1 + n % 4 for n in range(60)], splits=("train",), num_bytes=10**6)
    shutil.copytree("data_set", "untouched")
    return source


def undisturbed_hash(**options):
    shutil.copytree("untouched/tiny", "data_set/undisturbed")
    prepare_tiny(name="undisturbed", **options)
    return tree_hash("data_set/undisturbed")


def test_kill_9_leaves_only_whole_videos_and_the_rerun_completes(large_source):
    expected = undisturbed_hash()
    whole = {p.relative_to("data_set/undisturbed"): p for p in Path().glob("*/undisturbed/*/c*/*")}
    num_seen = 0
    for num_wanted in (1, 15, 35):
        kill_when(start("--workers", "2"), num_wanted, whole_group=num_wanted == 15)
        num_seen = len(videos_on_disk())
        for path in videos_on_disk():
            same = whole[path.relative_to("data_set/tiny")]
            assert path.read_bytes() == same.read_bytes()
    assert num_seen < 60, "every run was over before it was killed"
    process = start("--workers", "2")
    output, _ = process.communicate()
    assert process.returncode == 0, output
    assert tree_hash() == expected


def kill_when(process, num_videos, whole_group):
    """kill -9 as soon as so many videos are there; waits until the workers are dead, too."""
    wait_for(lambda: len(videos_on_disk()) >= num_videos or process.poll() is not None)
    (os.killpg if whole_group else os.kill)(process.pid, signal.SIGKILL)
    process.wait()
    wait_for(lambda: not is_group_alive(process.pid))


def videos_on_disk():
    return list(Path("data_set/tiny").glob("[!.]*/c*/*"))


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def is_group_alive(group):
    """Whether a process of the group lives; dead ones may wait long to be collected."""
    if not Path("/proc/self/stat").is_file():
        time.sleep(1)
        return False
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, process_group, *_ = status.read_text().rpartition(")")[2].split()
            if int(process_group) == group and state not in "ZX":
                return True
    return False


def test_two_runs_at_once_make_the_same_tree(large_source):
    expected = undisturbed_hash()
    processes = [start("--workers", "1"), start("--workers", "2")]
    outputs = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert tree_hash() == expected


def test_a_full_disk_stops_with_a_message_and_the_rerun_resumes(large_source, monkeypatch):
    copy, num_copied = shutil.copyfileobj, []

    def fill_disk(packed, file, chunk):
        num_copied.append(1)
        if len(num_copied) > 5:
            file.write(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        copy(packed, file, chunk)

    expected = undisturbed_hash()
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfileobj", fill_disk)
        with pytest.raises(OSError, match="is full"):
            prepare_tiny()
    assert len(videos()) == 5
    assert prepare_tiny().skipped == 5
    assert tree_hash() == expected


def test_a_disk_that_is_too_small_is_seen_before_anything_is_copied(monkeypatch):
    make_source(num_bytes=10**5)
    usage = shutil.disk_usage(".")._replace(free=10**6)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OSError, match="are free"):
        prepare_tiny()
    assert videos() == {}


# --- the command line


def run_main(capsys, *flags):
    status = prepare_chalearn.main(["--workers", "1", *flags])
    return status, capsys.readouterr().out


def test_the_command_closes_with_counts_per_split_and_the_next_command(capsys):
    make_source(labels=(1, 1, 2))
    status, output = run_main(capsys, "--dataset", "tiny")
    assert status == 0
    assert "prepare: 9 done, 0 skipped, 0 failed" in output
    assert "val: 3 videos of 2 signs" in output
    assert output.splitlines()[-1] == "Next: python frame.py --dataset tiny"


def test_the_exit_status_is_1_where_a_video_failed(capsys):
    source = make_source()
    change_zip(source / "val.zip", lambda n, b: [] if n.endswith("M_00002.avi") else [(n, b)])
    status, output = run_main(capsys, "--dataset", "tiny")
    assert status == 1
    assert "failed: data_set/tiny/val.txt, line 2" in output


@pytest.mark.parametrize("fraction", ["0.6", "-0.1", "many"])
def test_a_senseless_fraction_is_refused(fraction, capsys):
    with pytest.raises(SystemExit):
        prepare_chalearn.main(["--dataset", "tiny", "--val-fraction", fraction])


def test_without_files_the_message_says_where_chalearn_comes_from():
    with pytest.raises(FileNotFoundError) as caught:
        prepare_tiny(name="chalearn")
    for word in ("chalearnlap.cvc.uab.cat", "register", "data_set/chalearn", "train.zip", "--sour"):
        assert word in str(caught.value)


def test_a_wrong_name_gets_near_names():
    make_source("data_set/my_signs")
    with pytest.raises(FileNotFoundError, match="Did you mean my_signs"):
        prepare_tiny(name="my_sings")


def test_toysigns_that_are_not_drawn_yet_name_the_script():
    with pytest.raises(FileNotFoundError, match="python toysigns.py"):
        prepare_tiny(name="toysigns")


def test_a_folder_of_own_videos_needs_no_preparation():
    video = Path("data_set/my_signs/train/hello/1.mp4")
    video.parent.mkdir(parents=True)
    video.write_bytes(b"a video")
    with pytest.raises(ValueError, match="no preparation.*frame.py --dataset my_signs"):
        prepare_tiny(name="my_signs")


def test_a_source_that_is_no_folder_is_named():
    with pytest.raises(FileNotFoundError, match="There is no elsewhere"):
        prepare_tiny(source="elsewhere")


def test_training_clips_are_counted_without_those_that_validation_takes():
    dataset = data.Dataset("my_signs", "laptop")
    for sign in ("hello", "thanks"):
        folder = dataset.video_dir / "train" / sign
        folder.mkdir(parents=True)
        for number in range(10):
            (folder / f"{number}.avi").write_bytes(b"")
    train, val = data.split_train_val(dataset.videos(), 0.2)
    assert len(val) > 0
    assert prepare_chalearn.num_training_clips(dataset, 0.2) == len(train)
    assert prepare_chalearn.num_training_clips(dataset, 0) == 20


def test_backslashes_of_zips_and_lists_are_read_as_slashes():
    source = make_source()
    for split in data.SPLITS:
        rows = (source / f"{split}.txt").read_text()
        (source / f"{split}.txt").write_text(rows.replace("/", "\\"))
        change_zip(source / f"{split}.zip", lambda name, b: [(name.replace("/", "\\"), b)])
    assert prepare_tiny().failed == []
    found = videos()
    make_source("data_set/plain")
    prepare_tiny(name="plain")
    assert found == videos("plain") and found


def test_lists_of_another_kind_beside_sign_folders_are_left_alone(capsys):
    folder = Path("data_set/mine")
    for sign in ("wave", "clap"):
        (folder / "train" / sign).mkdir(parents=True)
        (folder / "train" / sign / "1.mp4").write_bytes(b"video")
    (folder / "train.txt").write_text("wave/1.mp4 0\nclap/1.mp4 1\n")
    dataset = data.Dataset("mine")
    assert not prepare_chalearn.is_for(dataset)
    told = capsys.readouterr().out
    assert told.startswith("Left alone: the lists in data_set/mine, which are not as ChaLearn's: ")
    assert told.count("\n") == 1
    assert prepare_chalearn.num_training_clips(dataset) == 2
    for lists in ({"train.txt": ""}, {"train.txt": "wave/1 0\n", "train_list.txt": "wave/1 0\n"}):
        for name, content in lists.items():
            (folder / name).write_text(content)
        assert not prepare_chalearn.is_for(dataset)
        assert prepare_chalearn.num_training_clips(dataset) == 2


# --- ChaLearn's own lists, which come with the project


def pack(path, names):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, f"content of {name}")


def test_whoever_has_the_zips_of_chalearn_needs_no_lists(tmp_path):
    folder = tmp_path / "data_set" / "chalearn"
    pack(folder / "val.zip", ["valid/001/M_00001.avi", "valid/001/K_00001.avi"])
    result = run_script("prepare_chalearn.py", "--dataset", "chalearn", cwd=tmp_path, check=1)
    assert "1 done, 0 skipped, 5783 failed" in result.stdout
    assert (folder / "val" / "c109" / "M_00001.avi").read_text() == (
        "content of valid/001/M_00001.avi"
    )


def test_the_lists_of_the_project_are_whole():
    rows, notes = label_list.read_lists(label_list.CHALEARN_LISTS)
    assert collections.Counter(row.split for row in rows) == {
        "train": 35_878,
        "val": 5_784,
        "test": 6_271,
    }
    assert len({row.label for row in rows}) == 249 and not notes


def test_own_lists_beside_the_zips_come_first(tmp_path):
    folder = tmp_path / "data_set" / "chalearn"
    pack(folder / "val.zip", ["valid/001/M_00001.avi"])
    (folder / "val.txt").write_text("valid/001/M_00001.avi valid/001/K_00001.avi 5\n")
    result = run_script("prepare_chalearn.py", "--dataset", "chalearn", cwd=tmp_path, check=0)
    assert "1 done" in result.stdout and (folder / "val" / "c005" / "M_00001.avi").is_file()
