"""Where listed videos lie: in a zip or in folders, and how one of them is fetched.

A path of a label list is looked up by what follows its split: `valid/001/M_00001.avi` is found as
`IsoGD/val/001/M_00001.avi` too. A name from inside a zip never becomes a path on disk.
"""

import dataclasses
import functools
import os
import shutil
import stat
import zipfile
import zlib
from pathlib import Path

from chalearn.label_list import is_plain, name_of, with_slashes

ZIP_NAMES = {
    "train": ("train.zip", "isogd_phase_1.zip"),
    "val": ("val.zip", "valid.zip", "isogd_phase_1.zip"),
    "test": ("test.zip", "isogd_phase_2.zip"),
}
FOLDER_NAMES = {"train": ("train",), "val": ("val", "valid"), "test": ("test",)}
SPLIT_OF_FOLDER = {name: split for split, names in FOLDER_NAMES.items() for name in names}
CHUNK_BYTES = 1 << 20
ENCRYPTED = 0x1
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)


@dataclasses.dataclass(frozen=True)
class Member:
    """One video in a zip."""

    archive: Path
    name: str
    num_bytes: int
    crc: int

    def is_content_of(self, path):
        """Whether the file `path` has this member's bytes, by size and CRC."""
        if path.stat().st_size != self.num_bytes:
            return False
        crc = 0
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                crc = zlib.crc32(chunk, crc)
        return crc == self.crc


@dataclasses.dataclass(frozen=True)
class Refused:
    """A video that cannot be had, and why."""

    reason: str


class ZipSource:
    """The videos of one zip.

    Raises:
        ValueError: `path` is no whole zip.
    """

    def __init__(self, path):
        self.path = path
        self.members, self.unsafe = {}, []
        try:
            with zipfile.ZipFile(path) as archive:
                infos = archive.infolist()
        except (*DAMAGE, ValueError) as error:
            raise ValueError(
                f"{path} is no zip, or is cut off ({error}). Download it again."
            ) from error
        for info in infos:
            if not is_plain(info.orig_filename):
                self.unsafe.append(info.orig_filename)
            elif not info.is_dir():
                key = _split_and_rest(with_slashes(info.filename))
                self.members.setdefault(key, []).append(info)

    def find(self, listed, label):
        """The `Member` for a path of a label list, or `Refused`."""
        split, rest = _split_and_rest(listed)
        found = self.members.get((split, rest)) or self.members.get((None, rest)) or []
        found = [info for info in found if with_slashes(info.filename) == listed] or found
        names = sorted({info.filename for info in found})
        if not found:
            return Refused(f"is not in {self.path}")
        if len(names) > 1:
            return Refused(f"may be {names[0]} or {names[1]} in {self.path}: take one out")
        if len({(info.CRC, info.file_size) for info in found}) > 1:
            return Refused(f"is {len(found)} times in {self.path}, with different content")
        info = found[-1]
        if info.flag_bits & ENCRYPTED:
            return Refused(
                f"is encrypted in {self.path}: unzip it with its password, then use --source"
            )
        if stat.S_ISLNK(info.external_attr >> 16):
            return Refused(f"is a link in {self.path}, not a video")
        return Member(self.path, info.filename, info.file_size, info.CRC)

    def not_listed(self, listed):
        """Names of the files in the zip that are in none of the paths `listed`."""
        keys = {_split_and_rest(path) for path in listed}
        keys |= {(None, rest) for _, rest in keys}
        return [
            info.filename
            for key, infos in self.members.items()
            if key not in keys
            for info in infos
        ]

    def repeated(self):
        """Names that are in the zip more than once."""
        return [infos[0].filename for infos in self.members.values() if len(infos) > 1]


class NoSource:
    """The videos of a split that cannot be had at all."""

    unsafe = ()

    def __init__(self, path, reason):
        self.path = path
        self.reason = reason

    def find(self, listed, label):
        return Refused(self.reason)

    def not_listed(self, listed):
        return []

    def repeated(self):
        return []


