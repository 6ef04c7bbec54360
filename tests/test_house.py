"""The house: imports run downwards on the map in README.md, and what is written down is there.

The map is the table under "Where everything is": a row is a floor, the highest first. A file
imports from lower floors or from its own room, and nothing forms a circle.
"""

import ast
import re
from pathlib import Path

import pytest

from tests.helpers import ROOT

MAP_HEADING = "## Where everything is"
MAX_ROOT_FILES, MAX_ROOM_FILES = 23, 10
APART = ("tests", "benchmarks", "pictures")  # use everything, and nothing uses them


def floors(root):
    """{root file or room, such as "frame.py" or "live/": floor}, from the map."""
    text = (root / "README.md").read_text(encoding="utf-8").partition(MAP_HEADING)[2]
    rows = [line.split("|")[1] for line in text.partition("\n## ")[0].splitlines() if "|" in line]
    places = [re.findall(r"`([\w.]+(?:\.py|/))`", row) for row in rows]
    return {name: -number for number, row in enumerate(places) for name in row}


def root_files(root):
    return sorted(path.name for path in root.glob("*.py"))


def rooms(root):
    return sorted(
        f"{path.parent.name}/"
        for path in root.glob("*/__init__.py")
        if path.parent.name not in APART
    )


def imports(path):
    """Yields the dotted names that a file imports, at its top or inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and "import" in ast.unparse(node.func):
            constants = [item.value for item in node.args if isinstance(item, ast.Constant)]
            yield from (value for value in constants if isinstance(value, str))


def imported_files(root, path):
    """The project's files that a file imports, as paths relative to the root."""
    found = set()
    for name in imports(path):
        first, _, rest = name.partition(".")
        inside = root / first / f"{rest.partition('.')[0]}.py"
        for candidate in (inside, root / first / "__init__.py", root / f"{first}.py"):
            if candidate.is_file():
                found.add(candidate.relative_to(root).as_posix())
                break
    return found - {path.relative_to(root).as_posix()}


def all_imports(root):
    """{file: files that it imports} of everything that is on the map."""
    paths = [root / name for name in root_files(root)]
    for room in rooms(root):
        paths += sorted((root / room).rglob("*.py"))
    return {path.relative_to(root).as_posix(): imported_files(root, path) for path in paths}


def place_of(file):
    """The room that a file lies in, or the file itself."""
    return file.partition("/")[0] + "/" if "/" in file else file


def wrong_places(root):
    """What the map lacks, and what it has too much."""
    there, on_map = {*root_files(root), *rooms(root)}, set(floors(root))
    return [f"{name} is not on the map" for name in sorted(there - on_map)] + [
        f"{name} is on the map, but not there" for name in sorted(on_map - there)
    ]


def upward_imports(root):
    floor = floors(root)
    found = []
    for file, targets in all_imports(root).items():
        for target in sorted(targets):
            here, there = place_of(file), place_of(target)
            if here != there and not floor.get(there, 0) < floor.get(here, 0):
                found.append(f"{file} imports {target}, which is on no lower floor")
    return found


def circle(graph):
    """A list of nodes that form a circle, or []."""
    done = set()

    def follow(node, way):
        if node in way:
            return [*way[way.index(node) :], node]
        if node in done:
            return []
        for target in sorted(graph.get(node, ())):
            if found := follow(target, [*way, node]):
                return found
        done.add(node)
        return []

    return next((found for node in sorted(graph) if (found := follow(node, []))), [])


def circles(root):
    """A circle of files and a circle of rooms, where there are some."""
    files = all_imports(root)
    places = {}
    for file, targets in files.items():
        here = place_of(file)
        places.setdefault(here, set()).update({place_of(target) for target in targets} - {here})
    return [" -> ".join(found) for found in (circle(files), circle(places)) if found]


def problems(root):
    return wrong_places(root) + upward_imports(root) + circles(root)


def test_the_house_stands():
    assert problems(ROOT) == []


def test_rooms_are_small():
    assert len(root_files(ROOT)) <= MAX_ROOT_FILES
    sizes = {room: len(list((ROOT / room).rglob("*.py"))) for room in rooms(ROOT)}
    assert {room: size for room, size in sizes.items() if size > MAX_ROOM_FILES} == {}
    loose = [path for path in ROOT.glob("*/*.py") if f"{path.parent.name}/" not in rooms(ROOT)]
    assert {path.parent.name for path in loose} <= set(APART)


