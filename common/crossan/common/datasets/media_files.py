"""Finding the media of items in folders, by the names of the files."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from crossan.cache_schema.errors import DataError, UsageError
from crossan.cache_schema.modality import Modality
from crossan.common.datasets.joins import Matching, match_ids
from crossan.common.datasets.report import Examples, Join, MediaReading

__all__ = ["MEDIA_SUFFIXES", "folders_by_name", "match_media"]

_VIDEO = (
    *(".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".f4v", ".mkv", ".webm", ".avi", ".flv"),
    *(".mpg", ".mpeg", ".vob", ".m1v", ".m2v", ".ts", ".mts", ".m2ts", ".ogv"),
)
MEDIA_SUFFIXES: Mapping[Modality, frozenset[str]] = {
    Modality.IMAGE: frozenset(
        (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
    ),
    Modality.VIDEO: frozenset(_VIDEO),
    # A container of moving pictures does for a sound, too: its sound track is read.
    Modality.AUDIO: frozenset(
        (
            *(".wav", ".wave", ".mp3", ".mp2", ".mpga", ".flac", ".ogg", ".oga", ".opus"),
            *(".m4a", ".m4b", ".aac", ".mka", ".weba", ".aif", ".aiff", ".aifc", ".caf"),
            *(".au", ".snd", ".w64", ".rf64", ".bw64", *_VIDEO),
        )
    ),
}
"""Suffixes of the files that the decoders read, in lower case.

A decoder goes by the bytes. The suffix only says which files are meant to be media.
"""
_FLAGS = {Modality.IMAGE: "--images", Modality.VIDEO: "--video", Modality.AUDIO: "--audio"}
_NESTED = "in several sub-folders"
_REASONS = 8
_FOLDER_NAMES = {
    Modality.IMAGE: ("cover", "image"),
    Modality.VIDEO: ("video",),
    Modality.AUDIO: ("audio",),
}
"""What the name of a folder of such media contains; of several folders the first name counts."""


@dataclass(frozen=True, slots=True)
class _File:
    path: str
    shown: str
    """The path below the folder that holds the media, as it is printed."""
    keys: tuple[str, ...]
    """The ids that the file may be named for, the likeliest first."""
    folder: Path
    parent: Path

    @property
    def is_nested(self) -> bool:
        """Whether it lies in a sub-folder."""
        return self.parent != self.folder


def folders_by_name(root: Path, modality: Modality) -> list[Path]:
    """Return the folders in ``root`` whose name says that they hold such media."""
    entries = sorted(root.iterdir()) if root.is_dir() else []
    subfolders = [entry for entry in entries if entry.is_dir()]
    named = [
        folder
        for word in _FOLDER_NAMES[modality]
        for folder in subfolders
        if word in folder.name.lower()
    ]
    return list(dict.fromkeys(named))


def match_media(
    folders: Sequence[Path], modality: Modality, item_ids: Collection[str], *, is_requested: bool
) -> tuple[dict[str, str], MediaReading]:
    """Give each item the file that is named for it.

    The name without its suffix is the item's id, as `match_ids` compares them; of
    a name without a suffix that we know, the whole. Files in sub-folders count
    where no other sub-folder has one for the same item.

    Parameters
    ----------
    folders
        Where the media lie. Of two files for one item one that lies in no sub-folder
        counts, then one in the first folder, then the first by name.
    modality
        What the files are.
    item_ids
        Every item of the dataset.
    is_requested
        Whether the user named the folder, so that nothing in it is an error.

    Returns
    -------
    tuple
        From item ids to absolute paths; what became of every file.

    Raises
    ------
    UsageError
        A folder that does not exist.
    DataError
        There are such files, and none is named for an item.
    """
    known = set(item_ids)
    files: list[_File] = []
    passed_over: dict[str, list[str]] = defaultdict(list)
    for folder in folders:
        for path in _walk(folder):
            reason, file = _look_at(path, folder, modality, known)
            if file is None:
                passed_over[reason].append(_shown(path, folder))
            else:
                files.append(file)
    file_count = len(files) + sum(map(len, passed_over.values()))
    named = match_ids(dict.fromkeys(key for file in files for key in file.keys), known)
    taken: dict[str, _File] = {}
    second: list[str] = []
    strangers: list[str] = []
    for item, group in _by_item(files, named.partners, strangers).items():
        # The sort is stable: those of the first folder stay before those of the others.
        first, *others = sorted(group, key=lambda file: file.is_nested)
        if first.is_nested and any(_is_rival(first, file) for file in others):
            passed_over[_NESTED] += [file.shown for file in group]
            continue
        taken[item] = first
        second += [f"{file.shown} beside {first.shown}" for file in others]
    reading = MediaReading(
        modality=modality.value,
        source="folder",
        folders=tuple(str(folder) for folder in folders),
        files=file_count,
        join=_join(modality, item_ids, taken, named, strangers),
        second=Examples.of(second),
        passed_over=_commonest(passed_over),
    )
    if not taken and item_ids and _is_a_loss(reading, passed_over, known, is_requested):
        raise _no_match(reading, item_ids)
    return {item: file.path for item, file in taken.items()}, reading


def _is_rival(first: _File, other: _File) -> bool:
    """Whether two sub-folders of one folder hold a file for the same item.

    They are a folder for each size, or for each item with files that are only
    numbered: which file is meant cannot be known.
    """
    return other.folder == first.folder and other.parent != first.parent


def _join(
    modality: Modality,
    item_ids: Collection[str],
    taken: Mapping[str, _File],
    named: Matching,
    strangers: Sequence[str],
) -> Join:
    loosely: dict[str, list[str]] = defaultdict(list)
    for item, file in taken.items():
        key = next(key for key in file.keys if named.partners.get(key) == item)
        if key in named.loosely:
            loosely[named.loosely[key]].append(f"{file.shown} = {item}")
    return Join(
        left="items",
        right=f"{modality.value} files",
        matched=len(taken),
        loosely={difference: len(pairs) for difference, pairs in loosely.items()},
        loose_examples=tuple(pairs[0] for pairs in loosely.values()),
        unmatched=Examples.of(item for item in item_ids if item not in taken),
        unused=Examples.of(strangers),
    )


def _commonest(passed_over: Mapping[str, Sequence[str]]) -> dict[str, Examples]:
    """Count by reason.

    Names with a dot in them can make any number of suffixes.
    """
    by_count = sorted(passed_over.items(), key=lambda entry: -len(entry[1]))
    counted = {reason: Examples.of(shown) for reason, shown in by_count[:_REASONS]}
    others = [shown for _, texts in by_count[_REASONS:] for shown in texts]
    return counted | ({"other suffixes": Examples.of(others)} if others else {})


def _by_item(
    files: Sequence[_File], partners: Mapping[str, str], strangers: list[str]
) -> dict[str, list[_File]]:
    """Group the files by item, and put those that are no item's among ``strangers``."""
    groups: dict[str, list[_File]] = defaultdict(list)
    for file in files:
        item = next((partners[key] for key in file.keys if key in partners), None)
        if item is None:
            strangers.append(file.shown)
        else:
            groups[item].append(file)
    return groups