class FolderSource(NoSource):
    """Videos below `path`: unzipped, as train/001/M_00001.avi, or prepared, as train/c026/..."""

    def __init__(self, path):
        super().__init__(path, f"is not in {path}")

    def find(self, listed, label):
        """The video's `Path`, or `Refused`."""
        split, rest = _split_and_rest(listed)
        candidates = [self.path / listed]
        for folder in FOLDER_NAMES.get(split, ()):
            candidates.append(self.path / folder / rest)
            candidates.append(self.path / folder / label / name_of(listed))
        return next(filter(Path.is_file, candidates), None) or Refused(self.reason)


def open_sources(folder, splits):
    """What holds each split's videos in `folder`: {split: source}; one source may serve two."""
    sources, opened = {}, {}
    for split in splits:
        path = _path_of(folder, split)
        if path not in opened:
            opened[path] = _open(path, folder, split)
        sources[split] = opened[path]
    return sources


def has_videos(folder, split):
    """Whether `folder` has a zip for a split, or unzipped videos, as in train/001/."""
    path = _path_of(folder, split) if folder.is_dir() else None
    if path is None or path.is_file():
        return path is not None
    return any(path.glob(f"{name}/[0-9][0-9][0-9]") for name in FOLDER_NAMES[split])


def zips_without_list(folder, splits):
    """The zips of splits other than `splits`: {split: path}."""
    found = {split: _path_of(folder, split) for split in set(ZIP_NAMES) - set(splits)}
    used = {_path_of(folder, split) for split in splits}
    return {
        split: path
        for split, path in sorted(found.items())
        if path and path.is_file() and path not in used
    }


def fetch(source, partial, transfer="copy"):
    """Writes one video to `partial`: the work function of the stage.

    Args:
        source: `Member`, `Path` or `Refused`.
        partial: `Path` to write.
        transfer: how a `Path` gets there: copy, link, or move (whoever calls deletes the source
            once the result has its final name).

    Returns:
        None, or a warning.
    """
    if isinstance(source, Refused):
        raise ValueError(source.reason)
    if isinstance(source, Member):
        return _extract(source, partial)
    source = source.resolve()
    if transfer != "copy":
        try:
            os.link(source, partial)
            return None
        except OSError:
            pass
    if transfer == "link":
        try:
            os.symlink(source, partial)
            return "a symbolic link, as hard links do not reach here"
        except OSError:
            pass
    shutil.copyfile(source, partial)
    return "a copy, as links do not reach here" if transfer == "link" else None


def close_zips():
    """Closes the zip that `fetch` keeps open in this process."""
    _open_zip.cache_clear()


def _extract(member, partial):
    try:
        archive = _open_zip(member.archive, member.archive.stat().st_mtime_ns)
        with archive.open(member.name) as packed, partial.open("wb") as file:
            shutil.copyfileobj(packed, file, CHUNK_BYTES)
    except DAMAGE as error:
        raise ValueError(f"is damaged in {member.archive}: {error}. Download it again.") from error


@functools.lru_cache(maxsize=1)
def _open_zip(path, modified_ns):
    """Opening reads the names of all members (0.5 s for 72,000), so it stays open."""
    return zipfile.ZipFile(path)


def _path_of(folder, split):
    """The zip or folder of a split, or None."""
    zips = {path.name.lower(): path for path in folder.iterdir() if path.is_file()}
    for name in ZIP_NAMES[split]:
        if name in zips:
            return zips[name]
    if any((folder / name).is_dir() for name in FOLDER_NAMES[split]):
        return folder
    return None


def _open(path, folder, split):
    if path is None:
        expected = " or ".join([ZIP_NAMES[split][0], *(f"{n}/" for n in FOLDER_NAMES[split])])
        return NoSource(folder, f"neither {expected} is in {folder}")
    if path.is_dir():
        return FolderSource(path)
    try:
        return ZipSource(path)
    except ValueError as error:
        return NoSource(path, str(error))


def _split_and_rest(path):
    """`IsoGD/valid/001/M_00001.avi` -> ("val", "001/M_00001.avi"); split None if none is named."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    for position in reversed(range(len(parts) - 1)):
        split = SPLIT_OF_FOLDER.get(parts[position].lower())
        if split:
            return split, "/".join(parts[position + 1 :])
    return None, "/".join(parts[-2:])
