"""prepare_table.py: tables of the published shapes, wrong rows, cuts, people."""

import csv
import json

import cv2
import pytest

import prepare_table
from common import dataset as data
from common.class_list import read_class_file, read_signers
from common.video import open_video
from tests.helpers import moving_square, numbered_frames, numbers_of, run_script, write_video

FRAMES = 12


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def videos(folder, *names, num_frames=FRAMES):
    for number, name in enumerate(names):
        write_video(folder / "videos" / name, moving_square(num_frames, (number, 1), (40, 48)))


def write_csv(path, *rows, delimiter=","):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return path


@pytest.fixture
def prepare(folder, capsys):
    """Runs the script in this process, as `run_script` does in one of its own."""

    def run(*flags, check=0):
        flags = ("--dataset", "any", "--videos", folder / "videos", "--workers", 1, *flags)
        try:
            status, problem = prepare_table.main(list(map(str, flags))), ""
        except (OSError, ValueError) as error:
            status, problem = 1, str(error)
        assert status == check, problem
        return capsys.readouterr().out + problem

    return run


def places(folder):
    below = folder / "data_set" / "any"
    paths = [path for path in below.rglob("*") if path.is_file() and path.name[0] != "."]
    return sorted(path.relative_to(below).as_posix() for path in paths if path.suffix != ".csv")


def num_frames(path):
    with open_video(path) as video:
        return sum(1 for _ in iter(video.grab, False))


def frames_of(path):
    frames = []
    with open_video(path) as video:
        while True:
            is_read, image = video.read()
            if not is_read:
                return frames
            frames.append(image)


def test_wlasl(folder, prepare):
    videos(folder, "00001.avi", "00002.avi", "00003.avi")
    shared = {"fps": 25, "url": "http://x/y.mp4", "source": "asl", "bbox": [1, 2, 3, 4]}
    rows = [
        ("book", "00001", "train", 1, -1, 118),
        ("book", "00002", "test", 3, 9, 90),
        ("drink", "00003", "val", 1, -1, 118),
        ("drink", "00099", "train", 1, -1, 5),
        ("drink", "00002", "train", 5, 4, 5),
    ]
    keys = ("video_id", "split", "frame_start", "frame_end", "signer_id")
    table = [
        {
            "gloss": gloss,
            "instances": [{**shared, **dict(zip(keys, row[1:], strict=True))} for row in group],
        }
        for gloss, group in (("book", rows[:2]), ("drink", rows[2:]))
    ]
    (folder / "WLASL.json").write_text(json.dumps(table))
    result = prepare("--table", "WLASL.json", check=1)
    assert "video_id: video, gloss: label, split: split, signer_id: signer" in result
    assert "frame_start: start, frame_end: end (in frames, the first one is 1)" in result
    assert "failed: WLASL.json, entry 2, instance 2: there is no video 00099" in result
    assert "entry 2, instance 3: the end 4 is not after the start 5" in result
    cut = "test/book/00002_3-9.avi"
    assert places(folder) == [cut, "train/book/00001.avi", "val/drink/00003.avi"]
    assert num_frames(folder / "data_set/any" / cut) == 7  # from the third to the ninth
    assert num_frames(folder / "data_set/any/train/book/00001.avi") == FRAMES
    signers = read_signers(folder / "data_set/any/clip.csv")
    assert signers[("test", "book", "00002_3-9")] == "90"


def test_autsl(folder, prepare):
    videos(folder, "signer0_sample1_color.avi", "signer1_sample2_color.avi")
    write_video(folder / "videos/signer0_sample1_depth.avi", moving_square(5, (1, 1)))
    write_csv(folder / "train_labels.csv", ["signer0_sample1", 41])
    write_csv(folder / "validation_labels.csv", ["signer1_sample2", 3])
    tables = ("--table", "train_labels.csv", "validation_labels.csv")
    result = prepare(*tables, "--names", "{signer}_{}")
    assert "1: video, 2: label, split: split, signer: signer" in result
    assert "people: 1 in train, 1 in val" in result
    assert places(folder) == [
        "train/41/signer0_sample1_color.avi",
        "val/3/signer1_sample2_color.avi",
    ]


