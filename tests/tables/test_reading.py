"""Tables of every format, and what is wrong in them."""

import json

import pytest

from tables import reading

ROWS = [
    {"path": "a.mp4", "gloss": "hello", "split": "train"},
    {"path": "b c.mp4", "gloss": "thank you", "split": "test"},
]


def table_of(tmp_path, content, **how):
    path = tmp_path / "table"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return reading.read([path], **how)


def wheres(table):
    return [row.where for row in table.rows]


def cells(table):
    return [row.cells for row in table.rows]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimited_with_a_header(tmp_path, delimiter):
    lines = [delimiter.join(ROWS[0]), *(delimiter.join(row.values()) for row in ROWS)]
    table = table_of(tmp_path, "\r\n".join(lines))
    assert table.names == ["path", "gloss", "split"] and cells(table) == ROWS
    assert wheres(table) == ["table, line 2", "table, line 3"] and table.faults == []


def test_without_a_header_columns_have_numbers(tmp_path):
    table = table_of(tmp_path, "signer0_sample1,41\nsigner1_sample2,7\n")
    assert cells(table) == [
        {"1": "signer0_sample1", "2": "41"},
        {"1": "signer1_sample2", "2": "7"},
    ]
    assert wheres(table) == ["table, line 1", "table, line 2"]


def test_spaces_and_labels_with_spaces_between_semicolons(tmp_path):
    assert cells(table_of(tmp_path, "a.avi   3\nb.avi 4\n"))[1] == {"1": "b.avi", "2": "4"}
    assert cells(table_of(tmp_path, "34870;Drumming Fingers\n56557;Sliding Two Fingers Left\n"))[
        1
    ] == {"1": "56557", "2": "Sliding Two Fingers Left"}


def test_quotes_and_empty_lines(tmp_path):
    table = table_of(tmp_path, 'video,label\n\n"a,1.mp4","to\nsign"\nb.mp4,no\n')
    assert cells(table) == [
        {"video": "a,1.mp4", "label": "to\nsign"},
        {"video": "b.mp4", "label": "no"},
    ]
    assert wheres(table) == ["table, line 3", "table, line 5"]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(ROWS),
        "\n".join(map(json.dumps, ROWS)),
        json.dumps({"database": ROWS}),
        json.dumps([{"gloss": row["gloss"], "instances": [row]} for row in ROWS]),
    ],
)
def test_json(tmp_path, text):
    assert [dict(sorted(row.items())) for row in cells(table_of(tmp_path, text))] == [
        dict(sorted(row.items())) for row in ROWS
    ]


def test_json_by_name(tmp_path):
    table = table_of(tmp_path, json.dumps({"00335": {"subset": "train", "action": [12, 1, 55]}}))
    assert cells(table) == [{"name": "00335", "subset": "train"}]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-8"])
def test_encodings_that_tell_themselves(tmp_path, encoding):
    table = table_of(tmp_path, "video,label\na.mp4,수어\n".encode(encoding))
    assert cells(table) == [{"video": "a.mp4", "label": "수어"}]


def test_other_encodings_are_asked_for(tmp_path):
    content = "video,label\na.mp4,수어\n".encode("cp949")
    with pytest.raises(ValueError, match="--encoding"):
        table_of(tmp_path, content)
    assert cells(table_of(tmp_path, content, encoding="cp949"))[0]["label"] == "수어"


def test_rows_with_too_few_columns_are_told_by_line(tmp_path):
    table = table_of(tmp_path, "video,label\na.mp4,x\nb.mp4\nc.mp4,y\n")
    assert wheres(table) == ["table, line 2", "table, line 4"]
    assert table.faults == [("table, line 3", "1 columns instead of 2")]
    table = table_of(tmp_path, '{"video": "a"}\n{"video": \n{"video": "c"}\n')
    assert wheres(table) == ["table, line 1", "table, line 3"]
    assert table.faults[0][0] == "table, line 2"


@pytest.mark.parametrize("text", ["", "\n\n", "[]", "video,label\n", "{", "video,video\na,b\n"])
def test_what_is_no_table_is_refused(tmp_path, text):
    with pytest.raises(ValueError, match="table"):
        table_of(tmp_path, text)


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="no_such"):
        reading.read([tmp_path / "no_such.csv"])


def test_parts_of_a_table_tell_their_split_by_their_names(tmp_path):
    for name in ("train_labels.csv", "validation_labels.csv"):
        (tmp_path / name).write_text("a,1\nb,2\n")
    parts = sorted(tmp_path.iterdir())
    table = reading.read(parts)
    assert [row.cells["split"] for row in table.rows] == ["train", "train", "val", "val"]
    assert table.rows[2].where == "validation_labels.csv, line 1"
    assert "split" not in reading.read(parts[:1]).names
