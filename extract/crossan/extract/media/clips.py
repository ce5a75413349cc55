"""Keep decoded frames and sounds in the folder of ``--clips``.

Any number of processes may share it. Its format is in docs/clips.md.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from crossan.cache_schema.canonical import canonical_bytes, digest_of, field_of, parse_object
from crossan.cache_schema.errors import ResourceError, StoreIntegrityError
from crossan.cache_schema.modality import Modality
from crossan.common.files import replace_unsynced
from crossan.common.refusals import make_folder
from crossan.extract.media.clip_parts import DamagedClipError
from crossan.extract.media.notes import MediaNote
from crossan.extract.media.recipe import LOUDEST, kept_clip_recipe

__all__ = ["ClipFolder", "KeptClip"]

_MAGIC = b"crossan-clip 1\n"
_DIGEST_BYTES = 64
_HEADER_AT = len(_MAGIC) + _DIGEST_BYTES + 1
_MOST_BYTES = 256_000_000
"""A larger file is none of ours; 32 frames of 224 x 400 pixels are 2 MB."""


@dataclass(frozen=True, slots=True)
class KeptClip:
    """What one file of the folder holds."""

    parts: Sequence[bytes | memoryview] = ()
    """JPEG frames, or one FLAC; none where the medium is absent."""
    notes: tuple[MediaNote, ...] = ()
    absent: str | None = None
    """Why the medium has no such clip, where it has none."""
    full_scale: float = 1.0
    """What a sound's samples are multiplied by, more than 1 where a lossy codec overshot."""


@dataclass(frozen=True, slots=True)
class ClipFolder:
    """The clips of one modality under one recipe.

    Parameters
    ----------
    root
        The folder of ``--clips``.
    modality
        Video for frames, audio for sound.
    frame_count
        Of the recipe, for frames.
    """

    root: Path
    modality: Modality
    frame_count: int | None = None

    def path_of(self, digest: str) -> Path:
        """Return the path of the clip of a file with this content digest."""
        recipe = digest_of(kept_clip_recipe(self.modality, self.frame_count))
        return self.root / recipe[:12] / digest[:2] / f"{digest}.clip"

    def load(self, digest: str) -> KeptClip | None:
        """Return the clip, or None where it is missing or damaged and has to be made anew."""
        try:
            return self._parse(_read_plain(self.path_of(digest)), digest)
        except (OSError, DamagedClipError, StoreIntegrityError):
            return None

    def save(self, digest: str, clip: KeptClip) -> None:
        """Write the clip in one step, over whatever the folder holds of it.

        It is not synced. A machine that stops may leave a damaged file, which the
        next reader notices.

        Raises
        ------
        ResourceError
            The disk is full, or the folder cannot be written.
        """
        path = self.path_of(digest)
        data = self._assemble(digest, clip)
        try:
            make_folder(path.parent)
            replace_unsynced(path, data)
        except ResourceError as error:
            raise ResourceError(
                f"--clips {self.root}: {error.message}",
                remedy="Name a folder that can be written, or leave --clips out",
            ) from error

    def _assemble(self, digest: str, clip: KeptClip) -> bytes:
        header = {
            "content": digest,
            "recipe": kept_clip_recipe(self.modality, self.frame_count),
            "part_bytes": [len(part) for part in clip.parts],
            "notes": [note.value for note in clip.notes],
            "absent": clip.absent,
            "full_scale": clip.full_scale,
        }
        body = b"".join((canonical_bytes(header), b"\n", *clip.parts))
        return b"".join((_MAGIC, hashlib.sha256(body).hexdigest().encode(), b"\n", body))

    def _parse(self, data: bytes, digest: str) -> KeptClip:
        """Check a file and take it apart.

        Everything that docs/clips.md promises is checked, for a decoder must not see
        a byte of a file that someone else has written.
        """
        body = memoryview(data)[_HEADER_AT:]
        end = data.find(b"\n", _HEADER_AT)
        expected = _MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n"
        if data[:_HEADER_AT] != expected or end < 0:
            raise DamagedClipError("its first lines do not fit what follows")
        header = parse_object(data[_HEADER_AT:end], "clip")
        recipe = kept_clip_recipe(self.modality, self.frame_count)
        # The path holds twelve digits of the recipe's digest; here the whole recipe is compared.
        if header.get("content") != digest or header.get("recipe") != recipe:
            raise DamagedClipError("a clip of other content or under another recipe")
        sizes = field_of(header, "part_bytes", list, "clip")
        absent = header.get("absent")
        if not (absent is None or isinstance(absent, str)):
            raise DamagedClipError("its parts are not as long as they should be")
        # By type() and not isinstance(), for which True is an integer.
        are_sizes = all(type(size) is int and size > 0 for size in sizes)
        is_whole = are_sizes and sum(sizes) == len(data) - end - 1
        if not is_whole or len(sizes) != self._part_count(absent):
            raise DamagedClipError("its parts are not as long as they should be")
        parts, at = [], end + 1
        for size in sizes:
            parts.append(memoryview(data)[at : at + size])
            at += size
        full_scale = field_of(header, "full_scale", float, "clip")
        if not 1.0 <= full_scale <= LOUDEST:
            raise DamagedClipError(f"a full scale of {full_scale}")
        try:
            notes = tuple(MediaNote(note) for note in field_of(header, "notes", list, "clip"))
        except ValueError as error:
            raise DamagedClipError(str(error)) from error
        return KeptClip(parts, notes, absent, full_scale)

    def _part_count(self, absent: str | None) -> int:
        if absent is not None:
            return 0
        return self.frame_count or 1


def _read_plain(path: Path) -> bytes:
    """Read a regular file of a possible size, following no link."""
    # O_NONBLOCK, because opening a pipe for reading waits for a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or not _HEADER_AT < status.st_size <= _MOST_BYTES:
            raise DamagedClipError("no regular file of a possible size")
        # Bounded once more, for the file may grow after the look at its size.
        return file.read(_MOST_BYTES + 1)