def test_jester(folder, prepare):
    for name, count in (("34870", 5), ("56557", 12)):
        (folder / "videos" / name).mkdir(parents=True)
        for number, image in enumerate(numbered_frames(count), start=1):
            cv2.imwrite(str(folder / "videos" / name / f"{number}.jpg"), image)
    write_csv(folder / "jester-v1-train.csv", ["34870", "Drumming Fingers"], delimiter=";")
    write_csv(folder / "jester-v1-validation.csv", ["56557", "Swiping Left"], delimiter=";")
    tables = ("--table", "jester-v1-train.csv", "jester-v1-validation.csv")
    prepare(*tables, "--fps", 12)
    assert places(folder) == ["train/Drumming Fingers/34870.avi", "val/Swiping Left/56557.avi"]
    path = folder / "data_set/any/val/Swiping Left/56557.avi"
    assert numbers_of(frames_of(path)[0][None]) == [0]
    assert [numbers_of(frame[None])[0] for frame in frames_of(path)] == list(range(12))


def test_lsa64_and_karsl_by_their_names(folder, prepare):
    videos(folder, "001_001_001.avi", "001_002_001.avi", "064_001_001.avi")
    result = prepare("--names", "{label}_{signer}_{}", "--split-by", "signer")
    assert "people: 1 in train, 1 in test" in result
    assert len(places(folder)) == 3
    found = {(place.split("/")[0], place.split("_")[-2]) for place in places(folder)}
    assert len(found) == 2  # each person in one split
    videos(folder, "karsl/03/train/0071/03_03_0071_(10_11)_c.avi")
    result = prepare("--names", "{signer}/{split}/{label}/{}", "--dataset", "karsl", check=1)
    assert "failed: 001_001_001.avi: 001_001_001.avi is not of the form" in result
    path = "data_set/karsl/train/0071/03_03_0071_(10_11)_c.avi"
    assert (folder / path).is_file()


def test_every_wrong_row_is_named_and_the_others_are_done(folder, prepare):
    videos(folder, "a.avi", "b.avi", "c.avi", "d.avi", "x/e.avi", "y/e.avi")
    (folder / "videos" / "broken.avi").write_bytes(b"no video")
    write_csv(
        folder / "t.csv",
        ["file", "word", "start", "end", "set"],
        ["a.avi", "yes/no", "", "", "training"],
        ["./b.avi", "../../evil", "0.2", "0.8", "train"],
        ["c.avi", "hello", "5", "2", "train"],
        ["missing.avi", "hello", "", "", "train"],
        ["d.avi", "hello", "", "", "train"],
        ["d.avi", "hello", "", "", "train"],
        ["e.avi", "hello", "", "", "train"],
        ["x/e.avi", "hello", "", "", "dev"],
        ["c.avi", "", "", "", "train"],
        ["c.avi", "hello", "soon", "", "train"],
        ["c.avi", "hello", "", "", "some"],
        ["c.avi", "hello", "90", "91", "test"],
        ["broken.avi", "hello", "0.1", "0.3", "test"],
    )
    result = prepare("--table", "t.csv", check=1)
    failures = dict(
        line.removeprefix("failed: t.csv, line ").split(":", 1)
        for line in result.splitlines()
        if line.startswith("failed")
    )
    assert sorted(map(int, failures)) == [4, 5, 7, 8, 10, 11, 12, 13, 14]
    assert "not after the start" in failures["4"] and "no video missing.avi" in failures["5"]
    assert "same clip as in t.csv, line 6" in failures["7"]
    assert "any of 2 videos" in failures["8"] and "no label" in failures["10"]
    assert "no number" in failures["11"] and "no split" in failures["12"]
    assert "no frame of the video lies between" in failures["13"]
    assert "4 done, 0 skipped, 9 failed" in result
    assert places(folder) == [
        "train/_.._evil/b_0.2-0.8.avi",
        "train/hello/d.avi",
        "train/yes_no/a.avi",
        "val/hello/e.avi",
    ]
    signs = read_class_file(folder / "data_set/any/class.csv")
    assert [(sign.label, sign.name) for sign in signs][-1] == ("yes_no", "yes/no")
    assert "folder yes_no: sign yes/no" in result
    assert {path.name for path in folder.iterdir()} == {"videos", "t.csv", "data_set"}
    again = prepare("--table", "t.csv", check=1)
    assert "0 done, 4 skipped, 9 failed" in again
    assert [path.name for path in (folder / "data_set").iterdir()] == ["any"]


