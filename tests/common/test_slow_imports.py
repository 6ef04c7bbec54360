"""common/slow_imports.py: Matplotlib under any MPLBACKEND, names in any script without boxes."""

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib import figure

from common import slow_imports
from common.class_list import Sign
from common.video import read_image
from evaluation import confusion
from tests.common.test_surroundings import run_code

KOREAN, CHINESE = "\uc548\ub155", "\u4f60"
# Of fonts that Matplotlib brings along, STIX alone has it.
ARC = "\u2312"


@pytest.fixture
def fonts(monkeypatch):
    """Call it with the names of the fonts that this system is to have besides Matplotlib's own."""

    def set_fonts(*names):
        monkeypatch.setattr(slow_imports, "_installed_fonts", lambda: names)
        forget()

    def forget():
        del slow_imports._used_fonts[1:]
        slow_imports._lacking.clear()

    yield set_fonts
    monkeypatch.undo()
    forget()


@pytest.fixture(autouse=True)
def no_boxes():
    """Matplotlib warns of every letter that it draws as a box."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "nonsense"])
@pytest.mark.parametrize("imported", ["import_keras()", "import_matplotlib('font_manager')"])
def test_a_notebooks_backend_that_is_not_installed_stops_nothing(backend, imported):
    code = (
        f"import os; from common.slow_imports import *; {imported}\n"
        "make_figure(2, 1); print(os.environ['MPLBACKEND'])"
    )
    result = run_code(code, MPLBACKEND=backend)
    assert (result.returncode, result.stdout) == (0, f"{backend}\n"), result.stderr


def test_a_backend_that_is_installed_stays_that_of_the_notebook(tmp_path):
    code = (
        "import sys; from common.slow_imports import *\n"
        f"make_figure(2, 1).savefig({str(tmp_path / 'picture.png')!r})\n"
        "print('matplotlib.pyplot' in sys.modules)\n"
        "import matplotlib; print(matplotlib.get_backend())"
    )
    result = run_code(code, MPLBACKEND="svg")
    assert result.stdout == "False\nsvg\n", result.stderr
    assert read_image(tmp_path / "picture.png").shape == (100, 200, 3)


@pytest.mark.parametrize(
    "text, shown",
    [
        ("se\u00f1al", "se\u00f1al"),
        ("\u03ba\u03b1\u03bb\u03ac", "\u03ba\u03b1\u03bb\u03ac"),
        (
            "\u0421\u043f\u0430\u0441\u0438\u0431\u043e",
            "\u0421\u043f\u0430\u0441\u0438\u0431\u043e",
        ),
        (f"{KOREAN} 1", "annyeong 1"),
        (CHINESE, "[U+4F60]"),
        ("two\nlines\tand \x07", "two lines and [U+0007]"),
        ("broken \udcff bytes", "broken ? bytes"),
        ("costs $1 or $2", r"costs \$1 or \$2"),
        ("", ""),
    ],
)
def test_what_no_font_has_is_spelled_out(fonts, tmp_path, text, shown):
    fonts()
    assert slow_imports.writable(text) == shown
    picture = slow_imports.make_figure(2, 1)
    picture.suptitle(shown)
    picture.savefig(tmp_path / "picture.png")


def test_fonts_of_the_system_are_used_where_they_have_what_is_lacking(fonts, tmp_path):
    fonts()
    assert slow_imports.writable(ARC) == "[arc]"
    fonts("cmr10", "STIXGeneral")
    assert slow_imports.writable(ARC) == ARC
    picture = slow_imports.make_figure(2, 1)
    picture.suptitle(ARC)
    picture.savefig(tmp_path / "picture.png")
    assert (read_image(tmp_path / "picture.png") < 128).any()


def test_every_font_that_is_installed_is_looked_into_but_those_of_boxes():
    assert "STIXGeneral" in slow_imports._installed_fonts()
    for name in ("LastResort", "Unicode BMP Fallback SIL", "Adobe Blank"):
        assert slow_imports.BLANK_FONTS.search(name)
    assert not slow_imports.BLANK_FONTS.search("Droid Sans Fallback")
    assert not slow_imports.BLANK_FONTS.search("DroidSansFallbackFull.ttf")


def test_what_fonts_can_write_is_taken_in_the_place_of_a_name(fonts):
    fonts()
    assert slow_imports.writable(CHINESE, "hello") == "hello"
    assert slow_imports.writable("\u03ba\u03b1\u03bb\u03ac", "hello") == "\u03ba\u03b1\u03bb\u03ac"
    assert slow_imports.writable(KOREAN, CHINESE) == "annyeong"


def test_a_picture_of_confusions_tells_names_and_chance_and_goes_where_it_is_told(
    fonts, tmp_path, monkeypatch
):
    pictures = {}
    save = figure.Figure.savefig

    def keep(self, path, **settings):
        pictures[path.name] = self
        save(self, path, **settings)

    monkeypatch.setattr(figure.Figure, "savefig", keep)
    fonts()
    signs = [Sign(KOREAN, KOREAN), Sign("hello", CHINESE), Sign("a", "$a$"), Sign("b", "b")]
    run = SimpleNamespace(folder=tmp_path / f"{KOREAN}-laptop", signs=signs)
    run.folder.mkdir()
    matrix = np.diag([3, 2, 0, 1])
    confusion.plot_confusion(matrix, run, "test")
    confusion.plot_confusion(matrix, run, "val", run.folder / "confusion-val.png")
    assert sorted(path.name for path in run.folder.iterdir()) == sorted(pictures)
    axis = pictures["confusion.png"].axes[0]
    assert "chance 0.250" in axis.get_title() and "annyeong-laptop" in axis.get_title()
    for labels in (axis.get_xticklabels(), axis.get_yticklabels()):
        assert [label.get_text() for label in labels] == ["annyeong", "hello", r"\$a\$", "b"]
    assert "of val right" in pictures["confusion-val.png"].axes[0].get_title()
