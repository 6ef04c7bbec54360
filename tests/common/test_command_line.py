"""common/command_line.py: options declared once become flags, checks and docstrings."""

import argparse
import dataclasses
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from common import command_line
from common.command_line import (
    COUNT,
    COUNT_OR_0,
    POSITIVE,
    SEED,
    SHARE_BELOW_1,
    SHARE_TO_HALF,
    add_flags,
    check,
    documented,
    folder_name,
    from_flags,
    number_of,
    option,
    options_of,
    quote,
)
from tests.helpers import ENVIRONMENT, ROOT

# As `sitecustomize` it presses Ctrl-C when OpenCV is imported.
CTRL_C_AT_IMPORT = """
import os
import signal
import sys

class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == os.environ["CTRL_C_AT"]:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Finder)
"""


@documented
@dataclasses.dataclass(frozen=True)
class Options:
    """What can be told."""

    name: str | None = option(None, "of the run", folder_name, metavar="NAME")
    number: int = option(3, "how many, 100 % of them", COUNT)
    share: float = option(0.2, "of all", SHARE_TO_HALF, of_default="a fifth")
    units: tuple = option((64, 32), "sizes", COUNT, nargs=2)
    is_on: bool = option(True, "on by itself")
    is_off: bool = option(False, "off by itself")
    kind: str | None = option(None, "one of two", choices=("a", "b"), nargs="?", const="a")

    __post_init__ = check


def parse(*flags):
    parser = argparse.ArgumentParser()
    add_flags(parser, options_of(Options))
    return from_flags(Options, parser.parse_args(flags))


def test_without_flags_options_are_what_they_are_by_themselves():
    assert parse() == Options()


def test_flags_become_options():
    flags = "--name x --number 5 --share 0.5 --units 8 9 --no-is-on --is-off --kind".split()
    assert parse(*flags) == Options("x", 5, 0.5, (8, 9), False, True, "a")


@pytest.mark.parametrize(
    "flags",
    [
        ("--name", "x/y"),
        ("--name", ".."),
        ("--name", "a:b"),
        ("--name", ""),
        ("--number", "0"),
        ("--number", "2.5"),
        ("--number", "many"),
        ("--share", "20"),
        ("--share", "nan"),
        ("--units", "8", "0"),
        ("--kind", "c"),
    ],
)
def test_flags_that_cannot_be_right_are_refused(flags, capsys):
    with pytest.raises(SystemExit):
        parse(*flags)
    assert "received" in capsys.readouterr().err or flags[0] == "--kind"


@pytest.mark.parametrize(
    "wrong",
    [{"name": "x/y"}, {"number": 0}, {"number": 2.5}, {"share": 0.6}, {"units": (8, -1)}]
    + [{"share": float("nan")}, {"kind": "c"}, {"number": None}],
)
def test_python_is_refused_what_the_shell_is(wrong):
    with pytest.raises(ValueError, match=f"--{next(iter(wrong))}: expected .*, received"):
        Options(**wrong)


@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [
        (COUNT, ["1", "20"], ["0", "-1", "1.0", "inf"]),
        (COUNT_OR_0, ["0"], ["-3"]),
        (SEED, ["0", "4294967295"], ["-1", "4294967296", "99999999999999"]),
        (POSITIVE, ["1e-4"], ["0", "-1", "nan", "inf"]),
        (SHARE_BELOW_1, ["0", "0.99"], ["1", "7"]),
        (SHARE_TO_HALF, ["0", "0.5"], ["0.51", "-0.1"]),
    ],
)
def test_numbers_have_bounds(kind, right, wrong):
    for text in right:
        kind(text)
    for text in wrong:
        with pytest.raises(argparse.ArgumentTypeError, match=f"expected {kind.words}, received"):
            kind(text)


def test_the_docstring_lists_every_option_with_its_default():
    assert Options.__doc__.startswith("What can be told.\n\nArgs:\n    name: of the run.\n")
    for line in (
        "    number: how many, 100 % of them (default: 3).",
        "    share: of all (default: a fifth).",
        "    units: sizes (default: 64 32).",
        "    is_on: on by itself.",
    ):
        assert line in Options.__doc__.splitlines()


def test_help_shows_defaults_and_percents(capsys):
    with pytest.raises(SystemExit):
        parse("--help")
    words = " ".join(capsys.readouterr().out.split())
    assert "how many, 100 % of them (default: 3)" in words and "--is-on, --no-is-on" in words


@pytest.mark.skipif("sys.platform == 'win32'", reason="other quotes")
def test_one_is_not_many():
    assert [number_of(count, "clip") for count in (0, 1, 2000)] == [
        "0 clips",
        "1 clip",
        "2,000 clips",
    ]


def test_paths_with_spaces_are_quoted_in_commands():
    assert quote(Path("model/my run")) == "'model/my run'"
    assert quote(Path("model/run")) == "model/run" and quote("it's") == "'it'\"'\"'s'"


@pytest.mark.parametrize("module", ["common.command_line", "argparse", "cv2"])
@pytest.mark.parametrize("script", ["frame.py", "pipeline_i3d.py", "livedemo.py"])
def test_ctrl_c_while_modules_are_imported_is_one_word(script, module, tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(CTRL_C_AT_IMPORT)
    monkeypatch.setenv("CTRL_C_AT", module)
    result = subprocess.run(
        [sys.executable, ROOT / script, "--help"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert result.returncode != 0 and result.stdout == ""
    assert result.stderr == "\nStopped.\n"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "The same command goes on from here."),
        (["--restart"], "Without --restart, the same command goes on from here."),
        (
            ["--restart", "train"],
            "With --resume in place of --restart, the same command goes on from here.",
        ),
    ],
)
def test_what_is_said_after_ctrl_c_is_true_for_the_command_given(flags, words, tmp_path):
    code = "import signal; from common import command_line\n"
    code += "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    settings = {"goes_on": "The same with --resume."} if "train" in flags else {}
    code += f"command_line.run(lambda: signal.raise_signal(signal.SIGINT), **{settings})"
    command = [sys.executable, "-c", code, *flags]
    result = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
    assert result.returncode == 130 and result.stderr.endswith(f"Stopped. {words}\n")


def test_what_takes_long_says_so_again(monkeypatch, capsys):
    monkeypatch.setattr(command_line, "ALIVE_SECONDS", 0.05)
    with command_line.telling("still at work ..."):
        time.sleep(0.3)
    assert 2 <= capsys.readouterr().err.count("still at work ...") <= 6
    time.sleep(0.1)
    assert capsys.readouterr().err == ""


def test_two_silences_in_a_row_are_one(monkeypatch, capsys):
    monkeypatch.setattr(command_line, "ALIVE_SECONDS", 60)
    now = time.monotonic()
    for seconds_ago, told in ((command_line.AT_ONCE_SECONDS, ""), (0, "work ...\n")):
        silence = {"since": now - 100, "end": time.monotonic() - seconds_ago}
        monkeypatch.setattr(command_line, "_silence", silence)
        with command_line.telling("work ..."):
            time.sleep(0.3)
        assert capsys.readouterr().err == told
