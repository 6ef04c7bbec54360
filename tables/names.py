"""What the names of videos say: which sign, who signs, which split."""

import re

from tables.reading import Row, Table

FIELDS = ("label", "signer", "split")


def table_of(found):
    """A table of all videos, with their paths alone.

    Args:
        found: `videos.Videos`.
    """
    places = map(found.place, found.paths)
    return Table(["video"], [Row(place, {"video": place}) for place in places], [])


def with_fields(table, column, pattern):
    """A table with the columns that a pattern finds in another one.

    Args:
        table: `reading.Table`.
        column: the name of the column with the names of videos.
        pattern: such as "{label}_{signer}_{}": what they end with, whatever the file's ending; {}
            is anything without a "/".

    Returns:
        `reading.Table`; rows that are not of this form are faults.

    Raises:
        ValueError: the pattern has other names in braces, one of them twice, or fits no row.
    """
    names = [name for name in re.findall(r"{(\w*)}", pattern) if name]
    if not names or len(set(names)) < len(names) or set(names) - set(FIELDS):
        raise ValueError(
            "--names has {label}, {signer} and {split}, each once at most, and {} for anything "
            f"else. Received: {pattern}"
        )
    fits = re.compile(rf"(?:.*/)?{_expression(pattern)}(\.\w+)?")
    rows, faults = [], list(table.faults)
    for row in table.rows:
        if match := fits.fullmatch(row.cells[column].replace("\\", "/")):
            found = {name: match[name] for name in names}
            rows.append(Row(row.where, {**row.cells, **found}))
        else:
            faults.append((row.where, f"{row.cells[column]} is not of the form {pattern}"))
    if not rows:
        raise ValueError(f"No name is of the form {pattern}. The first one: {faults[0][1]}")
    return Table(list(dict.fromkeys([*table.names, *names])), rows, faults)


def _expression(pattern):
    """A regular expression; a field takes as little as possible."""
    parts = re.split(r"{(\w*)}", pattern)
    texts, fields = parts[::2], parts[1::2]
    wild = [f"(?P<{name}>[^/]+?)" if name else "[^/]*?" for name in fields] + [""]
    return "".join(re.escape(text) + part for text, part in zip(texts, wild, strict=True))
