"""What the command lines of all scripts share: options declared once, and how a script ends.

An `Option` says all about one setting. Where the fields of a frozen dataclass are made with
`option`, flags, checks and docstring come from them:

    @documented
    @dataclasses.dataclass(frozen=True)
    class Options:
        seed: int = option(0, "of weights and order", SEED)

        __post_init__ = check

    add_flags(parser, options_of(Options))
    options = from_flags(Options, parser.parse_args())
"""

import argparse
import contextlib
import dataclasses
import glob
import math
import os
import re
import shlex
import sys
import threading
import time
from pathlib import Path
from typing import Any

from common import PROJECT_DIR

PROJECT = Path(PROJECT_DIR)
ANEW = ("--restart", "--rebuild")  # flags of commands that begin anew whenever they are given
ALIVE_SECONDS, AT_ONCE_SECONDS = 3, 0.5
LARGE = {"keras", "openvino", "tensorflow"}
FORBIDDEN = '<>:"/\\|?*'  # in file names, on one system or another
REQUIRED = object()  # as the default of an option that has none
_silence = {"since": 0.0, "end": -math.inf}  # the last one that `telling` ended


@dataclasses.dataclass(frozen=True)
class Number:
    """An `argparse` type: a number that is right.

    Args:
        kind: int or float.
        is_right: function of a number.
        words: which numbers are, for messages.
    """

    kind: type
    is_right: Any
    words: str

    def __call__(self, text):
        try:
            value = self.kind(text)
        except (OverflowError, TypeError, ValueError):
            value = math.nan
        # Python's callers give numbers, and 2.7 is no whole one.
        if not self.is_right(value) or not (isinstance(text, str) or value == text):
            raise argparse.ArgumentTypeError(f"expected {self.words}, received {text}")
        return value


COUNT = Number(int, lambda value: value >= 1, "a whole number above 0")
COUNT_OR_0 = Number(int, lambda value: value >= 0, "a whole number, 0 or more")
POSITIVE = Number(float, lambda value: 0 < value < math.inf, "a number above 0")
SHARE = Number(float, lambda value: 0 <= value <= 1, "a number from 0 to 1")
SHARE_BELOW_1 = Number(float, lambda value: 0 <= value < 1, "a number from 0 to below 1")
SHARE_TO_HALF = Number(float, lambda value: 0 <= value <= 0.5, "a number from 0 to 0.5")
LEARNING_RATE = Number(float, lambda value: 0 < value <= 10, "a number above 0, up to 10")
SEED = Number(int, lambda value: 0 <= value < 2**32, "a whole number from 0 to 4294967295")


def folder_name(text):
    """An `argparse` type: the plain name of a folder."""
    is_odd = not text or Path(text).name != text or text.startswith(".")
    if is_odd or set(text) & set(FORBIDDEN):
        raise argparse.ArgumentTypeError(f"expected the plain name of a folder, received {text!r}")
    return text


@dataclasses.dataclass(frozen=True)
class Option:
    """One setting: what it means, which values are right, and which one it has by itself.

    Args:
        default: its value where it is not given, or `REQUIRED`. An option that is False can be
            switched on by its flag, one that is True can be switched off by `--no-<name>`.
        help: a line, for --help and for docstrings.
        kind: `argparse` type: from text to value, raises where it is wrong.
        choices: the values that are right.
        metavar, nargs, const: as in `argparse`.
        is_recorded: whether run.json tells it, so that a run is resumed with the same.
        of_default: what --help says of the default, by default its value.
    """

    default: Any
    help: str
    kind: Any = None
    choices: Any = None
    metavar: Any = None
    nargs: Any = None
    const: Any = None
    is_recorded: bool = False
    of_default: str = ""

    def text(self):
        """`help` with the default, for --help and for docstrings."""
        default = self.of_default
        has_none = self.default in (None, REQUIRED) or isinstance(self.default, bool)
        if not default and not has_none:
            is_tuple = isinstance(self.default, tuple)
            default = " ".join(map(str, self.default)) if is_tuple else self.default
        return f"{self.help} (default: {default})" if default != "" else self.help

    def field(self):
        """A field of a dataclass that is this option."""
        default = dataclasses.MISSING if self.default is REQUIRED else self.default
        return dataclasses.field(default=default, metadata={"option": self})

    def check(self, name, value):
        """Raises ValueError where `value` is wrong."""
        if value == self.default:
            return
        values = value if self.nargs and isinstance(value, (list, tuple)) else [value]
        try:
            for each in values:
                if self.kind is not None:
                    self.kind(each)
                if self.choices is not None and each not in self.choices:
                    choices = ", ".join(map(str, self.choices))
                    raise argparse.ArgumentTypeError(f"expected {choices}, received {each}")
        except argparse.ArgumentTypeError as error:
            raise ValueError(f"{flag_of(name)}: {error}") from error


def option(*arguments, **settings):
    """A field of a dataclass with an `Option`, whose arguments these are."""
    return Option(*arguments, **settings).field()


def options_of(options_class):
    """{name: `Option`} of the fields of a dataclass that have one."""
    fields = dataclasses.fields(options_class)
    return {field.name: field.metadata["option"] for field in fields if "option" in field.metadata}


def flag_of(name):
    return f"--{name.replace('_', '-')}"