def test_another_table_removes_what_the_first_one_made_and_nothing_else(folder, prepare):
    videos(folder, *(f"{label}_{who}_1.avi" for label in "ab" for who in ("ann", "bob", "cem")))
    prepare("--names", "{label}_{signer}_{}", "--split-by", "signer")
    own = folder / "data_set/any/train/a/own.avi"
    write_video(own, moving_square(5, (1, 1)))
    assert len({place.split("/")[0] for place in places(folder)}) > 1
    result = prepare("--names", "{label}_{signer}_{}")
    assert "clips of an earlier table removed, such as test/" in result
    assert len(places(folder)) == 7 and all(p.startswith("train/") for p in places(folder))
    assert own.is_file()
    (folder / "videos/a_ann_1.avi").rename(folder / "away.avi")
    (folder / "videos/odd.avi").write_bytes(b"x")
    mixed = prepare("--names", "{label}_{signer}_{}", "--split-by", "signer", check=1)
    assert (folder / "data_set/any/train/a/a_ann_1.avi").is_file()  # its row may come back
    assert (
        "Clips of an earlier table that stay, for some rows are wrong: 1, such as train/a/" in mixed
    )
    names = [place.split("/")[-1] for place in places(folder)]
    assert len(names) == len(set(names)) == 7  # nobody is in two splits


def test_a_whole_video_is_the_same_bytes_and_costs_no_disk(folder, prepare):
    videos(folder, "a.avi", "b.avi")
    write_csv(folder / "t.csv", ["video", "label"], ["a", "x"], ["b", "y"])
    prepare("--table", "t.csv")
    target = folder / "data_set/any/train/x/a.avi"
    assert target.stat().st_nlink == 2
    prepare("--table", "t.csv", "--dataset", "copied", "--copy")
    target = folder / "data_set/copied/train/x/a.avi"
    assert target.stat().st_nlink == 1
    assert target.read_bytes() == (folder / "videos/a.avi").read_bytes()


def test_seconds_and_frames(folder, prepare):
    write_video(folder / "videos/long.avi", numbered_frames(40), fps=10)
    write_csv(
        folder / "t.csv",
        ["video", "label", "start", "end"],
        ["long", "a", "1.0", "2.5"],
        ["long", "b", "3.0", ""],
        ["long", "c", "", "0.5"],
    )
    prepare("--table", "t.csv")
    root = folder / "data_set/any/train"
    seen = [
        [numbers_of(frame[None])[0] for frame in frames_of(next((root / label).glob("*.avi")))]
        for label in "abc"
    ]
    assert seen == [list(range(10, 25)), list(range(30, 40)), list(range(5))]
    prepare("--table", "t.csv", "--unit", "frames", "--dataset", "frames", check=1)


def test_columns_that_cannot_be_guessed_are_named(folder, prepare):
    videos(folder, "a.avi", "b.avi")
    table = write_csv(folder / "t.csv", ["video", "one", "two"], ["a", "x", "u"], ["b", "y", "u"])
    prepare("--table", "t.csv", "--label-column", "one")
    assert places(folder) == ["train/x/a.avi", "train/y/b.avi"]
    result = prepare("--table", "t.csv", "--label-column", "three", check=1)
    assert "no column three" in result and "video, one, two" in result
    write_csv(table, ["video", "label"], ["c", "x"])
    assert "No column names videos" in prepare("--table", "t.csv", check=1)
    result = prepare("--table", "t.csv", "--videos", "nowhere", check=1)
    assert "There is no nowhere" in result
    assert "--split-by signer needs" in (
        prepare("--names", "{label}", "--split-by", "signer", "--dataset", "other", check=1)
    )


def test_from_a_table_to_a_recogniser_that_is_judged_on_new_people(folder, prepare):
    rows = [["video", "sign", "split", "signer"]]
    for label, step in (("left", -1), ("right", 1)):
        for number, (split, signer) in enumerate(
            [("train", "ann"), ("train", "bob"), ("test", "ann"), ("test", "cem")]
        ):
            name = f"{label}{number}.avi"
            clip = moving_square(12, (1.5 * step, 0.1 * number), (70, 92))
            write_video(folder / "videos" / name, clip)
            rows.append([name, label, split, signer])
    write_csv(folder / "t.csv", *rows)
    prepare("--table", "t.csv")
    result = run_script(
        *("pipeline_nearest.py", "--dataset", "any", "--preset", "laptop"), cwd=folder, check=0
    )
    assert "people of whom no clip was trained on: 1.000 of 2 clips of 1 person" in result.stdout


def test_from_python(folder):
    from tables import reading
    from tables.videos import Videos

    videos(folder, "a.avi", "b.avi")
    table = reading.read([write_csv(folder / "t.csv", ["video", "label"], ["a", "x"], ["b", "y"])])
    dataset = data.Dataset("any", root=folder)
    report = prepare_table.prepare(dataset, table, Videos(folder / "videos"), workers=1)
    assert report.done == 2 and len(dataset.videos()) == 2
