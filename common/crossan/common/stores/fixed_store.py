"""What our reading and writing zarr stores share.

Importing this module imports zarr, so import it where it is used.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator, Collection, Iterable
from pathlib import Path

from zarr.abc.buffer import Buffer, BufferPrototype
from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, Store

from crossan.cache_schema.errors import StoreIntegrityError

__all__ = ["FixedStore"]


class FixedStore(Store):
    """Part of one segment's folder, as zarr-python sees it.

    It derives from zarr's abstract `Store` and not from its `LocalStore`: whatever way to a file
    a later zarr adds ends in a method of ours, which checks, and none goes past it.
    """

    supports_deletes: bool = False
    supports_listing: bool = True

    def __init__(self, folder: Path, *, read_only: bool) -> None:
        super().__init__(read_only=read_only)
        self.folder = folder

    @property
    @abstractmethod
    def keys(self) -> Collection[str]:
        """Paths inside the segment that can be read."""

    @abstractmethod
    def read_whole(self, key: str) -> bytes:
        """Return the bytes at one of the keys."""

    def __eq__(self, value: object) -> bool:
        """Whether both are of one kind and over one folder."""
        return type(self) is type(value) and self.folder == getattr(value, "folder", None)

    def __str__(self) -> str:
        """Return the folder, for zarr's own messages."""
        return str(self.folder)

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Return the bytes at a key, or a part of them, None where there is no such key."""
        if key not in self.keys:
            return None
        # Reading and summing 16 MiB would hold up every other array that zarr's one loop serves.
        data = await asyncio.to_thread(self.read_whole, key)
        return prototype.buffer.from_bytes(data[_wanted_part(byte_range, len(data))])

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Return several of them."""
        return [await self.get(key, prototype, byte_range) for key, byte_range in key_ranges]

    async def exists(self, key: str) -> bool:
        """Whether there is such a key."""
        return key in self.keys

    async def delete(self, key: str) -> None:
        """Refuse to delete anything, as a segment never changes."""
        raise StoreIntegrityError(
            f"{self.folder / key}: expected to keep it, found zarr deleting it"
        )

    async def list(self) -> AsyncIterator[str]:
        """Yield every key."""
        for key in sorted(self.keys):
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Yield the keys that begin with a prefix."""
        for key in sorted(self.keys):
            if key.startswith(prefix):
                yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Yield the names of the files and folders that lie directly in a folder."""
        inside = f"{prefix.rstrip('/')}/" if prefix else ""
        for name in sorted(
            {key[len(inside) :].split("/", 1)[0] for key in self.keys if key.startswith(inside)}
        ):
            yield name


def _wanted_part(byte_range: ByteRequest | None, size: int) -> slice:
    if byte_range is None:
        return slice(None)
    if isinstance(byte_range, RangeByteRequest):
        return slice(byte_range.start, byte_range.end)
    if isinstance(byte_range, OffsetByteRequest):
        return slice(byte_range.offset, None)
    return slice(max(0, size - byte_range.suffix), None)
