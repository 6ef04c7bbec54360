"""Signs and the class.csv that lists them: class,name,category.

Beside it may lie clip.csv, which says who signs: split,class,video,signer.
"""

import csv
import dataclasses
import io
import re
import unicodedata
from pathlib import Path

from common import disk

DRAWN = "toy"  # category of the signs of drawn signers
CLIP_COLUMNS = ("split", "class", "video", "signer")


@dataclasses.dataclass(frozen=True)
class Sign:
    """One class: `label` is its folder name and class id, `name` what a person reads."""

    label: str
    name: str
    category: str = ""


def same_form(name):
    """A name in one of the Unicode forms that look alike: systems and programs write different
    ones."""
    return unicodedata.normalize("NFC", name)


def one_line(text):
    """What can be written: a file's name may hold line breaks, and bytes that are no text."""
    return same_form(re.sub(r"\s", " ", text.encode(errors="replace").decode()))


def spelled_out(text):
    """A text in Latin letters, from the names that Unicode gives to its own; numbers of ideographs.

    The vowel of an Indic letter is the sign that follows: NA, MA, SA, VIRAMA, TA, E is "namaste".
    """
    words = ""
    for character in text:
        name = unicodedata.name(character, "")
        kind, _, sound = re.sub(" (SMALL|CAPITAL)", "", name).rpartition(" ")
        if sound == "VIRAMA":
            words = words.removesuffix("a")
        elif kind.endswith("VOWEL SIGN"):
            words = words.removesuffix("a") + sound.lower()
        elif kind.endswith(("LETTER", "SYLLABLE")):
            words += sound.lower()
        elif name.startswith("THAI CHARACTER"):  # a vowel, a vowel or a tone, a consonant
            first = name.split()[2]
            vowels = {"SARA": sound.lower(), "MAI": "a" if sound == "HAN-AKAT" else ""}
            words += vowels.get(first, first[0].lower())
        else:
            is_unnamed = not name or name.startswith("CJK")
            words += f"[U+{ord(character):04X}]" if is_unnamed else f"[{name.lower()}]"
    return words


def read_class_file(path):
    """Reads a class.csv.

    Returns:
        list of `Sign`, in file order.

    Raises:
        ValueError: wrong columns, an empty or repeated class; the message has file and line.
    """
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.reader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is no readable CSV file in UTF-8: {error}") from error
    if not rows or [cell.strip() for cell in rows[0][:2]] != ["class", "name"]:
        raise ValueError(
            f"{path}, line 1: expected the header class,name,category. "
            f"Received: {','.join(rows[0]) if rows else 'an empty file'}"
        )
    signs = {}
    for line, row in enumerate(rows[1:], start=2):
        if not any(cell.strip() for cell in row):
            continue
        cells = [same_form(cell.strip()) for cell in row] + ["", ""]
        if not cells[0] or len(row) > 3:
            raise ValueError(f"{path}, line {line}: expected class,name,category. Received: {row}")
        if cells[0] in signs:
            raise ValueError(f"{path}, line {line}: class {cells[0]} is listed twice.")
        signs[cells[0]] = Sign(cells[0], cells[1] or cells[0], cells[2])
    return list(signs.values())


def write_class_file(path, signs):
    """Writes `signs` to a class.csv, in their order."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["class", "name", "category"])
    writer.writerows([sign.label, sign.name, sign.category] for sign in signs)
    disk.write_atomically(Path(path), text.getvalue())


def read_signers(path):
    """{(split, class, video): signer} of a clip.csv; {} where there is none.

    Raises:
        ValueError: it has other columns.
    """
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    if rows and not set(CLIP_COLUMNS) <= set(rows[0]):
        raise ValueError(f"{path}, line 1: expected the header {','.join(CLIP_COLUMNS)}.")
    return {tuple(same_form(row[name]) for name in CLIP_COLUMNS[:3]): row["signer"] for row in rows}


def write_signers(path, signers):
    """Writes {(split, class, video): signer} to a clip.csv."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CLIP_COLUMNS)
    writer.writerows([*place, signer] for place, signer in sorted(signers.items()))
    disk.write_atomically(path, text.getvalue())
