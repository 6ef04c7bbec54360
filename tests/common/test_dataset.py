"""Layout, class lists and splits of data sets."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common import dataset as data
from common.class_list import Sign, read_class_file, write_class_file
from common.dataset import Clip, Dataset
from common.presets import PRESETS


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def make_files(*paths, folder="data_set/mine"):
    for path in paths:
        file = Path(folder, path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")


def places(clips):
    return [clip.place().as_posix() for clip in clips]


# --- names and presets


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc", ".hidden", "../x", "a/"])
def test_a_data_set_is_a_plain_folder_name(name):
    with pytest.raises(ValueError, match="--dataset is the name of a folder"):
        Dataset(name)


def test_toysigns_is_for_a_laptop_and_all_else_is_full_size():
    assert Dataset("toysigns").preset.name == "laptop"
    assert Dataset("chalearn").preset.name == "full"
    assert Dataset("toysigns", preset="full").preset.name == "full"
    with pytest.raises(ValueError, match="--preset is one of full, laptop. Received: huge"):
        Dataset("chalearn", preset="huge")


def test_flags_name_the_preset_only_where_it_is_not_the_default():
    assert Dataset("toysigns").flags() == "--dataset toysigns"
    assert Dataset("mine", preset="full").flags() == "--dataset mine"
    assert Dataset("mine", preset="laptop").flags() == "--dataset mine --preset laptop"


def test_presets_of_the_design():
    full, laptop = PRESETS["full"], PRESETS["laptop"]
    assert (full.num_frames, full.frame_size, full.input_size) == (40, (240, 320), (224, 224))
    assert (full.epochs_top, full.epochs_all, full.batch_size) == (1, 17, 4)
    assert (full.width_multiplier, full.weights) == (1.0, "kinetics")
    assert (laptop.epochs_top, laptop.weights) == (1, "signs")
    for preset in PRESETS.values():
        assert preset.num_frames >= 8
        assert min(preset.input_size) >= 32
        assert all(i <= f for i, f in zip(preset.input_size, preset.frame_size, strict=True))


# --- the layout


def test_folders_of_the_design():
    mine = Dataset("mine", preset="laptop", root="/work")
    assert mine.class_file == Path("/work/data_set/mine/class.csv")
    assert mine.frame_dir == Path("/work/data_temp/mine/laptop/frame")
    assert mine.flow_dir == Path("/work/data_temp/mine/laptop/oflow")
    assert (mine.stored_dir("rgb"), mine.stored_dir("flow")) == (mine.frame_dir, mine.flow_dir)


def test_videos_are_found_by_split_and_sign_in_order():
    make_files("val/b/2.avi", "train/b/10.mp4", "train/b/1.MOV", "train/a/x.webm", "test/a/y.mkv")
    found = Dataset("mine").videos()
    assert places(found) == ["train/a/x", "train/b/1", "train/b/10", "val/b/2", "test/a/y"]
    assert found[1] == Clip("train", "b", "1", Path("data_set/mine/train/b/1.MOV"))


def test_what_is_no_video_of_a_sign_is_passed_over():
    make_files(
        "train/a/1.mp4",
        "train/a/notes.txt",
        "train/a/no_suffix",
        "train/a/.2.mp4",
        "train/a/._1.mp4",
        "train/.trash/3.mp4",
        "train/loose.mp4",
        "train/a/deeper/4.mp4",
        "extra/a/5.mp4",
        ".partial/x/6.mp4",
        "class.csv",
    )
    Path("data_set/mine/train/a/folder.mp4").mkdir()
    assert places(Dataset("mine").videos()) == ["train/a/1"]


@pytest.mark.parametrize("suffix", sorted(data.VIDEO_SUFFIXES))
def test_every_suffix_counts_in_small_and_capital_letters(suffix):
    make_files(f"train/a/1{suffix}", f"train/a/2{suffix.upper()}")
    assert places(Dataset("mine").videos()) == ["train/a/1", "train/a/2"]


def test_names_with_dots_and_blanks_and_other_scripts_are_kept():
    make_files("train/guten tag/take.1.mp4", "train/안녕/영상.mp4")
    assert places(Dataset("mine").videos()) == ["train/guten tag/take.1", "train/안녕/영상"]


def test_two_videos_that_would_become_one_clip_are_named():
    make_files("train/a/1.mp4", "train/a/1.avi", "train/b/1.mp4")
    with pytest.raises(ValueError, match=r"train/a/1\.avi and .*/train/a/1\.mp4 would become"):
        Dataset("mine").videos()


def test_stored_clips_are_folders():
    mine = Dataset("mine", preset="laptop", stored=True)
    make_files("train/a/1/frame0000.jpg", "val/b/x.y/frame0000.jpg", folder=mine.frame_dir)
    make_files("train/a/stray.jpg", "train/a/.half/frame0000.jpg", folder=mine.frame_dir)
    assert places(mine.stored_clips("rgb")) == ["train/a/1", "val/b/x.y"]
    with pytest.raises(FileNotFoundError, match="opticalflow.py --dataset mine .*--stored"):
        mine.stored_clips("flow")
    make_files("train/a/1.mp4")
    with pytest.raises(
        FileNotFoundError,
        match=r"Run `python opticalflow\.py --dataset mine --preset laptop --stored`",
    ):
        mine.stored_clips("flow")


def test_what_was_told_is_not_told_again(capsys):
    make_files("train/a/1.mp4", "train/a/2.mp4")
    Dataset("mine").tell_once("a word")
    Dataset("mine").tell_once("a word")
    Dataset("mine", preset="laptop").tell_once("a word")  # of other clips
    Dataset("mine").tell_once("")
    assert capsys.readouterr().out == "a word\n" * 2


def test_videos_that_are_not_stored_are_told_and_the_signs_of_which_none_is(capsys):
    mine = Dataset("mine")
    make_files("train/a/1.mp4", "train/a/2.mp4", "train/b/1.mp4")
    make_files("train/a/1/frame0000.jpg", folder=mine.frame_dir)
    assert places(mine.stored_clips("rgb")) == ["train/a/1"]
    told = capsys.readouterr().out
    assert told.startswith("Videos that are not used: 2, such as data_set/mine/train/a/2.mp4; ")
    assert told.endswith("(`python frame.py --dataset mine` tells). No clip at all of: b.\n")


def test_without_any_video_the_flag_that_takes_stored_clips_is_named():
    make_files("train/a/1/frame0000.jpg", folder=Dataset("mine").frame_dir)
    with pytest.raises(FileNotFoundError, match="stored in .*data_temp/mine/full: --stored"):
        Dataset("mine").videos()


def test_stored_clips_follow_the_videos(capsys):
    mine = Dataset("mine", preset="laptop")
    make_files("train/a/1/frame0000.jpg", "train/a/2/frame0000.jpg", folder=mine.frame_dir)
    with pytest.raises(FileNotFoundError, match="2 clips are stored in .*add --stored"):
        mine.stored_clips("rgb")
    make_files("train/a/1.mp4")
    assert places(mine.stored_clips("rgb")) == places(mine.stored_clips("rgb")) == ["train/a/1"]
    assert capsys.readouterr().out.count("videos are gone: 1, such as train/a/2") == 1
    everything = Dataset("mine", preset="laptop", stored=True)
    assert places(everything.stored_clips("rgb")) == ["train/a/1", "train/a/2"]


def test_what_is_left_out_is_named_by_its_kind():
    used = ["train/a/1.mp4", "train/a/2.MOV", "train/b/1.m2ts", "test/b/1.gif"]
    make_files(*used, "class.csv", "notes.txt", "train/a/.hidden.mp4", ".git/train/a/1.mp4")
    make_files("train/a/deeper/3.mp4", "train/a/notes.txt", "train/a/4.jpg", "valid/a/1.mp4")
    make_files("train/5.mp4", "a/6.mp4", "7.mp4", "dev/a/1.mp4", "validation/a/1.mp4")
    make_files("photo.jpg", "Train/a/1.mp4", "backup.zip", "train.zip", "IsoGD_phase_1.zip")
    os.symlink("nowhere.mp4", Path("data_set/mine/train/a/link.mp4"))
    if hasattr(os, "mkfifo"):
        os.mkfifo("data_set/mine/train/a/pipe.mp4")
    else:
        os.symlink(os.devnull, Path("data_set/mine/train/a/pipe.mp4"))
    found = {kind: len(paths) for kind, paths in Dataset("mine").left_out().items()}
    assert len(Dataset("mine").videos()) == 4
    assert found == {
        "dead link": 1,
        "video whose name begins with a dot": 1,
        "zip, which is not unpacked": 1,
        "no ordinary file": 1,
        "in a folder one level too deep": 1,
        "no video by its ending": 3,
        "in a folder Train, not train, val or test": 1,
        "video outside <split>/<sign>/": 2,
        "in a sign folder that belongs into train/": 1,
        "in a folder dev, not train, val or test": 1,
        "in a folder valid, not train, val or test": 1,
        "in a folder validation, not train, val or test": 1,
    }


def test_folders_that_may_not_be_read_and_signs_without_a_file_are_left_out(monkeypatch):
    make_files("train/a/1.mp4", "train/locked/1.mp4", "train/b/.DS_Store")
    Path("data_set/mine/val/c").mkdir(parents=True)
    may = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode: "locked" not in str(path) and may(path, mode)
    )
    assert Dataset("mine").left_out() == {
        "folder that may not be read": [Path("data_set/mine/train/locked")],
        "sign folder without a file": [Path("data_set/mine/train/b"), Path("data_set/mine/val/c")],
    }


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all")
@pytest.mark.parametrize("mode", [0o000, 0o444, 0o111])
def test_a_folder_without_rights_stops_nothing(mode):
    make_files("train/a/1.mp4", "train/locked/1.mp4")
    locked = Path("data_set/mine/train/locked")
    locked.chmod(mode)
    try:
        assert "train/a/1" in places(Dataset("mine").videos())
        assert Dataset("mine").left_out()["folder that may not be read"] == [locked]
    finally:
        locked.chmod(0o755)


def test_a_folder_without_a_usable_video_names_what_it_has_and_what_is_accepted():
    make_files("train/a/1.jpg", "train/a/2.jpg")
    with pytest.raises(FileNotFoundError, match="Seen: 2 x no video by .*1.jpg. Accepted: .3gp"):
        Dataset("mine").videos()


def test_names_that_look_alike_are_one_sign():
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    make_files(f"train/{composed}/1.mp4", f"train/{decomposed}/2.mp4", "train/b/1.mp4")
    assert {video.label for video in Dataset("mine").videos()} == {composed, "b"}
    make_files(f"train/{decomposed}/1.mp4")
    with pytest.raises(ValueError) as caught:
        Dataset("mine").videos()
    for folder in (r"caf\xe9", r"cafe\u0301"):
        assert f"'data_set/mine/train/{folder}/1.mp4'" in str(caught.value)


# --- what is missing


def test_a_wrong_name_gets_the_nearest_ones():
    make_files("train/a/1.mp4")
    make_files("train/a/1.mp4", folder="data_set/other")
    with pytest.raises(FileNotFoundError) as caught:
        Dataset("mime").videos()
    assert "Did you mean mine?" in str(caught.value)
    assert "There are: mine, other, toysigns." in str(caught.value)
    assert "videocapture.py --dataset mime" in str(caught.value)
    with pytest.raises(FileNotFoundError) as caught:
        Dataset("zzz").videos()
    assert "Did you mean" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("toysigns", "`python toysigns.py`"),
        ("chalearn-020", "`python prepare_chalearn.py --dataset chalearn-020`"),
        ("mine", "`python prepare_chalearn.py --dataset mine`"),
    ],
)
def test_a_data_set_without_videos_names_the_next_command(name, command):
    Path("data_set", name).mkdir(parents=True)
    with pytest.raises(FileNotFoundError) as caught:
        Dataset(name).videos()
    assert command in str(caught.value)


def test_data_set_names_are_visible_folders_and_toysigns():
    assert data.dataset_names() == ["toysigns"]
    make_files("train/a/1.mp4")
    make_files("a", folder="data_set/.hidden")
    make_files("a_file", folder="data_set")
    assert data.dataset_names() == ["mine", "toysigns"]


# --- class.csv


def write_classes(text, encoding="utf-8"):
    path = Path("class.csv")
    path.write_bytes(text.encode(encoding))
    return path


def test_signs_survive_writing_and_reading():
    signs = [Sign("c026", "Madonna", "Italian"), Sign("a", 'say "hi", twice'), Sign("안녕", "안녕")]
    write_class_file("class.csv", signs)
    assert read_class_file("class.csv") == signs
    assert Path("class.csv").read_bytes().startswith(b"class,name,category\nc026,Madonna,Italian\n")


@pytest.mark.parametrize(
    "text",
    [
        "class,name,category\r\na,one,x\r\nb,,\r\n",
        "\ufeffclass,name,category\na,one,x\nb,b,",
        "class , name\n\na, one ,x\n , \nb\n",
    ],
    ids=["windows", "byte order mark", "blanks"],
)
def test_class_files_of_other_editors_are_read(text):
    assert read_class_file(write_classes(text)) == [
        Sign("a", "one", "x"),
        Sign("b", "b"),
    ]


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("", 1, "an empty file"),
        ("a,one,x\n", 1, "expected the header class,name,category"),
        ("class;name\n", 1, "Received: class;name"),
        ("class,name\na,one\n,two\n", 3, "expected class,name,category"),
        ("class,name\na,one\nb,two,x,y\n", 3, "expected class,name,category"),
        ("class,name\na,one\n\nb,two\na,three\n", 5, "class a is listed twice"),
    ],
)
def test_a_malformed_class_file_is_named_with_its_line(text, line, word):
    with pytest.raises(ValueError) as caught:
        read_class_file(write_classes(text))
    assert str(caught.value).startswith(f"class.csv, line {line}: ")
    assert word in str(caught.value)


def test_a_class_file_that_is_no_text_is_named():
    with pytest.raises(ValueError, match=r"class\.csv"):
        read_class_file(write_classes("class,name\na,Größe\n", encoding="latin-1"))


def test_signs_come_in_the_order_of_the_class_file_else_of_their_names():
    mine = Dataset("mine")
    mine.video_dir.mkdir(parents=True)
    assert mine.signs(["b", "a", "b"]) == [Sign("a", "a"), Sign("b", "b")]
    write_class_file(mine.class_file, [Sign("b", "Bee"), Sign("c", "Sea"), Sign("a", "Ay")])
    assert mine.signs(["a", "b"]) == [Sign("b", "Bee"), Sign("a", "Ay")]
    with pytest.raises(ValueError, match="class.csv lists no d, .*`d,<name>,`"):
        mine.signs(["a", "d"])


def test_a_class_file_is_written_whole_or_not_at_all():
    write_class_file("class.csv", [Sign("a", "one")])
    before = Path("class.csv").read_bytes()
    with pytest.raises(UnicodeEncodeError):
        write_class_file("class.csv", [Sign("b", "two"), Sign("c", "\ud800")])
    assert Path("class.csv").read_bytes() == before
    assert os.listdir() == ["class.csv"]


# --- the split that is made where there is no val


labels = st.sampled_from(["wave", "clap", "circle"])
names = st.text("abcdefghij0123456789", min_size=1, max_size=6)
train_clips = st.sets(st.tuples(labels, names), max_size=60).map(
    lambda pairs: [Clip("train", label, name, Path(name)) for label, name in sorted(pairs)]
)
fractions = st.sampled_from([0.05, 0.1, 0.2, 0.35, 0.5])


@given(train_clips, fractions)
def test_a_split_is_complete_disjoint_and_in_order(clips, fraction):
    train, val = data.split_train_val(clips, fraction)
    assert sorted(train + val) == sorted(clips)
    assert [clip for clip in clips if clip in set(train)] == train
    assert [clip for clip in clips if clip in set(val)] == val


@given(train_clips, fractions)
def test_every_sign_keeps_a_clip_for_training(clips, fraction):
    train, _ = data.split_train_val(clips, fraction)
    assert {clip.label for clip in train} == {clip.label for clip in clips}


@given(train_clips, train_clips, fractions, st.randoms(use_true_random=False))
def test_new_clips_move_few_old_ones(clips, new, fraction, dice):
    """Of each sign at most as many as there are new ones, of which each takes one place."""
    known = set(clips)
    added = [clip for clip in new if clip not in known]
    more = clips + added
    dice.shuffle(more)
    before = set(data.split_train_val(clips, fraction)[1])
    after = set(data.split_train_val(more, fraction)[1]) & known
    for label in {clip.label for clip in clips}:
        moved = [clip for clip in before ^ after if clip.label == label]
        assert len(moved) <= 2 * sum(clip.label == label for clip in added)


@pytest.mark.parametrize(
    ("num_clips", "num_val"), [(1, 0), (2, 0), (3, 1), (5, 1), (10, 2), (14, 3), (100, 20)]
)
def test_every_sign_with_three_clips_has_its_share_of_validation_clips(num_clips, num_val):
    clips = [Clip("train", sign, f"{n:04d}", Path()) for sign in "ab" for n in range(num_clips)]
    _, val = data.split_train_val(clips, 0.2)
    assert [sum(clip.label == sign for clip in val) for sign in "ab"] == [num_val, num_val]


@given(train_clips, fractions)
def test_a_larger_fraction_only_adds_validation_clips(clips, fraction):
    smaller = set(data.split_train_val(clips, fraction / 2)[1])
    assert smaller <= set(data.split_train_val(clips, fraction)[1])


@settings(max_examples=20)
@given(st.integers(0, 10**6), fractions)
def test_the_share_of_validation_clips_is_about_the_fraction(first, fraction):
    clips = [Clip("train", "wave", f"M_{first + n}", Path()) for n in range(600)]
    _, val = data.split_train_val(clips, fraction)
    assert len(val) / 600 == pytest.approx(fraction, abs=0.002)


def test_the_split_of_these_names_never_changes():
    """Runs of other days and machines agree, as the hash is sha256 of `<class>/<name>`."""
    clips = [Clip("train", "wave", f"clip{number}", Path()) for number in range(12)]
    _, val = data.split_train_val(clips, 0.25)
    assert [clip.name for clip in val] == ["clip2", "clip4", "clip9"]


@given(train_clips)
def test_validation_clips_on_disk_are_the_split(clips):
    own = Clip("val", "wave", "mine", Path())
    test = Clip("test", "wave", "other", Path())
    assert data.split_train_val([*clips, own, test], 0.5) == (clips, [own])
    assert data.split_train_val([*clips, test], 0) == (clips, [])


def test_splitting_all_of_chalearn_is_linear_in_the_number_of_clips():
    """Counts how often a clip is hashed: a set that is built once per clip makes it 10 million."""
    counts = []

    class Counted(str):
        def __hash__(self):
            counts.append(1)
            return super().__hash__()

    clips = [Clip("train", "wave", Counted(f"M_{n}"), Path()) for n in range(1000)]
    data.split_train_val(clips, 0.5)
    assert len(counts) < 20_000