def test_every_room_says_what_lives_there():
    for room in rooms(ROOT):
        text = (ROOT / room / "__init__.py").read_text(encoding="utf-8")
        assert "Uses " in ast.get_docstring(ast.parse(text)), room


MAP = """# House

## Where everything is

| where | what |
|---|---|
| `top.py` | a script |
| `upper/` | a room |
| `lower/` `side/` | two rooms |

## Next

| `elsewhere.py` | not a map |
"""


@pytest.fixture
def house(tmp_path):
    (tmp_path / "README.md").write_text(MAP)
    (tmp_path / "top.py").write_text("import os\nfrom upper import one\n")
    for room in ("upper", "lower", "side"):
        (tmp_path / room).mkdir()
        (tmp_path / room / "__init__.py").write_text("")
    (tmp_path / "upper" / "one.py").write_text("from upper.two import thing\n")
    (tmp_path / "upper" / "two.py").write_text("import lower.three\n")
    (tmp_path / "lower" / "three.py").write_text("")
    (tmp_path / "side" / "four.py").write_text("")
    return tmp_path


def test_a_house_in_order_has_no_problems(house):
    assert problems(house) == []


@pytest.mark.parametrize(
    "line",
    [
        "from upper import one",
        "import upper.one",
        "from upper.one import thing",
        "def later():\n    from upper import one",
        "import importlib\nimportlib.import_module('upper.one')",
    ],
)
def test_an_import_that_runs_upward_is_named_with_both_files(house, line):
    (house / "lower" / "three.py").write_text(line + "\n")
    assert upward_imports(house) == [
        "lower/three.py imports upper/one.py, which is on no lower floor"
    ]


def test_rooms_of_one_floor_do_not_use_each_other(house):
    (house / "lower" / "three.py").write_text("from side import four\n")
    assert upward_imports(house) == [
        "lower/three.py imports side/four.py, which is on no lower floor"
    ]


def test_circles_are_named(house):
    (house / "upper" / "two.py").write_text("def later():\n    import upper.one\n")
    assert circles(house) == ["upper/one.py -> upper/two.py -> upper/one.py"]
    (house / "upper" / "two.py").write_text("from lower import three\n")
    (house / "lower" / "five.py").write_text("from upper import two\n")
    assert circles(house) == ["lower/ -> upper/ -> lower/"]


def test_what_map_and_folder_do_not_share_is_named(house):
    (house / "new.py").write_text("")
    (house / "attic").mkdir()
    (house / "attic" / "__init__.py").write_text("")
    (house / "top.py").unlink()
    assert wrong_places(house) == [
        "attic/ is not on the map",
        "new.py is not on the map",
        "top.py is on the map, but not there",
    ]


def pages():
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def anchors(page):
    """The anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {heading.replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_links_between_pages_resolve(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_files_that_are_named_anywhere_are_there():
    sources = [*pages(), *ROOT.glob("*.py"), *ROOT.glob("[a-z]*/*.py")]
    lacking = []
    for source in sources:
        places = [ROOT, source.parent]
        if "tests" in source.parts or source.name == "CONTRIBUTING.md":
            continue
        for name in re.findall(r"(?<![\w./<*-])((?:\w+/)?\w+\.py)\b", source.read_text("utf-8")):
            is_foreign = name.startswith(
                ("torch/", "npredict")
            )  # of PyTorch; a line break before it
            if not is_foreign and not any((place / name).is_file() for place in places):
                lacking.append(f"{source.relative_to(ROOT)}: {name}")
    assert lacking == []


def test_the_front_page_is_short():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 160 and len(text.split()) <= 1300


def test_every_page_says_what_it_is_for():
    for page in pages():
        lines = page.read_text(encoding="utf-8").splitlines()
        assert lines[0].startswith("# ") and re.match(r"[A-Z]", lines[2]), page.name


def test_scripts_import_first_what_makes_ctrl_c_a_word():
    for path in ROOT.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        if '__name__ == "__main__"' in text:
            imports = re.findall(r"^(?:from|import) .*$", text, re.MULTILINE)
            assert imports[0] == "from common import command_line  # isort: split", path


def test_nothing_edits_where_modules_are_found():
    me = Path(__file__)
    for path in [*ROOT.glob("*.py"), *ROOT.glob("[a-z]*/**/*.py")]:
        text = path.read_text(encoding="utf-8")
        assert path == me or not re.search(r"sys\.path[.\[]|noqa: E402", text), path