def _walk(folder: Path) -> Iterator[Path]:
    """Yield every file below a folder, in the order of the names, each folder once."""
    if not folder.is_dir():
        raise UsageError(f"{folder}: expected a folder of media, found none")
    seen: set[tuple[int, int]] = set()

    def refuse(error: OSError) -> None:
        raise error  # os.walk would leave the folder out without a word

    # Links to folders are followed, as media often lie elsewhere; one that leads back is not.
    for parent, subfolders, names in os.walk(folder, onerror=refuse, followlinks=True):
        status = Path(parent).stat()
        if (status.st_dev, status.st_ino) in seen:
            subfolders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        subfolders.sort()
        for name in sorted(names):
            yield Path(parent) / name


def _look_at(
    path: Path, folder: Path, modality: Modality, known: Collection[str]
) -> tuple[str, _File | None]:
    name, suffix = path.name, path.suffix.lower()
    absolute = str(path.absolute())
    try:
        absolute.encode()
    except UnicodeEncodeError:
        return "names that are not UTF-8", None
    if not path.is_file():
        return "not a regular file", None
    is_known = suffix in MEDIA_SUFFIXES[modality]
    # An id with a dot in it, or a file without a suffix: the whole name has to be an item's.
    is_whole_name = name in known or unicodedata.normalize("NFC", name) in known
    if not is_known and not is_whole_name:
        return f"suffix {suffix}" if suffix else "no suffix", None
    keys = (*((name,) if is_whole_name else ()), *((path.stem,) if is_known else ()))
    return "", _File(absolute, _shown(path, folder), keys, folder, path.parent)


def _shown(path: Path, folder: Path) -> str:
    text = str(Path(folder.name) / path.relative_to(folder))
    return os.fsencode(text).decode("utf-8", "backslashreplace")


def _is_a_loss(
    reading: MediaReading,
    passed_over: Mapping[str, Sequence[str]],
    known: Collection[str],
    is_requested: bool,
) -> bool:
    """Whether a folder that gave no item a file was meant to."""
    if is_requested or reading.join.unused.count or _NESTED in passed_over:
        return True
    names = [Path(shown).stem for texts in passed_over.values() for shown in texts]
    return bool(match_ids(set(names), known).partners)


def _no_match(reading: MediaReading, item_ids: Collection[str]) -> DataError:
    left_over = [
        f"{examples.count:,} {what}: {examples.listed()}"
        for what, examples in (("no item's", reading.join.unused), *reading.passed_over.items())
        if examples.count
    ]
    folders = ", ".join(reading.folders)
    items = Examples.of(item_ids).listed()
    return DataError(
        f"{folders}: expected {reading.modality} files named by item, such as "
        f"{items}; none of {reading.files:,} files is"
        + "".join(f"\n  {line}" for line in left_over),
        remedy="Name the files by item id, or name the folder that holds them: "
        f"{_FLAGS[Modality(reading.modality)]} FOLDER",
    )
