"""Reads a table of videos, whatever its format: CSV, TSV, semicolons, spaces, JSON, JSON lines.

    table = reading.read([Path("labels.csv")])
    table.names             # ["path", "gloss"]
    table.rows[0].cells     # {"path": "a.mp4", "gloss": "hello"}
    table.rows[0].where     # "labels.csv, line 2"

A row that cannot be read is a fault, and the others are read.
"""

import codecs
import collections
import csv
import dataclasses
import io
import json
import re

from common.class_list import same_form
from tables.columns import SPLITS

DELIMITERS = ("\t", ";", ",", "|", " ")  # in this order where several would do
LOOKED_AT = 50  # lines that tell the delimiter
# Words of which a header has at least one.
HEADER_WORDS = frozenset(
    "video videos video_id video_path file files filename file_name path name id clip label labels "
    "class class_id gloss sign word text split set subset partition start end signer signer_id "
    "person subject category".split()
)
BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


@dataclasses.dataclass(frozen=True)
class Row:
    """One row: where it stands, in words, and {column: text}."""

    where: str
    cells: dict


@dataclasses.dataclass
class Table:
    """`names` of columns; `rows`; `faults` is [(where, reason)] of rows that cannot be read."""

    names: list
    rows: list
    faults: list


def read(paths, encoding=None):
    """Reads a table; columns without a header are called "1", "2", ...

    Args:
        paths: list of `Path`, each a part of the table. Of several, those that have a split in
            their names ("train_labels.csv") tell it of their rows.
        encoding: of their text, by default UTF-8, or UTF-16 where a byte order mark says so.

    Returns:
        `Table`.

    Raises:
        FileNotFoundError: a file is not there.
        ValueError: one is no table; the message says why.
    """
    tables = [_read_one(path, encoding) for path in paths]
    splits = [_split_of_name(path) for path in paths]
    if len(paths) > 1 and all(splits):
        for table, split in zip(tables, splits, strict=True):
            for row in table.rows:
                row.cells.setdefault("split", split)
    names = list(dict.fromkeys(name for table in tables for name in table.names))
    if any("split" in row.cells for table in tables for row in table.rows):
        names = list(dict.fromkeys([*names, "split"]))
    rows = [row for table in tables for row in table.rows]
    for row in rows:
        row.cells.update({name: row.cells.get(name, "") for name in names})
    return Table(names, rows, [fault for table in tables for fault in table.faults])


def _split_of_name(path):
    """The split that the name of a file tells, or None."""
    words = re.findall("[a-z]+", path.name.lower())
    return next((SPLITS[word] for word in words if word in SPLITS), None)


def _read_one(path, encoding):
    if not path.is_file():
        raise FileNotFoundError(f"--table is a file. There is no {path}")
    text = _text_of(path, encoding)
    start = text.lstrip()[:1]
    if start in ("[", "{"):
        table = _read_json(path, text)
    else:
        table = _read_delimited(path, text)
    if not table.rows:
        raise ValueError(f"{path} has no rows.")
    return table


def _text_of(path, encoding):
    content = path.read_bytes()
    for mark, name in BYTE_ORDER_MARKS.items():
        if content.startswith(mark):
            encoding = encoding or name
    try:
        return content.decode(encoding or "utf-8")
    except (UnicodeDecodeError, LookupError) as error:
        raise ValueError(
            f"{path} is no text in {encoding or 'UTF-8'} ({error}). Name its encoding, such as "
            "--encoding cp1252, cp949 or gb18030."
        ) from error