def add_flags(parser, options, **defaults):
    """Adds a flag for each option to an `argparse` parser.

    Args:
        parser: `argparse` parser.
        options: {name: `Option`}.
        defaults: of this script, by name.
    """
    for name, declared in options.items():
        if name in defaults:
            declared = dataclasses.replace(declared, default=defaults[name])
        settings = {key: getattr(declared, key) for key in ("choices", "metavar", "nargs", "const")}
        settings = {"type": declared.kind, **settings, "default": declared.default}
        if declared.default is REQUIRED:
            settings = {**settings, "default": None, "required": True}
        elif isinstance(declared.default, bool):
            is_on = declared.default
            settings = {"action": argparse.BooleanOptionalAction if is_on else "store_true"}
            settings["default"] = is_on
        settings = {key: value for key, value in settings.items() if value is not None}
        settings["help"] = declared.text().replace("%", "%%")
        parser.add_argument(flag_of(name), **settings)


def from_flags(options_class, args):
    """The instance of a dataclass that parsed flags ask for."""
    given = {name: getattr(args, name) for name in options_of(options_class)}
    return options_class(
        **{
            name: tuple(value) if isinstance(value, list) else value
            for name, value in given.items()
        }
    )


def check(options):
    """Raises ValueError where a field of a dataclass has a value that its `Option` refuses."""
    for name, declared in options_of(type(options)).items():
        declared.check(name, getattr(options, name))


def documented(options_class):
    """A decorator: a dataclass whose docstring lists its options."""
    lines = [
        f"    {name}: {declared.text()}." for name, declared in options_of(options_class).items()
    ]
    options_class.__doc__ = "\n".join([options_class.__doc__.rstrip(), "", "Args:", *lines])
    return options_class


def quote(path):
    """A path or name as it is typed in a shell, in a command that the program recommends."""
    text = path.as_posix() if isinstance(path, Path) else str(path)
    if os.name == "nt":
        return f'"{text}"' if re.search(r"[^\w./:\\-]", text) else text
    return shlex.quote(text)


def expanded(text):
    """What a path or pattern stands for, where the shell has expanded neither `~` nor `*`.

    Returns:
        list of `Path`: the path itself where it is there, else those that match, sorted; none where
        nothing does.
    """
    try:
        path = Path(text).expanduser()
    except RuntimeError:  # the home of somebody who is not known here
        path = Path(text)
    if path.exists():
        return [path]
    return sorted(map(Path, glob.glob(str(path)))) if glob.has_magic(str(path)) else []


def some_of(names, most=5):
    """The first of several names, in words."""
    names = list(names)
    return ", ".join(names[:most]) + ", ..." * (len(names) > most)


def number_of(count, word):
    """A number and what is counted, such as "1 clip" or "2 clips"."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def make_parser(docstring):
    """An `argparse` parser that shows a script's docstring as it is."""
    return argparse.ArgumentParser(
        description=docstring, formatter_class=argparse.RawDescriptionHelpFormatter
    )


@contextlib.contextmanager
def telling(words, descriptor=None):
    """Inside, `words` go to the terminal every few seconds: nothing that takes long is silent.

    Args:
        words: a line.
        descriptor: of the file to write to where stderr leads nowhere meanwhile.
    """
    has_ended = threading.Event()
    now = time.monotonic()
    # What follows at once on another silence goes on with it.
    since = _silence["since"] if now - _silence["end"] < AT_ONCE_SECONDS else now

    def tell():
        nonlocal since
        while not has_ended.wait(since + ALIVE_SECONDS - time.monotonic()):
            since = time.monotonic()
            if descriptor is None:
                print(words, file=sys.stderr, flush=True)
            else:
                os.write(descriptor, f"{words}\n".encode())

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        has_ended.set()
        thread.join()
        _silence.update(since=since, end=time.monotonic())


def run(main, waits=True, goes_on="The same command goes on from here."):
    """Runs a script's `main()` and exits: a wrong input is a message, not a traceback.

    `python -X dev SCRIPT` shows the traceback all the same.

    Args:
        main: returns the exit status, or None for 0.
        waits: where it is False, the program ends whatever its threads are doing: a camera's driver
            may never return, and an answer is not waited for.
        goes_on: what is said after Ctrl-C.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a name that the terminal cannot show ends nothing
            stream.reconfigure(errors="backslashreplace")
    _tell_folder()
    try:
        status = main() or 0
        sys.stdout.flush()
    except KeyboardInterrupt:
        if waits:
            if goes_on and (again := [flag for flag in ANEW if flag in sys.argv]):
                instead = f"With --resume in place of {again[0]}"
                how = instead if "--resume" in goes_on else f"Without {again[0]}"
                goes_on = f"{how}, the same command goes on from here."
            print(f"\nStopped. {goes_on}".rstrip(), file=sys.stderr, flush=True)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what libraries say while they end
        # TensorFlow's threads that read clips would keep an ordinary exit waiting for ever.
        status, waits = 130, False
    except BrokenPipeError:  # whoever read the output, such as `head`, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    except (OSError, ValueError) as error:
        if sys.flags.dev_mode:
            raise
        print(f"error: {error}", file=sys.stderr)
        status = 1
    # Large libraries take seconds to clear what ends with the process anyway.
    if not waits or LARGE & set(sys.modules):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def _tell_folder():
    """Says where a command looks and writes, where that is not the project itself."""
    here = Path.cwd()
    if here != PROJECT and not {"-h", "--help"} & set(sys.argv):
        names = "data_set/, data_temp/ and model/"
        print(f"Working in {here}: {names} are read and written there.", file=sys.stderr)
