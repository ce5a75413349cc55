"""The contract on disk.

What a store's files are called, what they say and when two of them fit together.

Belongs here: identity, manifest, segment and array layout as frozen values that
read themselves from JSON and write themselves back, and the errors every layer
shares. Does not belong here: touching a disk, and any import outside the
standard library.
"""

from crossan.cache_schema.canonical import canonical_bytes, parse_object, pretty_bytes, sha256_hex
from crossan.cache_schema.identity import StoreIdentity
from crossan.cache_schema.layout import ArrayLayout, chunk_item_count
from crossan.cache_schema.manifest import Manifest, SegmentEntry
from crossan.cache_schema.modality import ItemStatus, Modality
from crossan.cache_schema.segment import FileEntry, SegmentRecord

__all__ = [
    "ArrayLayout",
    "FileEntry",
    "ItemStatus",
    "Manifest",
    "Modality",
    "SegmentEntry",
    "SegmentRecord",
    "StoreIdentity",
    "canonical_bytes",
    "chunk_item_count",
    "parse_object",
    "pretty_bytes",
    "sha256_hex",
]
