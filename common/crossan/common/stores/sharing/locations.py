"""The locations where a store can be: a folder, or objects under an address."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from crossan.cache_schema.canonical import sha256_hex
from crossan.cache_schema.errors import StoreIntegrityError, UsageError
from crossan.cache_schema.segment import FileEntry, SegmentRecord
from crossan.common.files import (
    LARGEST_METADATA,
    create_exclusively,
    fsync_folder,
    read_regular,
    require_plain,
    write_durably,
)
from crossan.common.refusals import blaming, disk_full, make_folder
from crossan.common.stores.claims import Claim, release_claims
from crossan.common.stores.clearing import FOLDERS, clear_folders
from crossan.common.stores.sharing.location import (
    Advance,
    Location,
    Readable,
    arrived,
    in_parallel,
)
from crossan.common.stores.sharing.object_location import ObjectLocation
from crossan.common.stores.sharing.objects import ObjectRemote
from crossan.common.stores.soundness import find_flaws
from crossan.common.stores.versions import list_versions

__all__ = ["FolderLocation", "Location", "ObjectLocation", "Readable", "location_of"]

_WORKERS = 4


def location_of(text: str, *, is_read_back: bool = False) -> Location:
    """Return the location that a path or an address names.

    Parameters
    ----------
    text
        The path or address.
    is_read_back
        Whether a check of what lies there reads every object of a bucket, as it reads
        every file of a folder.

    Raises
    ------
    UsageError
        An address of another kind.
    """
    if "://" not in text:
        return FolderLocation(Path(text))
    if text.split("://", 1)[0] not in {"s3", "https", "http"}:
        raise UsageError(f"{text}: expected a folder, s3://BUCKET/PATH or https://HOST/PATH")
    return ObjectLocation(ObjectRemote.open(text), is_read_back=is_read_back)


class FolderLocation:
    """A store in a folder, also one that several machines mount.

    Parameters
    ----------
    path
        Folder of the store, which need not exist.
    is_linked
        Take files from other folders of the same file system by hard link instead of copying.
    """

    def __init__(self, path: Path, *, is_linked: bool = False) -> None:
        self.path, self.url = path, str(path)
        self._is_linked = is_linked
        self._claims: list[Claim] = []

    is_read_back = True

    def newest_version(self) -> int:
        """Return the highest version that has a manifest, 0 for none."""
        return max(list_versions(self.path), default=0)

    def read(self, key: str, largest: int = LARGEST_METADATA) -> bytes | None:
        """Return the bytes of a file, None where there is none."""
        if not require_plain(self.path, key).is_file():
            return None
        return read_regular(self.path, key, largest)

    def create(self, key: str, data: bytes) -> bool:
        """Create a file with all of ``data`` or not at all.

        False where the file exists already.
        """
        for name in FOLDERS:
            make_folder(self.path / name)
        return create_exclusively(self.path / key, data)

    def holds(self, segment_id: str) -> bool:
        """Whether the folder has the whole segment, which is published by one rename."""
        return (self.path / "segments" / segment_id / "segment.json").is_file()

    def has_part(self, segment_id: str) -> bool:
        """Whether anything lies where the segment would."""
        return os.path.lexists(self.path / "segments" / segment_id)

    def put_segment(
        self, record: SegmentRecord, data: bytes, source: Readable, advance: Advance
    ) -> int:
        """Build the segment under a claim, then rename it to where segments lie."""
        for name in FOLDERS:
            make_folder(self.path / name)
        needed = sum(entry.size for entry in record.files)
        # Before the first byte travels: a disk that is too small is known now, not after an hour.
        # Links take no space.
        statvfs = os.statvfs(self.path)
        if statvfs.f_bavail * statvfs.f_frsize < needed and not self._is_linked:
            raise disk_full(self.path / "segments" / record.segment_id, needed)
        # The claim keeps a collection from taking the segment until a manifest lists it.
        claim = Claim.take(self.path, "transfer", record.segment_id)
        self._claims.append(claim)

        def put(entry: FileEntry) -> bool:
            key = f"segments/{record.segment_id}/{entry.path}"
            is_new = self._put_file(claim.build / entry.path, key, entry, source)
            advance(entry.size)
            return is_new

        file_count = in_parallel(_WORKERS, put, record.files)
        # One that was cut off may be left from an earlier try, and may be torn.
        (claim.build / "segment.json").unlink(missing_ok=True)
        write_durably(claim.build / "segment.json", data)
        claim.publish()
        return file_count + 1

    def unsound(self, record: SegmentRecord, source: Readable) -> list[FileEntry]:
        """Return the files of a segment that are missing or hold other bytes than recorded.

        Every byte is read.
        """
        del source
        segment = self.path / "segments" / record.segment_id
        flaws = find_flaws(segment, record, None)
        bad = {record.chunks[number] for number in flaws}
        return [
            entry
            for entry in record.files
            if entry in bad or (entry.crc32c is None and not _is_sound(segment, entry))
        ]

    def replace(self, key: str, data: bytes) -> None:
        """Put a file in the place of whatever is there.

        What is no file, or no folder on the way to it, is moved to ``staging/``. Whoever has
        the old file open keeps it.
        """
        target = self.path
        *folders, name = key.split("/")
        staging, unique = self.path / "staging", secrets.token_hex(4)
        with blaming(self.path / key, len(data)):
            self.clear_folders()
            staging.mkdir(exist_ok=True)
            for part in folders:
                target = target / part
                if target.is_symlink() or (target.exists() and not target.is_dir()):
                    target.rename(staging / f"damaged-{part}-{unique}")
                if not target.exists():
                    target.mkdir()
                    fsync_folder(target.parent)
            target = target / name
            if target.is_symlink() or (target.exists() and not target.is_file()):
                target.rename(staging / f"damaged-{name}-{unique}")
            # Written elsewhere: a file of ours that is left in a segment would be a stranger there.
            new = staging / f"mended-{name}-{unique}"
            try:
                write_durably(new, data)
                new.replace(target)
            finally:
                new.unlink(missing_ok=True)
            fsync_folder(target.parent)

    def clear_folders(self) -> list[str]:
        """Move what lies in the place of the store's folders and is none to ``staging/``."""
        return clear_folders(self.path)

    def settle(self) -> None:
        """Give up the claims on the segments that were put, as a manifest lists them now."""
        release_claims(self.path, self._claims)
        self._claims.clear()

    def _put_file(self, target: Path, key: str, entry: FileEntry, source: Readable) -> bool:
        # Size first, as it costs nothing. The digest then says whether the file had arrived whole
        # before an earlier transfer was cut off.
        if (
            target.is_file()
            and target.stat().st_size == entry.size
            and sha256_hex(target.read_bytes()) == entry.sha256
        ):
            return False
        make_folder(target.parent)
        target.unlink(missing_ok=True)
        is_put = (
            self._is_linked
            and isinstance(source, FolderLocation)
            and _linked(source.path, key, target, entry)
        )
        if not is_put:
            write_durably(target, arrived(source, key, entry))
        return True


def _linked(store: Path, key: str, target: Path, entry: FileEntry) -> bool:
    origin = require_plain(store, key)
    # Only chunks are linked. Metadata is small, and is checked when it is copied.
    if entry.crc32c is None or not origin.is_file() or origin.stat().st_size != entry.size:
        return False
    try:
        os.link(origin, target)
    except OSError:  # another file system, or one without hard links
        return False
    return True


def _is_sound(segment: Path, entry: FileEntry) -> bool:
    try:
        return sha256_hex(read_regular(segment, entry.path, entry.size)) == entry.sha256
    except StoreIntegrityError:
        return False