def _read_delimited(path, text):
    delimiter = _delimiter_of(text)
    try:
        lines = list(_split(text, delimiter))
    except csv.Error as error:
        raise ValueError(f"{path} is no table: {error}") from error
    if not lines:
        raise ValueError(f"{path} is empty.")
    first = [cell.lower() for cell in lines[0][1]]
    if has_header := bool(HEADER_WORDS & set(first)):
        names = [cell or str(number) for number, cell in enumerate(lines[0][1], start=1)]
        _refuse_repeated(path, names)
    else:
        counted = collections.Counter(len(cells) for _, cells in lines)
        names = [str(number + 1) for number in range(counted.most_common(1)[0][0])]
    rows, faults = [], []
    for line, cells in lines[has_header:]:
        if len(cells) == len(names):
            rows.append(Row(_where(path, line), dict(zip(names, cells, strict=True))))
        else:
            reason = f"{len(cells)} columns instead of {len(names)}"
            faults.append((_where(path, line), reason))
    return Table(names, rows, faults)


def _where(path, line):
    return f"{path.name}, line {line}"


def _delimiter_of(text):
    """What divides the same number of columns in most lines, more than one."""
    lines = [line for line in text.splitlines() if line.strip()][:LOOKED_AT]
    best, most = ",", 0
    for delimiter in DELIMITERS:
        counts = collections.Counter(len(cells) for _, cells in _split("\n".join(lines), delimiter))
        number, times = counts.most_common(1)[0] if counts else (1, 0)
        if number > 1 and times > most:
            best, most = delimiter, times
    return best


def _split(text, delimiter):
    """Yields (line, cells) of lines that are not empty."""
    settings = {"skipinitialspace": True, "strict": False}
    if delimiter == " ":
        text = re.sub(r"[ \t]+", " ", text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, **settings)
    line = 1
    for cells in reader:
        cells = [same_form(cell.strip()) for cell in cells]
        if any(cells):
            yield line, cells
        line = reader.line_num + 1


def _refuse_repeated(path, names):
    repeated = [name for name, times in collections.Counter(names).items() if times > 1]
    if repeated:
        raise ValueError(f"{path}, line 1: there are two columns {repeated[0]}.")


def _read_json(path, text):
    try:
        items = json.loads(text)
        found = [(f"{path.name}, entry {n}", item) for n, item in enumerate(_list_of(items), 1)]
        faults = []
    except ValueError as error:
        found, faults = _json_lines(path, text)
        if not found:
            raise ValueError(f"{path} is no JSON: {error}") from error
    rows = [Row(*row) for where, item in found for row in _numbered(where, list(_flat(item)))]
    return Table(list(dict.fromkeys(name for row in rows for name in row.cells)), rows, faults)


def _numbered(where, rows):
    """(where, row) of the rows of one entry."""
    if len(rows) == 1:
        return [(where, rows[0])]
    return [(f"{where}, instance {number}", row) for number, row in enumerate(rows, 1)]


def _json_lines(path, text):
    """([(where, object)], faults)."""
    found, faults = [], []
    for line, content in enumerate(text.splitlines(), start=1):
        if not content.strip():
            continue
        try:
            found.append((_where(path, line), json.loads(content)))
        except ValueError as error:
            faults.append((_where(path, line), f"no JSON: {error}"))
    return found, faults


def _list_of(items):
    """The rows of a JSON document: a list, {name: row}, or {name: list of rows}."""
    if isinstance(items, list):
        return items
    lists = [value for value in items.values() if isinstance(value, list)]
    if len(lists) == 1 and len(items) == 1:
        return lists[0]
    if all(isinstance(value, dict) for value in items.values()):
        return [{"name": name, **value} for name, value in items.items()]
    return [items]


def _flat(item):
    """Yields the rows of an object: one, or one for each in a list of objects that it holds."""
    if not isinstance(item, dict):
        return
    plain = {
        name: same_form("" if value is None else str(value).strip())
        for name, value in item.items()
        if not isinstance(value, (dict, list))
    }
    inner = [value for value in item.values() if isinstance(value, list)]
    inner = [each for value in inner for each in value if isinstance(each, dict)]
    if not inner:
        yield plain
    for each in inner:
        for cells in _flat(each):
            yield {**plain, **cells}
