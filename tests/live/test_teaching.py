"""The live demo is taught in its real window: keys from xdotool, drawn clips as cameras."""

import json
import os
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest

from common import class_list, disk
from live import picture
from live.window import character
from tests.helpers import ROOT, write_video
from tests.live.test_window import Desktop, Program, needs_display
from toy.clip import render_clip

SIGNER = "teacher"
SHOWN = os.environ.get("SHOW_DIR")  # where screenshots go, to look at them


@pytest.mark.parametrize(
    ("code", "expected"),
    [(0x61, "a"), (0x41, "a"), (-23, "é"), (0x6D6, "ж"), (0xCF9, "ש"), (0x1004E00, "一")]
    + [(0x7E1, "α"), (0x0D, "\r"), (0x1B, "\x1b"), (-1, None), (0xFF51, None), (0xFFE1, None)],
)
def test_letters_of_any_alphabet_can_be_typed(code, expected):
    assert character(code) == expected


@pytest.fixture
def desktop(tmp_path):
    desktop = Desktop(tmp_path)
    yield desktop
    desktop.close()


@pytest.fixture
def demo(desktop, tmp_path):
    """Starts the live demo with a drawn clip, played over and over, as its camera."""
    programs = []

    def start(sign, number=0, dataset="mine"):
        path = tmp_path / f"{sign}{number}.avi"
        if not path.exists():
            frames, _ = render_clip(sign, SIGNER, f"{sign} {number}")
            write_video(path, np.concatenate([frames[:50]] * 2), fps=10)
        arguments = ("--dataset", dataset, "--camera", path, "--json")
        program = Program(desktop, tmp_path, "Sign language", "livedemo.py", *arguments)
        programs.append(program)
        program.wait(lambda: "ready after" in program.errors)
        program.wait_for(picture.GREEN)
        return program

    yield start
    for program in programs:
        program.process.kill()
        program.process.wait()


def show(program, name):
    if SHOWN:
        time.sleep(0.5)
        cv2.imwrite(f"{SHOWN}/{name}.png", program.desktop.screenshot())


def type_one(program, key):
    """As fast as people type: of keys within one look at the window, Qt hands out the last one."""
    program.press(key)
    time.sleep(0.15)


def teach(program, name, keys):
    program.press("t")
    program.wait_for(picture.ORANGE)
    for key in keys:
        type_one(program, key)
    show(program, f"name-{name}")
    program.press("Return")
    program.wait_for(picture.GREEN)
    keep_one(program, name)


def keep_one(program, name):
    number = program.errors.count("Kept as ")
    program.press("space")
    program.wait_for(picture.RED, 20)
    program.wait_for(picture.BLUE, 20)
    show(program, f"keep-{name}")
    program.press("space")
    program.wait(lambda: program.errors.count("Kept as ") > number)
    program.wait_for(picture.GREEN)
    show(program, f"known-{name}")


def ask(program, name):
    program.press("Escape")
    program.wait_for(picture.GREEN)
    number = program.output.count("\n")
    program.press("space")
    program.wait(lambda: program.output.count("\n") > number)
    program.wait_for(picture.SKY)
    show(program, f"answer-{name}")
    return json.loads(program.output.splitlines()[-1])


def leave(program):
    program.press("q")
    assert program.process.wait(20) == 0
    assert "Traceback" not in program.errors


@needs_display
def test_signs_are_taught_answered_refused_taken_back_and_still_known(demo, tmp_path):
    train = tmp_path / "data_set" / "mine" / "train"
    program = demo("wave")
    show(program, "empty")
    program.press("space")  # nothing is known yet: nothing happens
    program.press("u")
    teach(program, "wave", ["w", "a", "v", "e"])
    assert ask(program, "wave")["ranking"][0]["class"] == "wave"
    leave(program)
    assert [path.name for path in train.glob("wave/*")] == ["0001.avi"]

    program = demo("swipe_up")
    teach(program, "up", ["u", "p", "x", "BackSpace"])
    assert sorted(path.name for path in train.iterdir()) == ["up", "wave"]
    leave(program)

    program = demo("wave")
    answer = ask(program, "wave again")
    assert [sign["class"] for sign in answer["ranking"]][0] == "wave" and answer["sure"]
    leave(program)

    program = demo("clap")
    answer = ask(program, "clap")
    assert not answer["sure"] and answer["unknown"] > 0.5
    teach(program, "clap", ["c", "l", "space", "1"])
    assert (train / "cl 1" / "0001.avi").is_file()
    program.press("u")
    program.wait(lambda: "Deleted" in program.errors)
    assert not (train / "cl 1").exists()
    leave(program)

    program = demo("swipe_up")
    answer = ask(program, "up again")
    assert [sign["class"] for sign in answer["ranking"]][0] == "up" and answer["sure"]
    assert len(answer["ranking"]) == 2
    leave(program)


@needs_display
def test_what_cannot_be_a_sign_is_told_and_esc_leaves(demo, tmp_path):
    program = demo("circle")
    program.press("t")
    program.wait_for(picture.ORANGE)
    for key in ("Return", "slash", "Return"):  # no name, and none of a folder
        type_one(program, key)
    program.wait_for(picture.ORANGE)
    show(program, "bad-name")
    program.press("Escape")
    program.wait_for(picture.GREEN)
    leave(program)
    assert not (tmp_path / "data_set" / "mine").exists()


@needs_display
def test_two_people_cannot_teach_one_data_set_at_once(demo, tmp_path):
    program = demo("circle")
    with disk.lock(tmp_path / "data_set" / ".mine.recording.lock", "busy", remove=True):
        program.press("t")
        program.wait_for(picture.ORANGE)
        type_one(program, "a")
        type_one(program, "Return")
        program.wait_for(picture.ORANGE)
        show(program, "busy")
        program.press("Escape")
        program.wait_for(picture.GREEN)
    teach(program, "a", ["a"])
    leave(program)


@needs_display
def test_a_new_sign_is_added_to_the_class_list(demo, tmp_path):
    listed = tmp_path / "data_set" / "mine" / "class.csv"
    listed.parent.mkdir(parents=True)
    class_list.write_class_file(listed, [class_list.Sign("old", "Old")])
    program = demo("circle")
    teach(program, "a", ["a"])
    leave(program)
    assert [sign.label for sign in class_list.read_class_file(listed)] == ["old", "a"]


def test_a_data_set_and_a_model_do_not_go_together():
    result = subprocess.run(
        [sys.executable, ROOT / "livedemo.py", "--dataset", "mine", "--model", "x"],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 2 and "without --model" in result.stderr
